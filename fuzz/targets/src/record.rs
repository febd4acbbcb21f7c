//! Hostile artifacts, as `list`, `inspect`, `verify` and `attest` read them: nothing panics, what is believed adds up, and no file
//! takes more memory than its record.
//!
//! The first byte says what is set right before the file is read, so that mutations get past the checksums, and how large a
//! hole stands in front of the record; the rest is the file.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use hpcc_rootfs::{CHUNK, attest, read_record, verify_file};

/// Of the end of the file: magic 8, version 4, length of the facts 4, length of the image 8, length of the hash
/// tree 8, checksum 32.
const FOOTER: usize = 64;
const CHECKSUM: usize = 32;
const SECTOR: u64 = 4096;
/// What is read whole and not only by its record.
const SMALL: u64 = 4 << 20;

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    let Some((&how, bytes)) = input.split_first() else {
        return;
    };
    let mut bytes = bytes.to_vec();
    let length = image_length(&bytes);
    let hole = match how & 4 {
        0 => 0,
        _ => SECTOR << (how >> 3),
    };
    if how & 1 != 0 {
        repair(&mut bytes, how & 2 != 0, hole);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    write(file.as_file(), &bytes, length, hole);

    let record = read_record(file.path());
    if let Ok(record) = &record {
        assert_eq!(record.image_length % SECTOR, 0);
        assert_eq!(record.root().len(), 64);
    }
    if file.as_file().metadata().unwrap().len() <= SMALL {
        // It reads the tables and a file of an image that is what its record says.
        let attested = attest(&File::open(file.path()).unwrap());
        let damage = verify_file(file.path());
        assert!(attested.is_err() || damage.as_ref().is_ok_and(Vec::is_empty));
        assert_eq!(damage.is_ok(), record.is_ok(), "{damage:?} {record:?}");
        for damage in damage.unwrap_or_default() {
            assert!(damage.range.start < damage.range.end);
            let record = record.as_ref().unwrap();
            let end = record.image_length + record.tree_length();
            assert!(damage.range.end <= end);
        }
    }
}

/// Where the footer says that the image ends, if that is in the file.
fn image_length(bytes: &[u8]) -> Option<usize> {
    let footer = bytes.last_chunk::<FOOTER>()?;
    let length = u64::from_le_bytes(*footer[16..].first_chunk()?);
    let length = usize::try_from(length).ok()?;
    (length <= bytes.len() - FOOTER).then_some(length)
}

/// Where the footer says that the record begins, after a hash tree if there is one; at least `length`.
fn record_offset(bytes: &[u8], length: usize) -> usize {
    let tree = bytes.last_chunk::<FOOTER>().and_then(|footer| {
        let tree = u64::from_le_bytes(*footer[24..].first_chunk()?);
        usize::try_from(tree).ok()
    });
    let offset = tree.and_then(|tree| length.checked_add(tree));
    let offset = offset.filter(|offset| *offset <= bytes.len() - FOOTER);
    offset.unwrap_or(length)
}

/// Sets the checksum right, and `digests` of image and superblock as well.
fn repair(bytes: &mut [u8], digests: bool, hole: u64) {
    let Some(length) = image_length(bytes) else {
        return;
    };
    let offset = record_offset(bytes, length);
    let (image, record) = bytes.split_at_mut(offset);
    let image = &image[..length];
    if digests {
        let chunks = image.len().div_ceil(CHUNK) * 32;
        let root = record.get(..chunks).map(blake3::hash);
        let superblock = image.get(..96).map(blake3::hash);
        for (name, hash) in [("root", root), ("superblock", superblock)] {
            if let Some(hash) = hash {
                replace(record, &format!("\"{name}\":\""), hash.to_hex().as_bytes());
            }
        }
    }
    let end = record.len() - CHECKSUM;
    if hole > 0 {
        let longer = (length as u64 + hole).to_le_bytes();
        record[end - 16..end - 8].copy_from_slice(&longer);
    }
    let checksum = blake3::hash(&record[..end]);
    record[end..].copy_from_slice(checksum.as_bytes());
}

/// Puts `value` behind the first `key`.
fn replace(record: &mut [u8], key: &str, value: &[u8]) {
    let found = record
        .windows(key.len())
        .position(|window| window == key.as_bytes());
    if let Some(at) = found
        && let Some(place) = record.get_mut(at + key.len()..at + key.len() + value.len())
    {
        place.copy_from_slice(value);
    }
}

fn write(mut file: &File, bytes: &[u8], length: Option<usize>, hole: u64) {
    let (image, record) = bytes.split_at(length.unwrap_or(0));
    file.write_all(image).unwrap();
    file.write_all_at(record, image.len() as u64 + hole)
        .unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds;

    #[test]
    fn the_first_seed_is_believed_and_sound() {
        let seeds = seeds::record();
        let sealed = seeds.iter().position(|seed| is_sealed(seed)).unwrap();
        for seed in [&seeds[0], &seeds[sealed]] {
            let (_, bytes) = seed.split_first().unwrap();
            let file = tempfile::NamedTempFile::new().unwrap();
            write(file.as_file(), bytes, None, 0);
            read_record(file.path()).unwrap();
            assert_eq!(verify_file(file.path()).unwrap(), []);
            check(seed);
        }
    }

    fn is_sealed(seed: &[u8]) -> bool {
        let footer = seed.last_chunk::<FOOTER>().unwrap();
        footer[24..32] != [0; 8]
    }

    #[test]
    fn a_changed_image_is_believed_again_once_repaired() {
        let mut bytes = seeds::record()[0][1..].to_vec();
        bytes[0] ^= 1;
        let read = |bytes: &[u8]| {
            let file = tempfile::NamedTempFile::new().unwrap();
            write(file.as_file(), bytes, None, 0);
            read_record(file.path()).map(|_| ())
        };
        read(&bytes).unwrap_err();
        // The chunk's own digest is what `verify` compares; the record need not know the image.
        repair(&mut bytes, true, 0);
        read(&bytes).unwrap();
    }
}
