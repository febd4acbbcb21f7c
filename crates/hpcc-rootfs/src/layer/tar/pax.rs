//! PAX extended headers: `length key=value\n`, where `length` counts all of it.
//!
//! Values are taken by that length alone, because they may hold newlines, `=` and NUL.

use std::collections::BTreeSet;

use sqfs_writer::Xattrs;

use super::decimal::decimal;
use super::sparse::PaxSparse;
use crate::growth::{copy_of, with_capacity};
use crate::layer::error::{Fault, Limit, Malformed};
use crate::layer::limits::Limits;
use crate::layer::measure::Measure;

/// Linux's limits (`XATTR_NAME_MAX`, `XATTR_SIZE_MAX`), which squashfs shares: engines fail to set longer ones.
const XATTR_NAME_MAX: usize = 255;
const XATTR_VALUE_MAX: usize = 64 << 10;

/// The fields that one extended header overrides in the file header after it.
#[derive(Debug, Default)]
pub(super) struct Extended {
    pub(super) path: Option<Box<[u8]>>,
    pub(super) linkpath: Option<Box<[u8]>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<i128>,
    pub(super) gid: Option<i128>,
    pub(super) mtime: Option<i128>,
    /// Device numbers that bsdtar alone applies; the largest value for text that is no number.
    pub(super) devmajor: Option<u64>,
    pub(super) devminor: Option<u64>,
    pub(super) xattrs: Xattrs,
    pub(super) acls: u32,
    /// Number of attributes that were left out, by reason.
    pub(super) unstorable_xattrs: u32,
    pub(super) overlay_xattrs: u32,
    pub(super) sparse: PaxSparse,
    /// Whether a record with an empty value took an override back.
    takes_back: bool,
}

impl Extended {
    /// Returns whether `second`, which follows this one before the same file, repeats everything of this one and
    /// contradicts nothing. Then it does not matter which of the two a reader keeps: Go and GNU tar keep the second,
    /// bsdtar keeps both, and Python lets the first override the second.
    pub(super) fn is_repeated_by(&self, second: &Self) -> bool {
        fn same<T: PartialEq>(first: Option<&T>, second: Option<&T>) -> bool {
            first.is_none() || first == second
        }
        let xattr = |(name, value): (&[u8], &[u8])| second.xattrs.get(name) == Some(value);
        let unusual = |one: &Self| one.takes_back || one.sparse.is_sparse();
        same(self.path.as_ref(), second.path.as_ref())
            && same(self.linkpath.as_ref(), second.linkpath.as_ref())
            && same(self.size.as_ref(), second.size.as_ref())
            && same(self.uid.as_ref(), second.uid.as_ref())
            && same(self.gid.as_ref(), second.gid.as_ref())
            && same(self.mtime.as_ref(), second.mtime.as_ref())
            && same(self.devmajor.as_ref(), second.devmajor.as_ref())
            && same(self.devminor.as_ref(), second.devminor.as_ref())
            && self.xattrs.iter().all(xattr)
            && !unusual(self)
            && !unusual(second)
    }

    /// Parses the records of one header.
    ///
    /// An empty value of a standard key takes an override back, so the file header's own value applies; an empty value
    /// of an xattr is an empty xattr.
    pub(super) fn parse(body: &[u8], limits: &Limits) -> Result<Self, Fault> {
        let mut extended = Self::default();
        let mut attributes = Attributes::new(limits);
        let mut rest = body;
        while !rest.is_empty() {
            let (key, value, after) = record(rest)?;
            rest = after;
            extended.take(key, value, &mut attributes, limits)?;
        }
        let Attributes {
            schily,
            libarchive,
            dropped,
            ..
        } = attributes;
        extended.xattrs = schily;
        for (name, value) in libarchive.iter() {
            extended.xattrs.insert(name, value);
        }
        for name in &dropped {
            let count = match is_overlay(name) {
                true => &mut extended.overlay_xattrs,
                false => &mut extended.unstorable_xattrs,
            };
            *count = count.saturating_add(1);
        }
        Ok(extended)
    }

