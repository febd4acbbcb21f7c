//! Re-reads an artifact and compares it with its record: the only way to find damage in the image data.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Advice, SeekFrom};
use rustix::io::Errno;

use super::readable::{self, Readable};
use super::record::{CHUNK, Record, RecordError, SUPERBLOCK};
use super::seeker::Seeker;
use super::verity::{Check, Part, Read};
use crate::tables::{Map, Owners};

/// Largest number of ranges that are reported separately.
const RANGES_MAX: usize = 1024;
/// Number of holes in place of data that are read, before the file system is believed.
const HOLES_READ: usize = 16;

/// A damaged range of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// From the first byte of the damaged chunk to the one past its last. The damage is somewhere in it. After 1023
    /// such chunks, one range covers all others.
    pub range: Range<u64>,
    /// The parts of the image that lie in the range: `data`, `inode table`, …. For damage after the image, `verity
    /// superblock` or `hash tree`.
    pub parts: Vec<&'static str>,
    /// The files whose contents lie in the range, according to the image's tables. If a table is among the damaged
    /// parts, these names may be wrong themselves.
    pub files: Owners,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.range;
        let (parts, files) = (self.parts.join(", "), &self.files);
        write!(f, "bytes {start} to {end}: {parts}: {files}")
    }
}

/// Drops what memory has of a file, as far as no process maps it, so that verifying reads the disk. Memory may still have
/// the bytes that were written (minio/minio 6143).
pub(crate) fn drop_cached(file: &File) {
    // Some file systems have no such memory.
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
}

/// Compares every chunk with its digest, and the hash tree of a sealed artifact with the data and its root. Chunks that
/// are holes of the file are not read. Bytes that cannot be read, although others can, are damaged.
pub(crate) fn verify(file: &File, record: &Record) -> Result<Vec<Damage>, RecordError> {
    let read = |buffer: &mut [u8], offset| file.read_exact_at(buffer, offset);
    let seeker = Seeker::new(file);
    let seek = |start| seeker.find(SeekFrom::Data(start));
    let found = verify_by(file, record, read, seek, readable::has_fs_verity(file));
    found.map_err(|error| RecordError::Io(error).of(file))
}

/// Verifies an artifact whose data and tree `read` reads, `seek` seeks in for data, and whose file has fs-verity if
/// `refuses`.
fn verify_by(
    file: &File,
    record: &Record,
    read: impl Read,
    seek: impl Seek,
    refuses: bool,
) -> io::Result<Vec<Damage>> {
    let readable = Readable::new(read, refuses);
    let mut sealed = record.verity.as_ref().and_then(|verity| {
        Check::new(verity, |buffer: &mut [u8], offset| {
            readable.read_tree(buffer, offset)
        })
    });
    let mut buffer = vec![0; CHUNK];
    let zeros = blake3::hash(&buffer);
    let mut ranges = Ranges::default();
    let (mut start, mut holes, mut real_holes) = (0, Holes::new(seek), 0);
    record.chunks(file, |expected| {
        let end = record.image_length.min(start + CHUNK as u64);
        let length = usize::try_from(end - start).map_err(io::Error::other)?;
        let chunk = buffer.get_mut(..length).unwrap_or_default();
        // fs-verity may refuse a hole as well.
        let is_called_hole = !refuses && length == CHUNK && holes.cover(&(start..end));
        // OpenZFS has called data holes (openzfs/zfs 15526). A file of holes alone must not have to be read.
        let is_hole = is_called_hole && (zeros == *expected || real_holes == HOLES_READ);
        let found = match is_hole {
            true => Some(zeros),
            false => (readable.read(chunk, start)?).then(|| blake3::hash(chunk)),
        };
        real_holes += usize::from(is_called_hole && !is_hole && found == Some(zeros));
        match (found == Some((*expected).into()), &mut sealed) {
            (false, _) => ranges.add(start..end),
            (true, Some(sealed)) if is_hole => sealed.zeros(length, start)?,
            (true, Some(sealed)) => sealed.data(chunk, start)?,
            (true, None) => {}
        }
        start = end;
        Ok(())
    })?;
    let tree = sealed.map_or(Ok(Vec::new()), of_tree)?;
    readable.settle()?;
    let mut damage = match ranges.0.is_empty() {
        true => Vec::new(),
        false => of_image(file, ranges.0)?,
    };
    damage.extend(tree);
    Ok(damage)
}

