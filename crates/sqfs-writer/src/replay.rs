//! Replay of bodies: their stored blocks are copied from an earlier image instead of being compressed again.
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
//! sizes. The caller ensures three conditions:
//! - The earlier image has the same codec, level, block size and policy of tails. The same holds for
//!   [`Options::stored`](crate::Options::stored), [`Options::probe`](crate::Options::probe) and a codec of the caller's: all of
//!   them decide how a block is stored.
//! - Fingerprints and places come from this crate, with the same [`Fingerprint::SCHEME`](crate::Fingerprint::SCHEME).
//! - The source returns the bytes that the earlier image holds. The writer checks only their number, because it never
//!   decompresses them.

pub use crate::data::{
    BodyPlace, Fingerprints, FragmentPlace, Handles, Places, Recipe, Run, Source, StoredFragment,
};
