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
//! A body whose blocks are those of an earlier one gets the blocks of that one, and its tail the
//! place of an equal tail. If there is no more than a block it is not even compressed: the last
//! block is handed on only when more comes or the body ends. More is compressed while it comes in,
//! and what came out is [`Held`] until its end.

mod body;
mod duplicate;
mod handle;
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
pub(crate) use lists::{Content, Lists};
pub use places::{BodyPlace, FragmentPlace, Places};
pub(crate) use plane::{Counts, DataPlane, Written};
pub use recipe::{Fingerprints, Recipe, Run};
pub use source::{Source, StoredFragment};
