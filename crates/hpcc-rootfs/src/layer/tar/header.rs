//! The 512 bytes before every body.
//!
//! ```text
//!   0 name 100 | 100 mode 8 | 108 uid 8 | 116 gid 8 | 124 size 12 | 136 mtime 12 | 148 chksum 8
//!   156 typeflag 1 | 157 linkname 100 | 257 magic 6 + version 2 | 265 uname 32 | 297 gname 32
//!   329 devmajor 8 | 337 devminor 8
//!   ustar: 345 prefix 155        star: 345 prefix 131, 508 "tar\0"
//!   GNU:   345 atime 12 | 357 ctime 12
//!          386 sparse 4 x (offset 12, numbytes 12) | 482 isextended 1 | 483 realsize 12
//! ```

use std::ops::Range;

use crate::layer::error::Malformed;

pub(super) const BLOCK: usize = 512;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINKNAME: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const DEVMAJOR: Range<usize> = 329..337;
const DEVMINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_TRAILER: Range<usize> = 508..512;
const GNU_ATIME: Range<usize> = 345..357;
const GNU_CTIME: Range<usize> = 357..369;
const GNU_SPARSE: Range<usize> = 386..482;
const GNU_IS_EXTENDED: usize = 482;
const GNU_REALSIZE: Range<usize> = 483..495;

/// Returns whether these bytes begin with a header whose checksum is right.
pub(in crate::layer) fn is_header(bytes: &[u8]) -> bool {
    bytes
        .first_chunk()
        .is_some_and(|block| Header(*block).check().is_ok())
}

/// One header block. Fields are decoded on request, because which of them have a meaning depends on the type.
#[derive(Clone)]
pub(super) struct Header([u8; BLOCK]);

#[derive(PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

impl Header {
    pub(super) fn new(block: [u8; BLOCK]) -> Result<Self, Malformed> {
        let header = Self(block);
        header.check()?;
        Ok(header)
    }

    /// Compares the checksum. Old writers summed signed chars, so both sums are in use.
    fn check(&self) -> Result<(), Malformed> {
        let expected = number(&self.0[CHECKSUM], "checksum")?;
        let mut unsigned = 0i128;
        let mut signed = 0i128;
        for (index, byte) in self.0.iter().enumerate() {
            let byte = if CHECKSUM.contains(&index) {
                b' '
            } else {
                *byte
            };
            unsigned += i128::from(byte);
            signed += i128::from(byte.cast_signed());
        }
        if expected != unsigned && expected != signed {
            return Err(Malformed::Checksum);
        }
        Ok(())
    }

    pub(super) fn typeflag(&self) -> u8 {
        self.0[TYPE]
    }

    /// Returns the name, in two parts if ustar splits it; the first part may be empty.
    pub(super) fn name(&self) -> (&[u8], &[u8]) {
        let prefix = match self.format() {
            Format::V7 => &[],
            Format::Gnu => self.gnu_prefix(),
            Format::Ustar => text(&self.0[PREFIX]),
            Format::Star => text(&self.0[STAR_PREFIX]),
        };
        (prefix, text(&self.0[NAME]))
    }

    /// Returns the prefix of a header that has one in spite of GNU's magic; almost always empty.
    ///
    /// Go before 1.8, and with it docker before 17.06, wrote such headers for a long path with a number that needs base
    /// 256 (golang/go#21005). The rule is Go's own: where GNU's headers have an access and a change time, a field that
    /// begins with a NUL or holds a number is a time. If one of them is neither, the bytes are a prefix, provided that
    /// they are ASCII, because those versions of Go split no other names.
    pub(super) fn gnu_prefix(&self) -> &[u8] {
        let is_time = |field: &[u8]| {
            field.first().is_none_or(|byte| *byte == 0) || number(field, "time").is_ok()
        };
        if is_time(&self.0[GNU_ATIME]) && is_time(&self.0[GNU_CTIME]) {
            return &[];
        }
        let prefix = text(&self.0[PREFIX]);
        if prefix.is_ascii() { prefix } else { &[] }
    }

    /// Returns an error if readers disagree on whether the name has a prefix: bsdtar only needs `ustar` for that, GNU
    /// tar and Go need the byte after it too.
    pub(super) fn check_prefix(&self) -> Result<(), Malformed> {
        let magic = &self.0[MAGIC];
        let is_unclear = magic.starts_with(b"ustar") && self.format() == Format::V7;
        if is_unclear && self.0[PREFIX.start] != 0 {
            return Err(Malformed::Prefix);
        }
        Ok(())
    }

