//! Writes squashfs 4.0 images in one streaming pass.
//!
//! Bodies of files are split, compressed and written the moment they arrive; squashfs keeps its
//! tables at the end, so names can still change until the image is finished. What comes out is a
//! function of what went in and of the [`Options`]: not of the clock, the environment, or the
//! number of threads.
//!
//! ```
//! use std::io::Cursor;
//! use sqfs_writer::{ImageWriter, Metadata, Options};
//! # #[cfg(feature = "zstd")] {
//!
//! let mut image = ImageWriter::new(Cursor::new(Vec::new()), &Options::default())?;
//! image.file("etc/hostname", Metadata::new(0o644), &b"squash\n"[..])?;
//! let (sink, summary) = image.finish()?;
//! assert_eq!(sink.into_inner().len() as u64, summary.image_bytes);
//! # }
//! # Ok::<(), sqfs_writer::Error>(())
//! ```
//!
//! There are three ways in:
//! - [`ImageWriter::directory_from`](ImageWriter#method.directory_from) writes a directory of the host, with everything below it.
//! - [`ImageWriter`] takes paths and a sink that can seek.
//! - [`DataWriter`] takes file contents and returns a [`FileData`] for each. The names are the caller's own
//!   [`Tree`], and the sink may be a pipe.

mod cancel;
mod compress;
mod data;
mod error;
mod format;
mod growth;
#[cfg(all(feature = "host", target_os = "linux"))]
mod host;
mod image;
mod known;
mod meta;
mod metadata;
mod options;
mod output;
mod pieces;
mod pool;
pub mod replay;
mod summary;
mod text;
mod tree;
mod writer;

#[doc(no_inline)]
pub use bytes::Bytes;
pub use compress::{Codec, Compressor};
pub use data::{Body, FileData};
pub use error::{Error, TreeError};
pub use image::ImageWriter;
pub use known::Fingerprint;
pub use metadata::{Metadata, Xattrs};
pub use options::{Options, Stored};
pub use summary::{Progress, Stage, Summary, Times};
pub use tree::{Device, Directory, Kind, NAME_MAX, Node, NodeId, Tree};
pub use writer::{DataWriter, Sealed};
