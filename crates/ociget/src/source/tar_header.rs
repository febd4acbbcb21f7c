//! One header of a tar file: 512 bytes with a checksum.
//!
//! Which bytes are a name, and which a prefix of it, depends on the format. The rules are those of
//! Go's `archive/tar`, which docker, podman and skopeo read archives with.

use std::ops::Range;

use crate::tar_fields::{has_checksum, is_number, number};

const NAME: Range<usize> = 0..100;
const SIZE: Range<usize> = 124..136;
const TYPE: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const PREFIX: Range<usize> = 345..500;
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_TRAILER: Range<usize> = 508..512;
const GNU_ATIME: Range<usize> = 345..357;
const GNU_CTIME: Range<usize> = 357..369;

/// The fields of a header that say where the next one is and what the member is.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) size: u64,
    pub(crate) path: String,
    pub(crate) link: String,
    /// Whether the name field alone ends with a slash.
    pub(crate) has_slash: bool,
    /// Whether readers disagree on the prefix of the name: bsdtar takes one after `ustar` alone.
    pub(crate) is_unclear: bool,
    /// Whether the fields of GNU's format mean what they mean there.
    pub(crate) is_gnu: bool,
}

impl Header {
    /// # Errors
    /// Returns the fault, as the object of "the archive has".
    pub(crate) fn parse(block: &[u8; 512]) -> Result<Self, &'static str> {
        let field = |range: Range<usize>| block.get(range).unwrap_or_default();
        if !has_checksum(block) {
            return Err("no tar header");
        }
        let magic = field(MAGIC);
        let (prefix, is_ustar, is_gnu) = match magic.strip_prefix(b"ustar") {
            Some([0, ..]) if field(STAR_TRAILER) == b"tar\0" => {
                (text(field(STAR_PREFIX)), true, false)
            }
            Some([0, ..]) => (text(field(PREFIX)), true, false),
            Some(b"  \0") => match gnu_prefix(block) {
                Some(prefix) => (prefix, true, false),
                None => (String::new(), true, true),
            },
            _ => (String::new(), false, false),
        };
        let name = text(field(NAME));
        Ok(Self {
            kind: block[TYPE],
            size: number(field(SIZE)).ok_or("a header whose size is not a number")?,
            has_slash: name.ends_with('/'),
            is_unclear: magic.starts_with(b"ustar") && !is_ustar && block[PREFIX.start] != 0,
            is_gnu,
            path: match prefix.is_empty() {
                true => name,
                false => format!("{prefix}/{name}"),
            },
            link: text(field(LINK)),
        })
    }
}

/// Returns the prefix of a header that has one in spite of GNU's magic.
///
/// Go before 1.8, and with it docker before 17.06, wrote such headers for a long name with a number
/// that needs base 256 (golang/go#21005). GNU's format has two times in that field. If one of them
/// is not a number, the field holds a prefix, provided that the prefix is ASCII.
fn gnu_prefix(block: &[u8; 512]) -> Option<String> {
    let is_time = |range: Range<usize>| {
        let field = block.get(range).unwrap_or_default();
        field.first() == Some(&0) || is_number(field)
    };
    if is_time(GNU_ATIME) && is_time(GNU_CTIME) {
        return None;
    }
    let prefix = text(block.get(PREFIX).unwrap_or_default());
    Some(if prefix.is_ascii() {
        prefix
    } else {
        String::new()
    })
}

/// Returns `field` up to its first NUL. Names that matter are ASCII; others only need not to collide
/// with those.
pub(crate) fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0);
    let text = field.get(..end.unwrap_or(field.len()));
    String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
}