    /// Returns an error if this is a file of the oldest format and readers disagree on whether it is a directory:
    /// Python checks the header's own name for the slash, others check `name`, which an extended header gave it.
    pub(super) fn check_old_directory(&self, name: &[u8]) -> Result<(), Malformed> {
        let own = text(&self.0[NAME]).ends_with(b"/");
        if self.typeflag() == 0 && own != name.ends_with(b"/") {
            return Err(Malformed::OldDirectory);
        }
        Ok(())
    }

    pub(super) fn linkname(&self) -> &[u8] {
        text(&self.0[LINKNAME])
    }

    /// Returns the permission bits: the low 12 bits, because the bits above depend on the type.
    pub(super) fn mode(&self) -> Result<u16, Malformed> {
        let mode = number(&self.0[MODE], "mode")? & 0o7777;
        u16::try_from(mode).map_err(|_| Malformed::Number("mode"))
    }

    pub(super) fn uid(&self) -> Result<i128, Malformed> {
        number(&self.0[UID], "uid")
    }

    pub(super) fn gid(&self) -> Result<i128, Malformed> {
        number(&self.0[GID], "gid")
    }

    pub(super) fn mtime(&self) -> Result<i128, Malformed> {
        number(&self.0[MTIME], "mtime")
    }

    pub(super) fn size(&self) -> Result<u64, Malformed> {
        unsigned(&self.0[SIZE], "size")
    }

    /// Returns the major and the minor number, of whatever size.
    pub(super) fn device(&self) -> Result<(i128, i128), Malformed> {
        if self.format() == Format::V7 {
            return Err(Malformed::NoDeviceNumbers);
        }
        Ok((
            number(&self.0[DEVMAJOR], "device's major number")?,
            number(&self.0[DEVMINOR], "device's minor number")?,
        ))
    }

    /// Returns whether the header has GNU's magic.
    pub(super) fn is_gnu(&self) -> bool {
        self.format() == Format::Gnu
    }

    /// Returns the start of an old GNU sparse map, and whether more of it follows.
    pub(super) fn gnu_sparse(&self) -> (&[u8], bool) {
        (&self.0[GNU_SPARSE], self.0[GNU_IS_EXTENDED] != 0)
    }

    /// Returns the size of an old GNU sparse file with its holes.
    pub(super) fn gnu_realsize(&self) -> Result<u64, Malformed> {
        unsigned(&self.0[GNU_REALSIZE], "size of the sparse file")
    }

    fn format(&self) -> Format {
        match &self.0[MAGIC] {
            b"ustar  \0" => Format::Gnu,
            magic if magic.starts_with(b"ustar\0") => {
                if &self.0[STAR_TRAILER] == b"tar\0" {
                    Format::Star
                } else {
                    Format::Ustar
                }
            }
            _ => Format::V7,
        }
    }
}

/// Returns a number field as an unsigned value.
pub(super) fn unsigned(field: &[u8], what: &'static str) -> Result<u64, Malformed> {
    let value = number(field, what)?;
    u64::try_from(value).map_err(|_| Malformed::Range {
        field: what,
        value,
        max: u64::MAX,
    })
}

/// Returns a field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}

/// Reads octal digits with spaces or NULs before and after them; an empty field is 0. After 0x80 or 0xFF, reads
/// big-endian two's complement in the other bytes (GNU, star).
///
/// Other white space is an error, as it is for Go; GNU tar and Python skip it. Whatever follows the first NUL after the
/// digits is ignored. NULs before the digits are skipped because Go does so, and with it every container engine. Python
/// and bsdtar read 0 there, GNU tar skips one NUL.
fn number(field: &[u8], what: &'static str) -> Result<i128, Malformed> {
    let Some((first, rest)) = field.split_first() else {
        return Ok(0);
    };
    // The first byte is all sign: GNU tar and Python refuse another one, and no known writer produces it.
    let sign = match first {
        0x80 => Some(0),
        0xFF => Some(-1),
        _ => None,
    };
    if let Some(sign) = sign {
        // At most twelve bytes, so 88 bits cannot overflow. No reader keeps more than 64 of them.
        let value = rest
            .iter()
            .fold(sign, |value, byte| (value << 8) | i128::from(*byte));
        return match i64::try_from(value) {
            Ok(_) => Ok(value),
            Err(_) => Err(Malformed::Number(what)),
        };
    }
    let is_blank = |byte: &u8| matches!(byte, 0 | b' ');
    let start = field.iter().position(|byte| !is_blank(byte));
    let end = field.iter().rposition(|byte| !is_blank(byte));
    let (Some(start), Some(end)) = (start, end) else {
        return Ok(0);
    };
    let digits = text(&field[start..=end]);
    digits.iter().try_fold(0i128, |value, digit| match digit {
        b'0'..=b'7' => Ok((value << 3) | i128::from(digit - b'0')),
        _ => Err(Malformed::Number(what)),
    })
}
