//! An image's tables, read back: which names it has, and whose bytes lie where.
//!
//! ```text
//!  superblock ─► root inode ─► listing ─► inode ─► listing …        names
//!                                           └─► block words, fragment entry      places of contents
//! ```
//!
//! This is no file system: no name is looked up, extended attributes are passed over, and no content is read but that
//! of the description that this program itself put into an image. It is no oracle either; whether an image is what it should be is for readers to say that
//! nobody here wrote. It serves people: `inspect --tree`, and the names of files that damage hit.
//!
//! The tables may themselves be what is damaged, or made by somebody who means harm. So nothing is
//! allocated by what a table says, and blocks are kept in a cache of 8 MiB. Each listing is read once, so a
//! directory that contains itself or has two parents is an error. Names, bytes of paths and the
//! work for all of them have limits. What is wrong is an [`Error`], after which nothing that was read is of
//! use.
//!
//! Layout and names are those of the kernel's `fs/squashfs/squashfs_fs.h`.

mod codec;
mod contents;
mod entry;
mod error;
mod fields;
mod inode;
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
pub use opened::Tables;
pub use owner::Owners;
pub(crate) use parts::Map;
pub use read_at::ReadAt;
pub use sizes::Sizes;
