//! Reads an image's tables: the names in it, and whose bytes lie where.
//!
//! ```text
//!  superblock ─► root inode ─► listing ─► inode ─► listing …        names
//!                                           └─► block words, fragment entry      places of contents
//! ```
//!
//! This is not a file system: it skips extended attributes, and reads no contents but those of the description that
//! this program itself put into an image, and of the programs that execute its agent. It is not an oracle either: whether
//! an image is correct is for independent readers to say. It serves people: `inspect --tree`, the names of damaged files,
//! and warnings about an agent.
//!
//! The tables may themselves be damaged, or crafted by an attacker. So nothing is allocated by a size that a table
//! claims, and blocks are kept in a cache of 64 MiB, or of 8 MiB while an image is
//! built. Each listing is read once, so a directory that contains itself or
//! has two parents is an error. Names, bytes of paths and the work for all of them have limits. Damage is reported as
//! an [`Error`], after which nothing that was read can be trusted.
//!
//! Layout and names are those of the kernel's `fs/squashfs/squashfs_fs.h`.

mod codec;
mod contents;
mod entry;
mod error;
mod fields;
mod inode;
mod lookup;
mod metadata;
mod opened;
mod owner;
mod parts;
mod read_at;
mod sizes;
mod superblock;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use codec::Codec;
pub use entry::{Entry, EntryKind};
pub use error::Error;
pub(crate) use lookup::{Opened, Stray};
pub use opened::Tables;
pub use owner::Owners;
pub(crate) use parts::Map;
pub use read_at::ReadAt;
pub use sizes::Sizes;