    fn take(
        &mut self,
        key: &[u8],
        value: &[u8],
        attributes: &mut Attributes<'_>,
        limits: &Limits,
    ) -> Result<(), Fault> {
        let given = Some(value).filter(|value| !value.is_empty());
        let is_standard = matches!(
            key,
            b"path" | b"linkpath" | b"size" | b"uid" | b"gid" | b"mtime"
        );
        self.takes_back |= is_standard && value.is_empty();
        let named = match key {
            b"path" => "name",
            b"linkpath" => "link target",
            b"uname" => "owner's name",
            b"gname" => "group's name",
            _ => "",
        };
        if !named.is_empty() && value.contains(&0) {
            return Err(Malformed::Nul(named).into());
        }
        // No device has the number that stands for other text.
        let device = || Some(decimal(value, "device number").unwrap_or(u64::MAX));
        match key {
            b"path" => self.path = given.map(copy_of).transpose()?,
            b"linkpath" => self.linkpath = given.map(copy_of).transpose()?,
            b"size" => {
                self.size = given.map(|value| decimal(value, "size")).transpose()?;
            }
            b"uid" => self.uid = given.map(|value| id(value, "uid")).transpose()?,
            b"gid" => self.gid = given.map(|value| id(value, "gid")).transpose()?,
            b"mtime" => self.mtime = given.map(|value| seconds(value, "mtime")).transpose()?,
            // Nothing keeps these two. Go refuses them if they are no numbers.
            b"atime" => drop(given.map(|value| seconds(value, "atime")).transpose()?),
            b"ctime" => drop(given.map(|value| seconds(value, "ctime")).transpose()?),
            b"SCHILY.devmajor" => self.devmajor = device(),
            b"SCHILY.devminor" => self.devminor = device(),
            _ => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.take(key, value, limits)?;
                } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    attributes.take(Spelling::Schily, name, value)?;
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    let name = url_decode(name)?;
                    let value = base64_decode(value)?;
                    attributes.take(Spelling::Libarchive, &name, &value)?;
                } else if key.starts_with(b"SCHILY.acl.") {
                    self.acls = self.acls.saturating_add(1);
                } else if key == b"SCHILY.realsize" {
                    return Err(Malformed::Sparse("written by star, which is not supported").into());
                } else if key == b"SUN.holesdata" {
                    return Err(
                        Malformed::Sparse("written by Solaris, which is not supported").into(),
                    );
                }
            }
        }
        Ok(())
    }
}

/// The kind of the records that an attribute is in.
#[derive(Clone, Copy)]
enum Spelling {
    Schily,
    Libarchive,
}

/// The extended attributes of one header. Attributes that the image will not have are not kept any longer than this.
struct Attributes<'a> {
    schily: Xattrs,
    libarchive: Xattrs,
    /// Number of attributes that are in both.
    twice: usize,
    /// Names of attributes that the image will not have.
    dropped: BTreeSet<Box<[u8]>>,
    bytes: u64,
    limits: &'a Limits,
}

impl<'a> Attributes<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self {
            schily: Xattrs::default(),
            libarchive: Xattrs::default(),
            twice: 0,
            dropped: BTreeSet::new(),
            bytes: 0,
            limits,
        }
    }

    fn take(&mut self, spelling: Spelling, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        if name.is_empty() {
            return Err(Malformed::Xattr("it has no name").into());
        }
        if name.contains(&0) {
            return Err(Malformed::Xattr("its name holds a NUL byte").into());
        }
        let keep = Xattrs::can_store(name) && !is_overlay(name);
        if keep && name.len() > XATTR_NAME_MAX {
            return Err(
                Malformed::Xattr("its name has more than 255 bytes, the most of Linux").into(),
            );
        }
        if keep && value.len() > XATTR_VALUE_MAX {
            return Err(
                Malformed::Xattr("its value has more than 64 KiB, the most of Linux").into(),
            );
        }
        if !keep {
            return match self.dropped.contains(name) {
                true => Ok(()),
                false => {
                    self.dropped.insert(copy_of(name)?);
                    self.count(name, value)
                }
            };
        }
        let (kept, other) = match spelling {
            Spelling::Schily => (&mut self.schily, &self.libarchive),
            Spelling::Libarchive => (&mut self.libarchive, &self.schily),
        };
        if kept.get(name) == Some(value) {
            return Ok(());
        }
        match other.get(name) {
            // An attribute with both spellings counts once.
            Some(same) if same == value => {
                kept.insert(name, value);
                self.twice += 1;
                Ok(())
            }
            // GNU tar and Go know the first spelling alone, and bsdtar keeps the one that comes last.
            Some(_) => {
                let differ = "its SCHILY and LIBARCHIVE records have different values";
                Err(Malformed::Xattr(differ).into())
            }
            None => {
                kept.insert(name, value);
                self.count(name, value)
            }
        }
    }

    /// Charges for another attribute, or for another value of one.
    fn count(&mut self, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.bytes += (name.len() + value.len()) as u64;
        let max = self.limits.xattr_bytes as u64;
        Limit::check(Measure::XattrBytes, self.bytes, max)?;
        let all = self.schily.len() + self.libarchive.len() + self.dropped.len();
        let count = all.saturating_sub(self.twice) as u64;
        Limit::check(Measure::Xattrs, count, self.limits.xattrs as u64)?;
        Ok(())
    }
}

