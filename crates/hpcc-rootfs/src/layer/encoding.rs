//! How a layer is compressed, judged by its first bytes. Its media type does not matter: registries serve gzip under
//! the plain type and the other way round, and the bytes are decisive. Media types that are not of layers were refused
//! when the manifest was read.

/// The compressions that the OCI image specification names for layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    Zstd,
}

/// Returns the compression that the first bytes show, or `None` if they are not of a known form.
///
/// A tar archive begins with the name of its first entry, and a name may begin with the magic of a compression; a valid
/// tar header is therefore checked first.
pub(super) fn sniff(head: &[u8], is_tar_header: impl Fn(&[u8]) -> bool) -> Option<Encoding> {
    match head {
        [] => Some(Encoding::Plain),
        _ if is_tar_header(head) => Some(Encoding::Plain),
        [0x1F, 0x8B, ..] => Some(Encoding::Gzip),
        // A frame, or one of the sixteen kinds of skippable frame.
        [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Some(Encoding::Zstd),
        _ if head.iter().all(|byte| *byte == 0) => Some(Encoding::Plain),
        _ => None,
    }
}
