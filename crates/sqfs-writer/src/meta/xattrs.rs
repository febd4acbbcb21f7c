//! Extended attributes: sets that are equal are stored once, and so are long values.

use std::collections::HashMap;

use super::queue::{Link, MetadataBlocks, MetadataQueue, Place, Table};
use crate::error::Error;
use crate::format::{
    Field, XATTR_PREFIXES, XattrEntry, XattrId, XattrIndex, XattrType, XattrValue,
};
use crate::metadata::Xattrs;
use crate::pool::Effort;

/// Linux's limits (`XATTR_NAME_MAX`, `XATTR_SIZE_MAX`): what is over them can't be read back.
const NAME_MAX: usize = 255;
const VALUE_MAX: usize = 65_536;

/// A reference takes 8 bytes; only values longer than that are worth one.
const INLINE_MAX: usize = 8;

/// The tables of names and values, and of sets.
pub(crate) struct XattrTables {
    pub(crate) values: MetadataBlocks,
    pub(crate) sets: MetadataBlocks,
    pub(crate) count: u32,
    /// Attributes that could not be stored.
    pub(crate) dropped: u64,
}

#[derive(Default)]
pub(crate) struct XattrWriter {
    sets: Vec<Set>,
    /// Sets that are stored. Looked up, never walked: its order reaches nothing.
    known_sets: HashMap<Xattrs, XattrIndex>,
    /// Where long values are stored.
    known_values: HashMap<Box<[u8]>, Place>,
    dropped: u64,
}

/// A set that is stored.
struct Set {
    place: Place,
    count: u32,
    size: u32,
}

impl XattrWriter {
    /// The index of a set, which is stored if it is new. `entry` names the inode for messages.
    pub(crate) fn add(
        &mut self,
        queue: &mut MetadataQueue,
        xattrs: &Xattrs,
        entry: impl Fn() -> String,
    ) -> Result<XattrIndex, Error> {
        if xattrs.is_empty() {
            return Ok(XattrIndex::NONE);
        }
        if let Some(&index) = self.known_sets.get(xattrs) {
            self.dropped += unsupported(xattrs);
            return Ok(index);
        }
        let index = self.add_set(queue, xattrs, entry)?;
        self.dropped += unsupported(xattrs);
        self.known_sets.insert(xattrs.clone(), index);
        Ok(index)
    }

    fn add_set(
        &mut self,
        queue: &mut MetadataQueue,
        xattrs: &Xattrs,
        entry: impl Fn() -> String,
    ) -> Result<XattrIndex, Error> {
        let dropped = unsupported(xattrs);
        if dropped > 0 {
            // What is left may be a set that is known.
            let mut rest = Xattrs::default();
            for (name, value) in xattrs.iter().filter(|(name, _)| split(name).is_some()) {
                rest.insert(name, value);
            }
            let index = self.add(queue, &rest, entry);
            return index;
        }
        let limit = |what, value: usize, max: usize| Error::Limit {
            what,
            entry: entry(),
            value: value as u64,
            max: max as u64,
        };
        let place = queue.place(Table::Xattrs);
        let mut size = 0;
        for (name, value) in xattrs.iter() {
            if name.len() > NAME_MAX {
                return Err(limit("xattr name length", name.len(), NAME_MAX));
            }
            if value.len() > VALUE_MAX {
                return Err(limit("xattr value length", value.len(), VALUE_MAX));
            }
            size += self.add_pair(queue, name, value)?;
        }
        let index = u32::try_from(self.sets.len())
            .ok()
            .map(XattrIndex)
            .filter(|&index| index != XattrIndex::NONE);
        let too_many = || {
            limit(
                "number of xattr sets",
                self.sets.len(),
                u32::MAX as usize - 1,
            )
        };
        let index = index.ok_or_else(too_many)?;
        let count = u32::try_from(xattrs.len());
        let size = u32::try_from(size);
        let (Ok(count), Ok(size)) = (count, size) else {
            return Err(limit("xattr count", xattrs.len(), u32::MAX as usize));
        };
        self.sets.push(Set { place, count, size });
        Ok(index)
    }

    /// Stores a name and its value, and returns how many bytes that took.
    fn add_pair(
        &mut self,
        queue: &mut MetadataQueue,
        name: &[u8],
        value: &[u8],
    ) -> Result<usize, Error> {
        let Some((prefix, name)) = split(name) else {
            return Ok(0);
        };
        let known = (value.len() > INLINE_MAX)
            .then(|| self.known_values.get(value).copied())
            .flatten();
        let flag = known.map_or(0, |_| XattrType::OUT_OF_LINE);
        let entry = XattrEntry {
            xattr_type: XattrType(prefix | flag),
            size: u16::try_from(name.len()).unwrap_or(u16::MAX),
        };
        queue.write(Table::Xattrs, &entry.to_bytes(), &[])?;
        queue.write(Table::Xattrs, name, &[])?;
        if known.is_none() && value.len() > INLINE_MAX {
            let place = queue.place(Table::Xattrs);
            self.known_values.insert(value.into(), place);
        }
        let len = known.map_or(value.len(), |_| INLINE_MAX);
        let header = XattrValue {
            vsize: u32::try_from(len).unwrap_or(u32::MAX),
        };
        queue.write(Table::Xattrs, &header.to_bytes(), &[])?;
        match known {
            // 16 bits of offset, and where the block is.
            Some(Place { block, offset }) => {
                let bytes = u64::from(offset).to_le_bytes();
                let link = Link {
                    at: 2,
                    table: Table::Xattrs,
                    block,
                };
                queue.write(Table::Xattrs, &bytes, &[link])?;
            }
            None => queue.write(Table::Xattrs, value, &[])?,
        }
        Ok(XattrEntry::SIZE + name.len() + XattrValue::SIZE + len)
    }

