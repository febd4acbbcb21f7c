//! The data plane: bodies in, blocks out, a handle for each body.
//!
//! ```text
//!  body ─► block ─► block ─► … ─► tail
//!            │        │             │
//!            ▼        ▼             ▼
//!        compressed, in order    an open fragment ─► when full: compressed, in the same order
//!            └────────┴──────► sink ◄──────────────────┘
//! ```
//!
//! A body's blocks follow each other in the image without a gap. A fragment is therefore only
//! submitted where a body ends, never between two blocks of one.
//!
//! If all blocks of a body equal those of an earlier one, the body reuses the earlier blocks, and a tail that equals an
//! earlier one reuses its place. A duplicate of at most one block is not even compressed, because the last block is
//! submitted only when more bytes follow or the body ends. The blocks of a longer body are compressed while it arrives, and
//! [`Held`] until its end.

mod body;
mod duplicate;
mod handle;
mod handles;
mod held;
mod lists;
mod ordered;
mod places;
mod plane;
mod recipe;
mod replayed;
mod source;
mod tails;

pub use body::Body;
pub use handle::FileData;
pub use handles::Handles;
pub(crate) use lists::{Content, Lists};
pub use places::{BodyPlace, FragmentPlace, Places};
pub(crate) use plane::{Counts, DataPlane, Written};
pub use recipe::{Fingerprints, Recipe, Run};
pub use source::{Source, StoredFragment};
