//! The reader of archives that hold images. It is private to ociget, so its modules are compiled here again.

#[path = "../../../crates/ociget/src/source/by_offset.rs"]
pub(crate) mod by_offset;
#[path = "../../../crates/ociget/src/source/piece.rs"]
pub(crate) mod piece;
#[path = "../../../crates/ociget/src/source/tar_extensions.rs"]
pub(crate) mod tar_extensions;
#[path = "../../../crates/ociget/src/source/tar_header.rs"]
pub(crate) mod tar_header;
#[path = "../../../crates/ociget/src/source/tar_headers.rs"]
pub(crate) mod tar_headers;
#[path = "../../../crates/ociget/src/source/tar_sparse.rs"]
pub(crate) mod tar_sparse;
