//! Extended attributes: sets that are equal are stored once, and so are long values.

use super::queue::{Link, MetadataBlocks, MetadataQueue, Place, Table};
use crate::error::Error;
use crate::format::{
    Field, XattrEntry, XattrId, XattrIndex, XattrType, XattrValue, split_xattr_name,
};
use crate::known::{Fingerprint, Known, Of, Where};
use crate::metadata::Xattrs;
use crate::options::Shares;
use crate::pieces::Pieces;
use crate::pool::Effort;

/// Linux's limits (`XATTR_NAME_MAX`, `XATTR_SIZE_MAX`, `XATTR_LIST_MAX`): what is over them can't be read back.
const NAME_MAX: usize = 255;
const VALUE_MAX: usize = 65_536;
/// Of all names of an inode, each with a NUL.
const LIST_MAX: usize = 65_536;

/// A reference takes 8 bytes; only values longer than that are worth one.
const INLINE_MAX: usize = 8;

/// The tables of names and values, and of sets.
pub(crate) struct XattrTables {
    pub(crate) values: MetadataBlocks,
    pub(crate) sets: MetadataBlocks,
    pub(crate) count: u32,
    /// Attributes that could not be stored.
    pub(crate) dropped: u64,
    /// Sets and values that were stored again, because the cache had evicted them.
    pub(crate) forgotten: u64,
}

pub(crate) struct XattrWriter {
    /// With the number of the metadata block where its position will be.
    sets: Pieces<XattrId>,
    /// Sets that are stored, by index, and where long values are. A set that was forgotten is
    /// stored again, nothing worse. `None` once the sets need its memory.
    known: Option<Known>,
    /// Number of sets that `known` evicted.
    forgotten: u64,
    memory: Memory,
    dropped: u64,
    /// The effort on the table of sets.
    effort: Effort,
}

/// The share of the writer's budget that the sets may take.
struct Memory {
    /// Bytes that the lists of blocks and fragments take of it already.
    taken: usize,
    /// Up to this sum of both there is room for finding equal sets as well.
    shared: usize,
    /// The largest sum of both.
    max: usize,
}

impl XattrWriter {
    /// Returns a writer that stays within the budget that `taken` bytes of lists leave.
    pub(crate) fn new(shares: &Shares, taken: usize, effort: Effort) -> Self {
        let Shares {
            known, held, lists, ..
        } = *shares;
        // Lists that exceed their share have taken the rest from `known`.
        let borrowed = taken.saturating_sub(lists);
        let known = known.saturating_sub(borrowed);
        let max = shares.known + held + lists;
        Self {
            effort,
            sets: Pieces::new(),
            known: Some(Known::new(known)),
            forgotten: 0,
            memory: Memory {
                taken,
                shared: max - known,
                max,
            },
            dropped: 0,
        }
    }

    /// Keeps the sets within the budget, as the lists of blocks are: what finds equal ones makes
    /// room for them.
    fn check_memory(&mut self) -> Result<(), Error> {
        let needed = self.memory.taken + self.sets.bytes();
        if needed <= self.memory.shared {
            return Ok(());
        }
        if let Some(known) = self.known.take() {
            self.forgotten += known.forget();
        }
        if needed > self.memory.max {
            return Err(Error::Memory {
                needed,
                allowed: self.memory.max,
            });
        }
        Ok(())
    }

    /// Returns the index of a set, and stores it if it is new. `entry` names the inode for messages.
    pub(crate) fn add(
        &mut self,
        queue: &mut MetadataQueue,
        xattrs: &Xattrs,
        entry: impl Fn() -> String,
    ) -> Result<XattrIndex, Error> {
        if xattrs.is_empty() {
            return Ok(XattrIndex::NONE);
        }
        let fingerprint = fingerprint(xattrs);
        if let Some([index, _]) = self.find(&fingerprint) {
            self.dropped += unsupported(xattrs);
            return Ok(XattrIndex(index));
        }
        let index = self.add_set(queue, xattrs, entry)?;
        self.dropped += unsupported(xattrs);
        self.remember(fingerprint, [index.0, 0])?;
        Ok(index)
    }

    fn find(&self, fingerprint: &Fingerprint) -> Option<Where> {
        self.known.as_ref()?.get(fingerprint)
    }

    fn remember(&mut self, fingerprint: Fingerprint, found: Where) -> Result<(), Error> {
        match &mut self.known {
            Some(known) => known.insert(fingerprint, found),
            None => Ok(()),
        }
    }

