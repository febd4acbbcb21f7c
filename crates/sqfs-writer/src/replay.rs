//! Bodies whose stored blocks an earlier image has: they are copied instead of being compressed again.
//!
//! ```text
//!  first image:   bytes ─► Body::finish_recorded ─► FileData, Fingerprints      Places: where everything is stored
//!                                                               │                    │
//!                                                    the caller keeps them, and the image
//!                                                               ▼                    ▼
//!  later image:            DataWriter::replay(Recipe) ─► FileData           Source: what is stored there
//! ```
//!
//! The bytes of the later image are those that it would have if every body had come as bytes. Order, search for
//! duplicates, holding back and packing of tails are the same code on the same inputs: lengths, fingerprints and stored
//! sizes. Three things are up to the caller:
//! - The earlier image has the same codec, level, block size and policy of tails.
//! - Fingerprints and places are those that this crate gave, of the same [`Fingerprint::SCHEME`](crate::Fingerprint::SCHEME).
//! - The source gives the bytes that the earlier image holds. The writer checks their number and nothing else, because
//!   it never sees what they unpack to.

pub use crate::data::{
    BodyPlace, Fingerprints, FragmentPlace, Places, Recipe, Run, Source, StoredFragment,
};