/// Damaged ranges, in order of their offsets.
#[derive(Default)]
struct Ranges(Vec<Range<u64>>);

impl Ranges {
    fn add(&mut self, range: Range<u64>) {
        let full = self.0.len() == RANGES_MAX;
        match self.0.last_mut() {
            Some(last) if full => last.end = last.end.max(range.end),
            _ => self.0.push(range),
        }
    }
}

/// Returns the damage of the hash tree and its superblock. If more than 1024 ranges are found, the 1024th is extended
/// to cover the later ones.
fn of_tree<R: Read>(sealed: Check<'_, R>) -> io::Result<Vec<Damage>> {
    let (mut superblock, mut tree) = (Ranges::default(), Ranges::default());
    sealed.tree(|part, range| {
        match part {
            Part::Superblock => superblock.add(range),
            Part::Tree => tree.add(range),
        }
        Ok(())
    })?;
    // Adjacent blocks become one range.
    tree.0.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in tree.0 {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    let named = |part: Part| {
        move |range| Damage {
            range,
            parts: vec![part.name()],
            files: Owners::none(),
        }
    };
    let superblock = superblock.0.into_iter().map(named(Part::Superblock));
    let tree = merged.into_iter().map(named(Part::Tree));
    Ok(superblock.chain(tree).collect())
}

fn of_image(file: &File, ranges: Vec<Range<u64>>) -> io::Result<Vec<Damage>> {
    let mut superblock = [0; SUPERBLOCK];
    file.read_exact_at(&mut superblock, 0)?;
    let map = Map::of(&superblock);
    let files = Owners::find(file, &ranges);
    Ok(ranges
        .into_iter()
        .zip(files)
        .map(|(range, files)| Damage {
            parts: map.parts_in(&range),
            files,
            range,
        })
        .collect())
}

/// Seeks for the first data at or after an offset.
trait Seek: Fn(u64) -> Result<u64, Errno> {}

impl<T: Fn(u64) -> Result<u64, Errno>> Seek for T {}

/// Where a file has data, queried in order of offsets.
struct Holes<S> {
    seek: S,
    /// No data lies between the offset of the last query and this one.
    data: u64,
}

impl<S: Seek> Holes<S> {
    fn new(seek: S) -> Self {
        Self { seek, data: 0 }
    }

    /// Returns whether all of a range is a hole, as far as the file system reports it.
    fn cover(&mut self, range: &Range<u64>) -> bool {
        if self.data <= range.start {
            self.data = match (self.seek)(range.start) {
                Ok(data) => data,
                // No data follows.
                Err(Errno::NXIO) => u64::MAX,
                Err(_) => range.start,
            };
        }
        self.data >= range.end
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use ociget::Digest;

    use super::super::key::Key;

    use super::*;
    use crate::artifact::verity::BLOCK;
    use crate::artifact::{ArtifactWriter, Digests, ImageOptions};
    use crate::staging::{StagedFile, Staging};

    const CHUNK_LENGTH: u64 = CHUNK as u64;

    /// Returns an artifact that is a hole of that many chunks, and its record. Its digests are those of zeros except
    /// where `bad` selects otherwise.
    fn sparse(chunks: u64, bad: impl Fn(u64) -> bool) -> (File, Record) {
        let zeros = *blake3::hash(&vec![0; CHUNK]).as_bytes();
        let digest = |chunk| if bad(chunk) { [1; 32] } else { zeros };
        let digests: Vec<_> = (0..chunks).map(digest).collect();
        let image = Digest::of(b"image");
        let key = Key::new(
            image.clone(),
            image,
            "linux/amd64".into(),
            Digests::default(),
            &ImageOptions::default(),
        );
        let length = chunks * CHUNK_LENGTH;
        let record = Record::new(key, length, &[0; SUPERBLOCK], &digests);
        let file = tempfile::tempfile().unwrap();
        file.set_len(length).unwrap();
        file.write_all_at(&record.encode(&digests).unwrap(), length)
            .unwrap();
        assert_eq!(Record::read(&file).unwrap(), record);
        (file, record)
    }

    #[test]
    fn holes_are_compared_without_being_read() {
        // A TiB, which would take minutes to read.
        let bad = 500_000;
        let (file, record) = sparse(1 << 20, |chunk| chunk == bad);
        let damage = verify(&file, &record).unwrap();
        let range = bad * CHUNK_LENGTH..(bad + 1) * CHUNK_LENGTH;
        assert_eq!(damage.len(), 1);
        assert_eq!(damage[0].range, range);
        assert!(!damage[0].files.complete);
    }

    #[test]
    fn data_between_holes_is_read() {
        let (file, record) = sparse(16, |_| false);
        assert_eq!(verify(&file, &record).unwrap(), []);
        for at in [0, CHUNK_LENGTH - 1, 7 * CHUNK_LENGTH, 16 * CHUNK_LENGTH - 1] {
            file.write_all_at(&[1], at).unwrap();
            let damage = verify(&file, &record).unwrap();
            let start = at / CHUNK_LENGTH * CHUNK_LENGTH;
            assert_eq!(damage.len(), 1, "{at}");
            assert_eq!(damage[0].range, start..start + CHUNK_LENGTH);
            // Zeros that were written equal a hole.
            file.write_all_at(&[0], at).unwrap();
            assert_eq!(verify(&file, &record).unwrap(), []);
        }
    }

    #[test]
    fn position_of_the_handle_stays() {
        for (file, record) in [sealed(), sparse(16, |_| false), sparse(16, |_| true)] {
            (&file).seek(io::SeekFrom::Start(17)).unwrap();
            verify(&file, &record).unwrap();
            assert_eq!((&file).stream_position().unwrap(), 17);
        }
    }

    #[test]
    fn damage_everywhere_is_reported_in_bounded_ranges() {
        let (file, record) = sparse(5000, |chunk| chunk % 2 == 1);
        let damage = verify(&file, &record).unwrap();
        assert_eq!(damage.len(), RANGES_MAX);
        assert_eq!(damage[0].range, CHUNK_LENGTH..2 * CHUNK_LENGTH);
        let last = damage[RANGES_MAX - 1].range.clone();
        assert_eq!(last, 2047 * CHUNK_LENGTH..5000 * CHUNK_LENGTH);
        let (file, record) = sparse(2048, |chunk| chunk % 2 == 1);
        let damage = verify(&file, &record).unwrap();
        assert_eq!(damage.len(), RANGES_MAX);
        let last = damage[RANGES_MAX - 1].range.clone();
        assert_eq!(last, 2047 * CHUNK_LENGTH..2048 * CHUNK_LENGTH);
    }

    /// Returns a sealed artifact of 65 chunks and one block, so that its tree has two levels and several leaves.
    fn sealed() -> (File, Record) {
        let directory = tempfile::tempdir().unwrap();
        let image = Digest::of(b"image");
        let options = ImageOptions {
            verity: true,
            ..ImageOptions::default()
        };
        let (platform, digests) = ("linux/amd64".into(), Digests::default());
        let key = Key::new(image.clone(), image, platform, digests, &options);
        let staged = StagedFile::create(directory.path(), Staging::outside(0)).unwrap();
        let mut writer = ArtifactWriter::new(staged, key).unwrap();
        for chunk in 0..65 {
            let length = if chunk == 0 {
                CHUNK - SUPERBLOCK
            } else {
                CHUNK
            };
            writer.write_all(&vec![chunk; length]).unwrap();
        }
        writer.write_all(&[7; BLOCK]).unwrap();
        let sealed = writer.seal([0xAB; SUPERBLOCK]).unwrap();
        sealed.into_staged().publish("a".as_ref()).unwrap();
        let file = File::open(directory.path().join("a")).unwrap();
        let record = Record::read(&file).unwrap();
        (file, record)
    }

    /// Seeks in a file without holes.
    fn all_data(start: u64) -> Result<u64, Errno> {
        Ok(start)
    }

    /// OpenZFS 2.2 (openzfs/zfs 15526) and 2.0 (11900), and zeros where ENXIO belongs (12477).
    #[test]
    fn data_that_the_file_system_calls_holes_is_read() {
        let (file, record) = sealed();
        let read = |buffer: &mut [u8], offset| file.read_exact_at(buffer, offset);
        for wrong in [Ok(u64::MAX), Err(Errno::NXIO), Ok(0), Err(Errno::INVAL)] {
            let damage = verify_by(&file, &record, read, |_| wrong, false).unwrap();
            assert_eq!(damage, [], "{wrong:?}");
        }
        // Not every hole of a file without data is read.
        let (file, record) = sparse(1 << 20, |_| true);
        let damage = verify(&file, &record).unwrap();
        assert_eq!(damage.len(), RANGES_MAX);
    }

    /// Reads a file of which one page is unreadable.
    fn without_page(file: &File, at: u64) -> impl Read {
        let page = BLOCK as u64;
        move |buffer: &mut [u8], offset: u64| {
            let pages = offset / page..(offset + buffer.len() as u64).div_ceil(page);
            match pages.contains(&(at / page)) {
                true => Err(Errno::IO.into()),
                false => file.read_exact_at(buffer, offset),
            }
        }
    }

    #[test]
    fn unreadable_bytes_are_damaged_and_named() {
        let (file, record) = sealed();
        let block = BLOCK as u64;
        let after = record.image_length;
        let leaf = after + 2 * block;
        let chunk = |number| number * CHUNK_LENGTH..(number + 1) * CHUNK_LENGTH;
        let page = |start| start..start + block;
        for (at, damaged, part) in [
            (0, chunk(0), "superblock"),
            (5 * CHUNK_LENGTH + 1, chunk(5), "data"),
            (after - 1, page(after - block), "data"),
            (after, page(after), "verity superblock"),
            (after + block, page(after + block), "hash tree"),
            (leaf + 3 * block + 1, page(leaf + 3 * block), "hash tree"),
        ] {
            for has_fs_verity in [true, false] {
                let found = verify_by(
                    &file,
                    &record,
                    without_page(&file, at),
                    all_data,
                    has_fs_verity,
                );
                // The top of the tree is read last, so that the disk may be gone.
                if at == after + block && !has_fs_verity {
                    assert!(found.is_err());
                    continue;
                }
                let found = found.unwrap();
                let [one] = &found[..] else {
                    panic!("{at}: {found:?}");
                };
                assert_eq!(one.range, damaged);
                assert!(one.parts.contains(&part), "{at}: {one:?}");
            }
        }
    }

    #[test]
    fn disk_that_fails_once_says_nothing_about_the_bytes() {
        let (file, record) = sealed();
        let calls = std::cell::Cell::new(0);
        let hiccup = |buffer: &mut [u8], offset| match calls.replace(calls.get() + 1) {
            3 => Err(Errno::IO.into()),
            _ => file.read_exact_at(buffer, offset),
        };
        assert_eq!(
            verify_by(&file, &record, hiccup, all_data, false).unwrap(),
            []
        );
        let errno = |read: &dyn Fn(&mut [u8], u64) -> io::Result<()>, has_fs_verity| {
            let read = |buffer: &mut [u8], offset| read(buffer, offset);
            let error = verify_by(&file, &record, read, all_data, has_fs_verity).unwrap_err();
            Errno::from_io_error(&error)
        };
        // From here on it answers no more.
        let gone = |buffer: &mut [u8], offset| match offset {
            0..CHUNK_LENGTH => file.read_exact_at(buffer, offset),
            _ => Err(Errno::IO.into()),
        };
        assert_eq!(errno(&gone, false), Some(Errno::IO));
        // These are no errors of a disk.
        for has_fs_verity in [true, false] {
            let short = |_: &mut [u8], _| Err(Errno::NOMEM.into());
            assert_eq!(errno(&short, has_fs_verity), Some(Errno::NOMEM));
        }
    }
}
