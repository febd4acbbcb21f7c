//! The members of a tar file that describe the next one: POSIX's `x`, GNU's `L` and `K`.
//!
//! They describe the next member that is not one of them, in whatever order they stand. Their own
//! length is always that of their own header.

use crate::source::tar_header::text;
use crate::source::tar_sparse::Sparse;
use crate::tar_fields::decimal;

/// What the members before a member say about it.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    records: Option<Records>,
    name: Option<String>,
    link: Option<String>,
}

/// What one `x` says.
#[derive(Debug, Default)]
pub(crate) struct Records {
    path: Option<String>,
    link: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) sparse: Option<Sparse>,
    /// Whether a record without a value took an earlier one back.
    takes_back: bool,
}

/// What [`Extensions`] say together.
#[derive(Debug, Default)]
pub(crate) struct Described {
    pub(crate) path: Option<String>,
    pub(crate) link: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) sparse: Option<Sparse>,
}

impl Extensions {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_none() && self.name.is_none() && self.link.is_none()
    }

    /// Takes the body of a member of the kind `x`, `L` or `K`.
    ///
    /// # Errors
    /// Returns the fault, as the object of "the archive has". Two extensions of one kind have to
    /// agree, because readers differ on which of them counts.
    pub(crate) fn take(&mut self, kind: u8, body: &[u8]) -> Result<(), &'static str> {
        let known = match kind {
            b'L' => &mut self.name,
            b'K' => &mut self.link,
            _ => return self.take_records(Records::parse(body)?),
        };
        let name = text(body);
        if name.is_empty() {
            return Err("an empty long name");
        }
        match known.replace(name) {
            Some(first) if known.as_ref() != Some(&first) => Err("two long names for one member"),
            _ => Ok(()),
        }
    }

    fn take_records(&mut self, second: Records) -> Result<(), &'static str> {
        match &self.records {
            Some(first) if !first.is_repeated_by(&second) => {
                Err("two PAX headers that differ for one member")
            }
            _ => {
                self.records = Some(second);
                Ok(())
            }
        }
    }

    /// Returns what holds for the next member.
    ///
    /// # Errors
    /// As [`take`](Self::take), if `x` and `L` or `K` give different names.
    pub(crate) fn into_described(self) -> Result<Described, &'static str> {
        let records = self.records.unwrap_or_default();
        Ok(Described {
            path: agreed(records.path, self.name)?,
            link: agreed(records.link, self.link)?,
            size: records.size,
            sparse: records.sparse,
        })
    }
}

fn agreed(pax: Option<String>, gnu: Option<String>) -> Result<Option<String>, &'static str> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) if pax != gnu => Err("two names for one member"),
        (pax, gnu) => Ok(pax.or(gnu)),
    }
}

impl Records {
    /// Takes the records apart: `30 path=some/name\n`, where the number is the record's length.
    ///
    /// A record without a value takes back an earlier one of the same key, and otherwise changes
    /// nothing: the header's own value counts.
    ///
    /// # Errors
    /// Returns the fault, as the object of "the archive has".
    pub(crate) fn parse(mut body: &[u8]) -> Result<Self, &'static str> {
        let mut records = Self::default();
        while !body.is_empty() {
            let (key, value, rest) = record(body).ok_or("a PAX record with a wrong length")?;
            // GNU tar skips blanks before a key, and takes the rest for the key. No other reader does.
            if matches!(key, [b' ' | b'\t', ..]) {
                return Err("a PAX key that begins with a blank");
            }
            if key.contains(&0) {
                return Err("a PAX key that holds a NUL");
            }
            records.take(key, value)?;
            body = rest;
        }
        if records.sparse.as_ref().is_some_and(Sparse::is_broken) {
            return Err("a sparse member whose map makes no sense");
        }
        Ok(records)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let given = Some(value).filter(|value| !value.is_empty());
        let is_name = matches!(key, b"path" | b"linkpath" | b"uname" | b"gname");
        if is_name && value.contains(&0) {
            return Err("a PAX name that holds a NUL");
        }
        let name = || given.map(|value| String::from_utf8_lossy(value).into_owned());
        match key {
            b"path" => self.path = name(),
            b"linkpath" => self.link = name(),
            b"size" => {
                let wrong = "a PAX size that is not a number";
                let size = given.map(|value| decimal(value).ok_or(wrong));
                self.size = size.transpose()?;
            }
            // Nothing keeps them. Go refuses them if they are no numbers.
            b"mtime" | b"atime" | b"ctime" => {
                return match given.is_none_or(is_time) {
                    true => Ok(()),
                    false => Err("a PAX time that is not a number"),
                };
            }
            b"SCHILY.realsize" => return Err("a sparse member of star (`SCHILY.realsize`)"),
            b"SUN.holesdata" => return Err("a sparse member of Solaris (`SUN.holesdata`)"),
            _ => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.get_or_insert_default().take(key, value);
                }
                return Ok(());
            }
        }
        self.takes_back |= given.is_none();
        Ok(())
    }

    /// Whether `second`, before the same member, repeats all of this and contradicts nothing. Then
    /// it does not matter which of them a reader keeps: Go keeps the second, Python the first.
    fn is_repeated_by(&self, second: &Self) -> bool {
        fn same<T: PartialEq>(first: Option<&T>, second: Option<&T>) -> bool {
            first.is_none() || first == second
        }
        let is_unusual = |one: &Self| one.takes_back || one.sparse.is_some();
        same(self.path.as_ref(), second.path.as_ref())
            && same(self.link.as_ref(), second.link.as_ref())
            && same(self.size.as_ref(), second.size.as_ref())
            && !is_unusual(self)
            && !is_unusual(second)
    }
}

