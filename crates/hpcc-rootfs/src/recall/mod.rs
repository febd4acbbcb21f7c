//! Records of earlier builds, so that the next image costs only what is new in it.
//!
//! ```text
//!  build ──► Recorder ──► .recall-<identity>     entries of each layer, fingerprints, places, documents
//!                              │
//!  next build ◄── Plan ◄───────┘                 which layers are known, and from which artifacts
//!      │            └──► KnownLayer: entries instead of an archive
//!      └────────────► Copies: stored blocks of those artifacts, each MiB verified before a byte of it is used
//! ```
//!
//! Everything here is a hint. If a file is torn, stale, foreign or missing, the layer is read from its archive. Copied
//! bytes are first compared with the digests in the record of their artifact.

mod bytes;
mod chunks;
mod copies;
mod cost;
mod damaged;
mod directory;
mod disk;
mod documents;
mod entry;
mod fragments;
mod head;
mod layer;
mod layer_set;
mod places;
mod plan;
mod reader;
mod recorder;
mod section;
mod wanted;

pub(crate) use disk::disk_error;
pub(crate) use documents::{Documents, Recording};
pub(crate) use head::BlockRules;
pub(crate) use layer_set::LayerSet;
pub(crate) use plan::{CHOICES, Failed, Found, Plan};
pub(crate) use reader::{Recall, Useful};
pub(crate) use recorder::{Recorder, Spool};
pub(crate) use wanted::{Known, Wanted};