    /// Takes the tables out of a queue that has [ended](MetadataQueue::end) theirs.
    pub(crate) fn finish(
        self,
        queue: &mut MetadataQueue,
        effort: Effort,
    ) -> Result<XattrTables, Error> {
        let mut ids = Vec::with_capacity(self.sets.len());
        for Set { place, count, size } in &self.sets {
            let id = XattrId {
                xattr: queue.resolve(Table::Xattrs, *place)?.0,
                count: *count,
                size: *size,
            };
            ids.push(id.to_bytes());
        }
        Ok(XattrTables {
            values: queue.finish(Table::Xattrs),
            count: u32::try_from(ids.len()).unwrap_or(u32::MAX),
            sets: queue.entries("the table of xattr sets", effort, ids.into_iter().map(Ok))?,
            dropped: self.dropped,
        })
    }
}

/// Number of the prefix, and the rest of the name; `None` for names the format can't express.
fn split(name: &[u8]) -> Option<(u16, &[u8])> {
    (0..)
        .zip(XATTR_PREFIXES)
        .find_map(|(number, prefix)| Some((number, name.strip_prefix(prefix)?)))
        // A NUL would end the name for every reader; an empty one is refused by Linux.
        .filter(|(_, rest)| !rest.is_empty() && !rest.contains(&0))
}

fn unsupported(xattrs: &Xattrs) -> u64 {
    xattrs
        .iter()
        .filter(|(name, _)| split(name).is_none())
        .count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::Compressor;
    use crate::pool::Pool;

    fn queue() -> MetadataQueue {
        let codecs = Compressor::default().resolve(131_072, None).unwrap();
        let pool = Pool::new(1, &codecs).unwrap();
        MetadataQueue::new(pool, Effort::Compress, Effort::Compress)
    }

    fn set(pairs: &[(&str, &[u8])]) -> Xattrs {
        let mut xattrs = Xattrs::default();
        for &(name, value) in pairs {
            xattrs.insert(name.as_bytes(), value);
        }
        xattrs
    }

    #[test]
    fn equal_sets_share_an_index_also_after_dropping_what_cannot_be_stored() {
        let mut queue = queue();
        let mut writer = XattrWriter::default();
        let cases = [
            (set(&[]), XattrIndex::NONE, 0),
            (set(&[("user.a", b"1")]), XattrIndex(0), 0),
            (set(&[("user.a", b"2")]), XattrIndex(1), 0),
            (set(&[("user.a", b"1")]), XattrIndex(0), 0),
            (
                set(&[("user.a", b"1"), ("system.posix_acl_access", b"x")]),
                XattrIndex(0),
                1,
            ),
            (
                set(&[("user.a", b"1"), ("system.posix_acl_access", b"x")]),
                XattrIndex(0),
                2,
            ),
            (
                set(&[("system.x", b"x"), ("user.", b"x"), ("user.a\0", b"")]),
                XattrIndex::NONE,
                5,
            ),
        ];
        for (xattrs, index, dropped) in cases {
            assert_eq!(
                writer.add(&mut queue, &xattrs, String::new).unwrap(),
                index,
                "{xattrs:?}"
            );
            assert_eq!(writer.dropped, dropped, "{xattrs:?}");
        }
        queue.end(&[Table::Xattrs]).unwrap();
        let tables = writer.finish(&mut queue, Effort::Compress).unwrap();
        assert_eq!(tables.count, 2);
    }

    #[test]
    fn a_long_value_is_stored_once_and_a_short_one_every_time() {
        let mut queue = queue();
        let mut writer = XattrWriter::default();
        for pairs in [
            [("user.a", &b"12345678"[..]), ("user.b", b"123456789")],
            [("user.c", b"12345678"), ("user.d", b"123456789")],
        ] {
            writer.add(&mut queue, &set(&pairs), String::new).unwrap();
        }
        // entry 4 + name 1 + value header 4 + value; the last value is a reference of 8.
        let sizes: Vec<u32> = writer.sets.iter().map(|set| set.size).collect();
        assert_eq!(sizes, [2 * 9 + 8 + 9, 2 * 9 + 8 + 8]);
        let offset = writer.sets.last().map(|set| set.place.offset);
        assert_eq!(offset, Some(2 * 9 + 8 + 9));
    }

    #[test]
    fn what_linux_cannot_read_back_is_an_error_that_names_the_entry() {
        let mut queue = queue();
        let mut writer = XattrWriter::default();
        let name = format!("user.{}", "n".repeat(251));
        let value = vec![0; VALUE_MAX + 1];
        for xattrs in [set(&[(&name, b"")]), set(&[("user.v", &value)])] {
            let result = writer.add(&mut queue, &xattrs, || "/etc/x".into());
            assert!(matches!(result, Err(Error::Limit { entry, .. }) if entry == "/etc/x"));
        }
    }
}