/// Returns the key and the value of the first record, and what follows it.
fn record(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = body.iter().take(20).position(|byte| *byte == b' ')?;
    let length = decimal(body.get(..space)?)?;
    let (record, rest) = body.split_at_checked(usize::try_from(length).ok()?)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = record.split_at_checked(equals)?;
    let value = value.get(1..)?;
    (!key.is_empty()).then_some((key, value, rest))
}

/// Whether `text` is a number that may be negative and may have a fraction.
fn is_time(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = parts.next().unwrap_or_default();
    let fraction = parts.next().unwrap_or_default();
    !whole.is_empty() && whole.iter().chain(fraction).all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(ahead: &[(u8, &[u8])]) -> Result<Described, &'static str> {
        let mut extensions = Extensions::default();
        for (kind, body) in ahead {
            extensions.take(*kind, body)?;
        }
        extensions.into_described()
    }

    #[test]
    fn records_give_names_and_sizes() {
        let found = described(&[(b'x', b"12 path=a/b\n14 size=12345\n")]).unwrap();
        assert_eq!(found.path.as_deref(), Some("a/b"));
        assert_eq!(found.size, Some(12345));
        assert_eq!(found.link, None);
    }

    // moby/buildkit writes such records.
    #[test]
    fn records_without_a_value_leave_the_header_alone() {
        let found = described(&[(b'x', b"8 path=\n13 linkpath=\n8 size=\n")]).unwrap();
        assert_eq!((found.path, found.link, found.size), (None, None, None));
        let found = described(&[(b'x', b"12 path=a/b\n8 path=\n")]).unwrap();
        assert_eq!(found.path, None);
    }

    #[test]
    fn malformed_records_are_errors() {
        for body in [
            &b"12 path=a/b\n99 linkpath=cut\n"[..],
            b"5 xxxxxxxxx\n",
            b"+12 path=a/b\n",
            b"12 path=a/bX",
            b"12 path=a/b\n\0\0\0\0",
            b"4 =\n",
            b"3 \n",
            b"0 path=a\n",
            b"path=a/b\n",
            b"11 size=+5\n",
            b"11 size=-5\n",
            b"29 size=18446744073709551616\n",
            b"12 path=a\0b\n",
        ] {
            assert!(described(&[(b'x', body)]).is_err(), "{body:?}");
        }
    }

    /// GNU tar's `decode_record` skips blanks before a key; Go's `validPAXRecord` and `mergePAX` refuse the others.
    #[test]
    fn keys_and_values_that_readers_differ_on_are_errors() {
        for body in [
            &b"11  size=0\n"[..],
            b"11 \tsize=0\n",
            b"12 path\0x=a\n",
            b"13 uname=a\0b\n",
            b"13 gname=a\0b\n",
            b"16 linkpath=a\0b\n",
            b"11 mtime=x\n",
            b"13 atime=1e9\n",
            b"12 ctime=.5\n",
            b"21 SCHILY.realsize=5\n",
            b"22 SUN.holesdata= 1 2\n",
            b"23 GNU.sparse.offset=x\n",
        ] {
            assert_eq!(record(body).unwrap().2, b"", "{body:?}");
            assert!(described(&[(b'x', body)]).is_err(), "{body:?}");
        }
        for body in [
            &b"11 size =0\n"[..],
            b"9 atime=\n",
            b"16 mtime=-1.250\n",
            b"12 ctime=5.\n",
            b"12 other=\0b\n",
        ] {
            assert!(described(&[(b'x', body)]).is_ok(), "{body:?}");
        }
    }

    #[test]
    fn extensions_of_one_kind_have_to_agree() {
        let path: (u8, &[u8]) = (b'x', b"9 path=a\n");
        let pax = |body: &'static [u8]| (b'x', body);
        let long = |body: &'static [u8]| (b'L', body);
        for (ahead, expected) in [
            ([path, long(b"a\0")], Some("a")),
            ([long(b"a"), path], Some("a")),
            ([path, path], Some("a")),
            ([path, pax(b"9 path=a\n11 size=55\n")], Some("a")),
            ([long(b"a"), long(b"a\0\0")], Some("a")),
            ([path, long(b"b")], None),
            ([path, pax(b"9 path=b\n")], None),
            ([path, pax(b"11 size=55\n")], None),
            ([path, pax(b"8 path=\n")], None),
            ([long(b"a"), long(b"b")], None),
            ([path, long(b"\0")], None),
        ] {
            let found = described(&ahead).ok().and_then(|found| found.path);
            assert_eq!(found.as_deref(), expected, "{ahead:?}");
        }
    }
}