/// Returns whether an overlay file system takes the attribute for its own (`fs/overlayfs/overlayfs.h`). As a lower
/// layer, the image would hide or redirect names of the layers below it. The kernel reads the second prefix where an
/// overlay is mounted with `userxattr`, as unprivileged users do. Names are compared to the byte, as in the kernel.
fn is_overlay(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// Key and value of a record, and the bytes after it.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn record(body: &[u8]) -> Result<Record<'_>, Malformed> {
    let space = body
        .iter()
        .take(20)
        .position(|byte| *byte == b' ')
        .ok_or(Malformed::Pax("a record has no length"))?;
    let length = decimal(&body[..space], "length of a PAX record")?;
    let (record, rest) = usize::try_from(length)
        .ok()
        .filter(|length| *length > space + 1)
        .and_then(|length| body.split_at_checked(length))
        .ok_or(Malformed::Pax("the length of a record is wrong"))?;
    let record = record[space + 1..]
        .strip_suffix(b"\n")
        .ok_or(Malformed::Pax(
            "a record does not end where its length says",
        ))?;
    let equals = record
        .iter()
        .position(|byte| *byte == b'=')
        .filter(|position| *position > 0)
        .ok_or(Malformed::Pax("a record has no key"))?;
    let key = &record[..equals];
    // GNU tar skips them, and takes the rest for the key.
    if matches!(key, [b' ' | b'\t', ..]) {
        return Err(Malformed::Pax("a key begins with a blank"));
    }
    if key.contains(&0) {
        return Err(Malformed::Pax("a key holds a NUL byte"));
    }
    Ok((key, &record[equals + 1..], rest))
}

fn id(text: &[u8], what: &'static str) -> Result<i128, Malformed> {
    decimal(text, what).map(i128::from)
}

/// Reads a number that may be negative and may have a fraction, which is dropped towards the past, as a clock does. It
/// may have any number of digits; a value beyond 128 bits is clamped.
fn seconds(text: &[u8], what: &'static str) -> Result<i128, Malformed> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = parts.next().unwrap_or_default();
    let fraction = parts.next().unwrap_or_default();
    if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return Err(Malformed::Number(what));
    }
    let whole = whole.iter().fold(0i128, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add(i128::from(digit - b'0'))
    });
    let behind = fraction.iter().any(|digit| *digit != b'0');
    Ok(match negative {
        true => -whole - i128::from(behind),
        false => whole,
    })
}

fn url_decode(text: &[u8]) -> Result<Box<[u8]>, Fault> {
    let bad = || Malformed::Xattr("its name is not url-encoded");
    let mut decoded = with_capacity(text.len())?;
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>().ok_or_else(bad)?;
        rest = after;
        let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
        let value = high.zip(low).map(|(high, low)| high << 4 | low);
        let value = value.and_then(|value| u8::try_from(value).ok());
        decoded.push(value.ok_or_else(bad)?);
    }
    Ok(decoded.into())
}

/// Decodes base64 in the standard alphabet; libarchive leaves the padding out.
fn base64_decode(text: &[u8]) -> Result<Box<[u8]>, Fault> {
    let bad = || Malformed::Xattr("its value is not base64");
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let mut decoded = with_capacity(text.len() * 3 / 4)?;
    for group in text.chunks(4) {
        if group.len() == 1 {
            return Err(bad().into());
        }
        let mut bits = 0u32;
        for byte in group {
            let digit = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return Err(bad().into()),
            };
            bits = bits << 6 | u32::from(digit);
        }
        bits <<= 6 * (4 - group.len());
        let [_, bytes @ ..] = bits.to_be_bytes();
        decoded.extend_from_slice(&bytes[..group.len() - 1]);
    }
    Ok(decoded.into())
}
