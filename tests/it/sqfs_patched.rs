//! One field patched, and the image no longer mounts, or can no longer be read as it was. Without
//! that, nothing that a reader accepts would say anything.

use std::fs;

use sqfs_writer::{Compressor, Metadata};
use test_support::Result;
use test_support::oracle::{Mount, may_be_root};
use tree_listing::Listing;

use crate::sqfs_fixture::{Fixture, noise, options, text};

/// Where a field is, its length, and what goes there.
type Patch = (&'static str, usize, &'static [u8]);

/// In the superblock.
const PATCHES: &[Patch] = &[
    ("magic", 0, b"sqsh"),
    ("block_size, without block_log", 12, &8192u32.to_le_bytes()),
    ("fragments", 16, &5000u32.to_le_bytes()),
    ("compression 0", 20, &0u16.to_le_bytes()),
    ("compression of another codec", 20, &1u16.to_le_bytes()),
    ("block_log, without block_size", 22, &13u16.to_le_bytes()),
    ("no_ids is zero", 26, &0u16.to_le_bytes()),
    ("s_major", 28, &3u16.to_le_bytes()),
    ("root_inode", 32, &7u64.to_le_bytes()),
    (
        "bytes_used beyond the device",
        40,
        &(1u64 << 40).to_le_bytes(),
    ),
    ("id_table_start", 48, &96u64.to_le_bytes()),
    ("xattr_id_table_start", 56, &96u64.to_le_bytes()),
    ("inode_table_start", 64, &97u64.to_le_bytes()),
    ("directory_table_start", 72, &97u64.to_le_bytes()),
    ("fragment_table_start", 80, &96u64.to_le_bytes()),
    ("lookup_table_start", 88, &96u64.to_le_bytes()),
];

fn readable(bytes: &[u8]) -> Result<Option<Listing>> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), bytes)?;
    let Ok(Some(mount)) = Mount::squashfs(file.path()) else {
        return Ok(None);
    };
    Ok(Listing::walk(mount.root()).ok())
}

#[test]
fn each_field_of_the_superblock_matters() -> Result<()> {
    if !may_be_root("mounting what was patched") {
        return Ok(());
    }
    let mut fixture = Fixture::new(&options(4096, Compressor::default(), 1));
    let rich = Metadata::new(0o644).with_xattr(*b"user.name", *b"value");
    fixture.file("/blocks", rich, &text(20_000, 1));
    fixture.file("/noise", Metadata::new(0o644), &noise(9000, 1));
    let bytes = fs::read(fixture.finish().path())?;
    let good = readable(&bytes)?.expect("what was not patched can be read");
    for (what, at, value) in PATCHES {
        let mut patched = bytes.clone();
        patched[*at..*at + value.len()].copy_from_slice(value);
        assert_ne!(patched, bytes, "{what} is no patch");
        assert_ne!(readable(&patched)?.as_ref(), Some(&good), "{what}");
    }
    // Behind the superblock: codec options (6 bytes), then the first block of the first file.
    for (what, at) in [("first byte of a frame", 102), ("inside of a frame", 140)] {
        let mut patched = bytes.clone();
        patched[at] ^= 0x55;
        assert_ne!(readable(&patched)?.as_ref(), Some(&good), "{what}");
    }
    // Padding to 512 bytes only, on a device of whole sectors.
    let used = u64::from_le_bytes(bytes[40..48].try_into().expect("eight bytes"));
    let used = usize::try_from(used).expect("a small image");
    assert_eq!(readable(&bytes[..used / 512 * 512])?, None, "cut short");
    Ok(())
}
