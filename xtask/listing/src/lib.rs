//! What a file tree holds, entry by entry, as text that two trees can be compared by.
//!
//! A [`Listing`] is taken of any directory: one that another tool unpacked, the mount point of a kernel driver, the
//! root of a running guest. It records all that a user of the tree can see: type, permission bits, owner, size, time,
//! content digest, symlink target, device numbers, extended attributes, link count, and which names share an inode.
//! It travels as text, one line an entry, and [`diff`] says in words where two of them disagree.
//!
//! ```
//! use tree_listing::{DiffOptions, Listing, diff};
//!
//! let dir = tempfile::tempdir()?;
//! std::fs::write(dir.path().join("motd"), "hello\n")?;
//! let expected = Listing::walk(dir.path())?;
//!
//! let found = Listing::parse(&expected.to_text())?;
//! assert_eq!(found, expected);
//!
//! std::fs::write(dir.path().join("motd"), "HELLO\n")?;
//! let found = Listing::walk(dir.path())?;
//! let options = DiffOptions { ignore_mtime: ["/motd".into()].into(), ..DiffOptions::default() };
//! let differences = diff(&expected, &found, &options);
//! assert!(differences[0].to_string().starts_with("/motd: sha256 "));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`Listing`], [`Entry`], [`Kind`], [`Sha256`]: the listing. [`Bounds`], [`Samples`]: how much of a tree is read.
//! - [`diff`], [`DiffOptions`], [`DirectoryLinks`], [`Difference`]: comparing two.
//! - [`WalkError`], [`ParseError`]: what goes wrong.
//! - [`escape`], [`unescape`]: how bytes of names appear in the text.

mod diff;
mod entry;
mod escape;
mod samples;
mod text;
mod walk;

pub use diff::{DiffOptions, Difference, DirectoryLinks, diff};
pub use entry::{Entry, Kind, Listing, Sha256};
pub use escape::{escape, unescape};
pub use samples::Samples;
pub use text::ParseError;
pub use walk::{Bounds, WalkError};
