//! Tar: 512-byte headers, each followed by its body, padded to 512.
//!
//! ```text
//!   [x header][records]                      what it says overrides the next file header
//!   [L header][long name]  [K header][long link target]     the same, as GNU tar does it
//!   [file header][more of a sparse map]…[body][padding]
//!   …
//!   [512 zeros][512 zeros][whatever]
//! ```
//!
//! V7, ustar, star, GNU and PAX archives are read. Names and link targets are bytes.

mod decimal;
mod decode;
mod entry;
pub(super) mod header;
mod path;
mod pax;
mod reader;
mod sparse;
#[cfg(test)]
mod tests;

pub use entry::{Entry, EntryKind, Segment};
pub use reader::TarReader;
