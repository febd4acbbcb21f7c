//! Images of more than 4 GiB: places that don't fit 32 bits, in inodes, fragments and tables.
//!
//! The data is stored as it is, and nearly all of it is zeros that no block consists of entirely: so
//! the file that holds the image can have holes, and takes a hundredth of the space.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sqfs_writer::{Compressor, ImageWriter, Metadata};
use test_support::Result;
use test_support::oracle::{Mount, unsquashfs};

use crate::sqfs_fixture::{noise, options};

const BLOCK: usize = 1 << 20;
const BLOCKS: u64 = 4097;

/// A file that gets holes where zeros are written: pages of them, seen from its start.
struct Sparse(File);

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        const PAGE: usize = 4096;
        const ZEROS: [u8; PAGE] = [0; PAGE];
        let offset = usize::try_from(self.0.stream_position()? % PAGE as u64).unwrap();
        let (head, rest) = bytes.split_at((PAGE - offset).min(bytes.len()));
        self.0.write_all(head)?;
        let mut hole = 0;
        for page in rest.chunks(PAGE) {
            if page == &ZEROS[..page.len()] {
                hole += i64::try_from(page.len()).unwrap();
                continue;
            }
            self.0.seek(SeekFrom::Current(std::mem::take(&mut hole)))?;
            self.0.write_all(page)?;
        }
        self.0.seek(SeekFrom::Current(hole))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // What ends in a hole ends there.
        let end = self.0.stream_position()?;
        if self.0.metadata()?.len() < end {
            self.0.set_len(end)?;
        }
        self.0.flush()
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

/// Block `n` of the large file: its number, in front of zeros.
fn mark(n: u64) -> [u8; 8] {
    (n + 1).to_le_bytes()
}

#[test]
fn data_after_4_gib_is_read_by_kernel_and_unsquashfs() -> Result<()> {
    // In memory where that is possible: four thousand scattered pages are slow to read from a disk.
    let memory = Path::new("/dev/shm");
    let directory = match memory.is_dir() {
        true => tempfile::tempdir_in(memory)?,
        false => tempfile::tempdir()?,
    };
    let path = directory.path().join("large.sqsh");
    let mut options = options(1 << 20, Compressor::None, 2);
    // Hashing 4 GiB would take longer than all else.
    options.duplicates = false;
    let mut image = ImageWriter::new(Sparse(File::create(&path)?), &options).unwrap();
    let before = noise(10_000, 1);
    image
        .file("/before", Metadata::new(0o644), &before[..])
        .unwrap();
    let mut body = image.data().begin();
    let mut block = vec![0; BLOCK];
    for n in 0..BLOCKS {
        block[..8].copy_from_slice(&mark(n));
        body.write_all(&block)?;
    }
    body.write_all(b"the tail")?;
    let large = body.finish().unwrap();
    assert!(large.len() > u64::from(u32::MAX));
    image
        .insert(
            "/large",
            Metadata::new(0o644),
            sqfs_writer::Kind::File(large),
        )
        .unwrap();
    // A file whose blocks begin behind 4 GiB, and tails in a fragment that does.
    let behind = [noise(BLOCK, 2), noise(5000, 3)].concat();
    image
        .file("/behind", Metadata::new(0o644), &behind[..])
        .unwrap();
    let (_, summary) = image.finish().unwrap();
    assert!(summary.image_bytes > u64::from(u32::MAX));
    let file = fs::metadata(&path)?;
    assert_eq!(file.len(), summary.image_bytes);
    assert!(file.blocks() * 512 < 100 << 20, "{}", file.blocks());

    let zeros = vec![0; BLOCK];
    if let Some(mount) = Mount::squashfs(&path)? {
        assert_eq!(fs::read(mount.root().join("before"))?, before);
        assert_eq!(fs::read(mount.root().join("behind"))?, behind);
        let mut large = File::open(mount.root().join("large"))?;
        assert_eq!(large.metadata()?.len(), BLOCKS * BLOCK as u64 + 8);
        // To find a block the driver adds up the lengths of all before it: a few are enough, and the
        // last ones, which begin behind 4 GiB.
        for n in (0..BLOCKS).filter(|n| n % 61 == 0 || *n > BLOCKS - 9) {
            large.seek(SeekFrom::Start(n * BLOCK as u64))?;
            large.read_exact(&mut block)?;
            assert_eq!(block[..8], mark(n));
            assert!(block[8..] == zeros[8..], "{n}");
        }
        large.seek(SeekFrom::Start(BLOCKS * BLOCK as u64))?;
        let mut tail = Vec::new();
        large.read_to_end(&mut tail)?;
        assert_eq!(tail, b"the tail");
    }
    for (name, content) in [("before", &before), ("behind", &behind)] {
        assert!(unsquashfs::cat(&path, name)? == *content, "{name}");
    }
    Ok(())
}