    fn add_set(
        &mut self,
        queue: &mut MetadataQueue,
        xattrs: &Xattrs,
        entry: impl Fn() -> String,
    ) -> Result<XattrIndex, Error> {
        let dropped = unsupported(xattrs);
        if dropped > 0 {
            // The remaining attributes may be a known set.
            let mut rest = Xattrs::default();
            for (name, value) in xattrs
                .iter()
                .filter(|(name, _)| split_xattr_name(name).is_some())
            {
                rest.insert(name, value);
            }
            return self.add(queue, &rest, entry);
        }
        let limit = |what, value: usize, max: usize| Error::Limit {
            what,
            entry: entry(),
            value: value as u64,
            max: max as u64,
        };
        let place = queue.place(Table::Xattrs);
        let (mut size, mut listed) = (0, 0);
        for (name, value) in xattrs.iter() {
            if name.len() > NAME_MAX {
                return Err(limit("xattr name length", name.len(), NAME_MAX));
            }
            if value.len() > VALUE_MAX {
                return Err(limit("xattr value length", value.len(), VALUE_MAX));
            }
            listed += name.len() + 1;
            size += self.add_pair(queue, name, value)?;
        }
        if listed > LIST_MAX {
            return Err(limit("length of all xattr names", listed, LIST_MAX));
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
        self.sets.try_push(XattrId {
            xattr: u64::from(place.block) << 16 | u64::from(place.offset),
            count,
            size,
        })?;
        self.check_memory()?;
        Ok(index)
    }

    /// Stores a name and its value, and returns how many bytes that took.
    fn add_pair(
        &mut self,
        queue: &mut MetadataQueue,
        name: &[u8],
        value: &[u8],
    ) -> Result<usize, Error> {
        let Some((prefix, name)) = split_xattr_name(name) else {
            return Ok(0);
        };
        let fingerprint = (value.len() > INLINE_MAX)
            .then(|| Fingerprint::new(blake3::hash(value), Of::XattrValue));
        let known = fingerprint.and_then(|fingerprint| self.find(&fingerprint));
        let flag = known.map_or(0, |_| XattrType::OUT_OF_LINE);
        let entry = XattrEntry {
            xattr_type: XattrType(prefix | flag),
            size: u16::try_from(name.len()).unwrap_or(u16::MAX),
        };
        queue.write(Table::Xattrs, &entry.to_bytes(), &[])?;
        queue.write(Table::Xattrs, name, &[])?;
        if let (None, Some(fingerprint)) = (known, fingerprint) {
            let Place { block, offset } = queue.place(Table::Xattrs);
            self.remember(fingerprint, [block, offset.into()])?;
        }
        let len = known.map_or(value.len(), |_| INLINE_MAX);
        let header = XattrValue {
            vsize: u32::try_from(len).unwrap_or(u32::MAX),
        };
        queue.write(Table::Xattrs, &header.to_bytes(), &[])?;
        match known {
            // 16 bits of offset, and where the block is.
            Some([block, offset]) => {
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
    pub(crate) fn finish(self, queue: &mut MetadataQueue) -> Result<XattrTables, Error> {
        let values = queue.finish(Table::Xattrs);
        let sets = self.sets.iter_from(0).map(|set| {
            let xattr = values.resolve(place_of(set))?.0;
            Ok(XattrId { xattr, ..*set }.to_bytes())
        });
        Ok(XattrTables {
            sets: queue.entries("the table of xattr sets", self.effort, sets)?,
            values,
            count: u32::try_from(self.sets.len()).unwrap_or(u32::MAX),
            dropped: self.dropped,
            forgotten: self.forgotten + self.known.map_or(0, |known| known.forgotten()),
        })
    }
}

/// Returns the place of a set whose block has no position yet.
fn place_of(set: &XattrId) -> Place {
    Place {
        block: u32::try_from(set.xattr >> 16).unwrap_or(u32::MAX),
        offset: u16::try_from(set.xattr & 0xFFFF).unwrap_or(u16::MAX),
    }
}

/// Returns the hash of all names and values of a set.
fn fingerprint(xattrs: &Xattrs) -> Fingerprint {
    let mut hasher = blake3::Hasher::new();
    for part in xattrs.iter().flat_map(|(name, value)| [name, value]) {
        // Lengths tell where one ends and the next begins.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    Fingerprint::new(hasher.finalize(), Of::XattrSet)
}

fn unsupported(xattrs: &Xattrs) -> u64 {
    xattrs
        .iter()
        .filter(|(name, _)| split_xattr_name(name).is_none())
        .count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;
    use crate::compress::Compressor;
    use crate::pool::Pool;

    fn queue() -> MetadataQueue {
        let codecs = Compressor::None.resolve(131_072, None).unwrap();
        let pool = Pool::new(1, &codecs).unwrap();
        MetadataQueue::new(
            pool,
            Cancel::default(),
            usize::MAX,
            Effort::Compress,
            Effort::Compress,
        )
    }

    fn shares(known: usize, lists: usize) -> Shares {
        Shares {
            known,
            held: 0,
            lists,
            blocks: 1,
        }
    }

    fn set(pairs: &[(&str, &[u8])]) -> Xattrs {
        let mut xattrs = Xattrs::default();
        for &(name, value) in pairs {
            xattrs.insert(name.as_bytes(), value);
        }
        xattrs
    }

    #[test]
    fn equal_sets_share_an_index_after_dropping_unstorable_attributes() {
        let mut queue = queue();
        let mut writer = XattrWriter::new(&shares(1 << 20, 1 << 20), 0, Effort::Compress);
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
        let tables = writer.finish(&mut queue).unwrap();
        assert_eq!(tables.count, 2);
    }

    #[test]
    fn long_value_is_stored_once_and_short_one_every_time() {
        let mut queue = queue();
        let mut writer = XattrWriter::new(&shares(1 << 20, 1 << 20), 0, Effort::Compress);
        for pairs in [
            [("user.a", &b"12345678"[..]), ("user.b", b"123456789")],
            [("user.c", b"12345678"), ("user.d", b"123456789")],
        ] {
            writer.add(&mut queue, &set(&pairs), String::new).unwrap();
        }
        // entry 4 + name 1 + value header 4 + value; the last value is a reference of 8.
        let sizes: Vec<u32> = writer.sets.iter_from(0).map(|set| set.size).collect();
        assert_eq!(sizes, [2 * 9 + 8 + 9, 2 * 9 + 8 + 8]);
        let offset = writer.sets.get(1).map(|set| place_of(set).offset);
        assert_eq!(offset, Some(2 * 9 + 8 + 9));
    }

    #[test]
    fn sets_with_shifted_boundaries_are_distinguished() {
        let sets = [
            set(&[("user.ab", b"c")]),
            set(&[("user.a", b"bc")]),
            set(&[("user.a", b""), ("user.b", b"c")]),
            set(&[("user.a", b"c")]),
        ];
        for (n, one) in sets.iter().enumerate() {
            for (m, other) in sets.iter().enumerate() {
                assert_eq!(fingerprint(one) == fingerprint(other), n == m, "{n} {m}");
            }
        }
    }

    #[test]
    fn evicted_sets_are_stored_again_and_counted() {
        let sets: Vec<_> = (0..40u8)
            .map(|n| set(&[("user.n", &[n; 4]), ("user.long", &[n / 2; 100])]))
            .collect();
        let mut one = Pieces::new();
        let none = XattrId {
            xattr: 0,
            count: 0,
            size: 0,
        };
        one.try_push(none).unwrap();
        let piece = one.bytes();
        for (known, lists, taken, count, forgotten) in [
            (1 << 20, piece, 0, 40, 0),
            (0, piece, 0, 80, 160),
            // Lists of blocks have taken what would find equal sets.
            (1 << 20, 0, (1 << 20) - piece, 80, 1),
        ] {
            let mut queue = queue();
            let mut writer = XattrWriter::new(&shares(known, lists), taken, Effort::Store);
            for xattrs in sets.iter().chain(&sets) {
                writer.add(&mut queue, xattrs, String::new).unwrap();
            }
            queue.end(&[Table::Xattrs]).unwrap();
            let tables = writer.finish(&mut queue).unwrap();
            assert_eq!((tables.count, tables.forgotten), (count, forgotten));
        }
    }

    #[test]
    fn sets_beyond_the_budget_are_an_error() {
        let mut queue = queue();
        let mut writer = XattrWriter::new(&shares(1000, 20_000), 0, Effort::Store);
        let mut add = |n: u32| {
            let xattrs = set(&[("user.n", &n.to_le_bytes())]);
            writer.add(&mut queue, &xattrs, String::new).map(drop)
        };
        let error = (0..2000).find_map(|n| add(n).err());
        let Some(Error::Memory { needed, allowed }) = error else {
            panic!("{error:?}")
        };
        assert!(needed > allowed && allowed == 21_000);
    }

    #[test]
    fn xattrs_beyond_linux_limits_name_the_entry() {
        let mut queue = queue();
        let mut writer = XattrWriter::new(&shares(1 << 20, 1 << 20), 0, Effort::Compress);
        let name = format!("user.{}", "n".repeat(251));
        let value = vec![0; VALUE_MAX + 1];
        for xattrs in [set(&[(&name, b"")]), set(&[("user.v", &value)])] {
            let result = writer.add(&mut queue, &xattrs, || "/etc/x".into());
            assert!(matches!(result, Err(Error::Limit { entry, .. }) if entry == "/etc/x"));
        }
    }
}
