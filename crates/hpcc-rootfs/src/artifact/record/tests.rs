//! Which records are believed, and which are not.

use std::io::{Seek as _, Write as _};

use ociget::Digest;

use super::super::verity::{Salt, Spill, Spills, TreeBuilder, Uuid};
use super::*;
use crate::artifact::{Digests, ImageOptions, Injected};

const LENGTH: u64 = 3 << 20 | 4096;
const CHUNKS: [[u8; 32]; 4] = [[1; 32], [2; 32], [3; 32], [4; 32]];

fn key(injected: usize) -> Key {
    key_for("linux/amd64".into(), injected)
}

fn key_for(platform: String, injected: usize) -> Key {
    let injected = (0..injected).map(|n| Injected {
        path: format!("secrets/token {n}"),
        digest: Digest::of(b"token"),
        mode: 0o400,
    });
    Key::new(
        Digest::of(b"index"),
        Digest::of(b"manifest"),
        platform,
        Digests {
            agent: Some(Digest::of(b"agent")),
            injected: injected.collect(),
        },
        &ImageOptions::default(),
    )
}

fn record() -> Record {
    Record::new(key(1), LENGTH, &[7; SUPERBLOCK], &CHUNKS)
}

fn file(image_length: u64, record: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![7; usize::try_from(image_length).unwrap()])
        .unwrap();
    file.write_all(record).unwrap();
    file
}

/// Returns a record with another footer or other facts, and with the checksum that they need.
fn forge(record: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = record.to_vec();
    change(&mut bytes);
    bytes.truncate(bytes.len() - CHECKSUM);
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

fn refusal(file: &File) -> String {
    Record::read(file).unwrap_err().to_string()
}

#[test]
fn record_reads_back_and_the_file_ends_on_a_sector() {
    for (length, chunks) in [(LENGTH, 4), (4096, 1), (1 << 20, 1), ((1 << 20) + 4096, 2)] {
        let chunks = &CHUNKS[..chunks];
        let record = Record::new(key(1), length, &[7; SUPERBLOCK], chunks);
        let file = file(record.image_length, &record.encode(chunks).unwrap());
        assert_eq!(file.metadata().unwrap().len() % SECTOR, 0);
        assert_eq!(Record::read(&file).unwrap(), record);
        let root = blake3::hash(chunks.as_flattened()).to_hex();
        assert_eq!(record.root(), root.to_string());
        let mut found = Vec::new();
        let read = record.chunks(&file, |digest| {
            found.push(*digest);
            Ok(())
        });
        read.unwrap();
        assert_eq!(found, chunks);
    }
}

#[test]
fn largest_key_without_excess_fits_into_every_record() {
    let mut key = key(600);
    while Record::excess(&key) > 0 {
        key.injected.pop();
    }
    let longest: Digest = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
    key.identity = longest.clone();
    key.manifest = longest;
    let record = Record { key, ..sealed().0 };
    assert!(record.encode(&CHUNKS).is_ok());
}

#[test]
fn records_of_every_length_end_on_a_sector() {
    // The facts grow by about 60 bytes per file, so that footers lie on both sides of sector boundaries.
    let mut lengths = std::collections::BTreeSet::new();
    for injected in 0..150 {
        let record = Record::new(key(injected), LENGTH, &[7; SUPERBLOCK], &CHUNKS);
        let bytes = record.encode(&CHUNKS).unwrap();
        lengths.insert(bytes.len());
        assert_eq!(Record::read(&file(LENGTH, &bytes)).unwrap(), record);
    }
    assert!(lengths.len() > 3, "{lengths:?}");
    assert!(lengths.iter().all(|length| length % 4096 == 0));
}

/// Returns a record whose facts are `more` bytes longer than the shortest ones.
fn lengthened(more: usize) -> Record {
    let key = key_for("p".repeat(more), 0);
    Record::new(key, SECTOR, &[7; SUPERBLOCK], &CHUNKS[..1])
}

fn facts_length(record: &[u8]) -> usize {
    let field = record[record.len() - 52..].first_chunk().unwrap();
    usize::try_from(u32::from_le_bytes(*field)).unwrap()
}

// If the footer is not counted, facts that end less than a footer's length before a sector's end leave no space for it.
#[test]
fn facts_that_end_anywhere_in_a_sector_are_read() {
    for more in (0..4200).step_by(50) {
        let record = lengthened(more);
        let bytes = record.encode(&CHUNKS[..1]).unwrap();
        assert_eq!(bytes.len() % 4096, 0, "{more}");
        let file = file(SECTOR, &bytes);
        assert_eq!(Record::read(&file).unwrap(), record, "{more}");
    }
}

#[test]
fn facts_of_the_most_bytes_are_written() {
    let shortest = facts_length(&lengthened(0).encode(&CHUNKS[..1]).unwrap());
    let most = lengthened(FACTS_MAX - shortest);
    let bytes = most.encode(&CHUNKS[..1]).unwrap();
    assert_eq!(facts_length(&bytes), FACTS_MAX);
    assert_eq!(Record::read(&file(SECTOR, &bytes)).unwrap(), most);
    let longer = lengthened(FACTS_MAX - shortest + 1);
    assert!(longer.encode(&CHUNKS[..1]).is_err());
}

#[test]
fn a_record_is_that_of_one_image() {
    assert_eq!(record().of(&Digest::of(b"index")).unwrap(), record());
    let error = record().of(&Digest::of(b"manifest")).unwrap_err();
    assert!(error.to_string().contains("another image"), "{error}");
}

#[test]
fn no_record_is_written_that_would_not_be_read() {
    let record = Record::new(key(2000), LENGTH, &[7; SUPERBLOCK], &CHUNKS);
    let error = record.encode(&CHUNKS).unwrap_err().to_string();
    assert!(error.contains("65536 is the most"), "{error}");
    let most = |length| Record::new(key(1), length, &[7; SUPERBLOCK], &[]).encode(&[]);
    assert!(most(IMAGE_MAX + 4096).is_err());
    assert!(most(LENGTH + 1).is_err());
}

#[test]
fn the_longest_facts_are_read_and_longer_ones_are_not() {
    let record = record();
    let padded = |length: usize| {
        // Blanks are part of the JSON, and of its length.
        let mut facts = record.encode(&CHUNKS).unwrap()[128..].to_vec();
        let end = facts.iter().rposition(|byte| *byte == b'}').unwrap() + 1;
        facts.truncate(end);
        facts.resize(length, b' ');
        let mut bytes = CHUNKS.as_flattened().to_vec();
        bytes.extend(facts);
        bytes.resize((bytes.len() + FOOTER).next_multiple_of(4096) - FOOTER, 0);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&PLAIN.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
        bytes.extend_from_slice(&LENGTH.to_le_bytes());
        bytes.extend_from_slice(&[0; 8 + CHECKSUM]);
        file(LENGTH, &forge(&bytes, |_| ()))
    };
    assert_eq!(Record::read(&padded(FACTS_MAX)).unwrap(), record);
    let error = refusal(&padded(FACTS_MAX + 1));
    assert!(error.ends_with("its facts are too long"), "{error}");
}

#[test]
fn no_changed_byte_is_believed() {
    let record = record();
    let good = record.encode(&CHUNKS).unwrap();
    let file = file(record.image_length, &good);
    for (at, byte) in (record.image_length..).zip(&good) {
        file.write_all_at(&[byte ^ 1], at).unwrap();
        assert!(Record::read(&file).is_err(), "byte {at}");
        file.write_all_at(&[*byte], at).unwrap();
    }
    assert_eq!(Record::read(&file).unwrap(), record);
    file.write_all_at(&[8], 95).unwrap();
    assert!(refusal(&file).contains("superblock"));
}

#[test]
fn a_file_of_another_length_is_not_believed() {
    let record = record();
    let bytes = record.encode(&CHUNKS).unwrap();
    for image_length in [
        0,
        4096,
        record.image_length - 4096,
        record.image_length + 4096,
    ] {
        let error = refusal(&file(image_length, &bytes));
        assert!(
            error.contains("its length is not"),
            "{image_length}: {error}"
        );
    }
    let shorter = &bytes[..bytes.len() - 4096];
    assert!(Record::read(&file(record.image_length, shorter)).is_err());
    assert!(Record::read(&file(0, b"")).is_err());
    assert!(Record::read(&file(SECTOR, b"")).is_err());
    // One sector more in the middle, with everything else unchanged.
    let longer = forge(&bytes, |bytes| {
        let at = bytes.len() - FOOTER;
        bytes.splice(at..at, [0; 4096]);
    });
    assert!(refusal(&file(LENGTH, &longer)).contains("its length is not"));
}

#[test]
fn forged_footer_is_refused_before_anything_is_read_by_it() {
    let good = record().encode(&CHUNKS).unwrap();
    let image_length = |length: u64| {
        forge(&good, |bytes| {
            let at = bytes.len() - 48;
            bytes[at..at + 8].copy_from_slice(&length.to_le_bytes());
        })
    };
    for length in [
        0,
        1,
        LENGTH - 1,
        LENGTH + 1,
        LENGTH + 4096,
        1 << 44,
        u64::MAX,
        u64::MAX - 4095,
    ] {
        let error = refusal(&file(LENGTH, &image_length(length)));
        assert!(error.contains("its length is not"), "{length}: {error}");
    }
    assert!(Record::read(&file(LENGTH, &image_length(LENGTH))).is_ok());
    // A sparse file that is as long as its footer says, with a record of 32 and of 256 MiB.
    for image_length in [1_u64 << 40, 1 << 43] {
        let lying = file(0, b"");
        let mut footer = good[good.len() - FOOTER..].to_vec();
        footer[16..24].copy_from_slice(&image_length.to_le_bytes());
        let facts = u64::from(u32::from_le_bytes(*footer[12..].first_chunk().unwrap()));
        let record = (chunks_length(image_length) + facts + 64).next_multiple_of(4096);
        let end = image_length + record;
        lying.set_len(end).unwrap();
        lying.write_all_at(&footer, end - FOOTER as u64).unwrap();
        let error = refusal(&lying);
        assert!(error.ends_with("the file has a hole in it"), "{error}");
    }
}

#[test]
fn digests_that_contradict_the_facts_are_refused() {
    let bytes = record().encode(&CHUNKS).unwrap();
    let forged = forge(&bytes, |bytes| bytes[0] ^= 1);
    assert!(refusal(&file(LENGTH, &forged)).contains("contradict"));
    let other_size = forge(&bytes, |bytes| {
        let text = b"1048576";
        let at = bytes.windows(7).position(|found| found == text).unwrap();
        bytes[at] = b'2';
    });
    assert!(refusal(&file(LENGTH, &other_size)).contains("contradict"));
}

#[test]
fn digests_that_change_while_they_are_used_are_an_error() {
    let record = record();
    let file = file(LENGTH, &record.encode(&CHUNKS).unwrap());
    file.write_all_at(&[9], LENGTH + 100).unwrap();
    let error = record.chunks(&file, |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("changed"), "{error}");
}

/// Returns a record of the same image with a hash tree, and the tree.
fn sealed() -> (Record, Vec<u8>) {
    let mut record = record();
    record.key.verity = true;
    let salt = Salt::of(&record.key.manifest);
    let uuid = Uuid::of(&record.key.manifest);
    let mut builder = TreeBuilder::new(salt, uuid, Box::new(NoSpills));
    let mut tree = Vec::new();
    let image = vec![7; usize::try_from(LENGTH).unwrap()];
    let (first, rest) = image.split_at(CHUNK);
    builder.push(rest).unwrap();
    let write = |bytes: &[u8], offset: u64| {
        let start = usize::try_from(offset - LENGTH).unwrap();
        tree.resize(tree.len().max(start + bytes.len()), 0);
        tree[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    };
    let verity = builder.finish(first, write).unwrap();
    (record.sealed(verity), tree)
}

/// An image this small needs no scratch file.
#[derive(Debug)]
struct NoSpills;

impl Spills for NoSpills {
    fn open(&self) -> io::Result<Box<dyn Spill>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[test]
fn facts_of_an_artifact_without_hash_tree_stay_the_same() {
    let bytes = record().encode(&CHUNKS).unwrap();
    let facts = format!(
        concat!(
            r#"{{"key":{{"format":{},"identity":"{}","manifest":"{}","platform":"linux/amd64","agent":"{}","#,
            r#""injected":[{{"path":"secrets/token 0","digest":"{}","mode":256}}],"#,
            r#""compressor":"zstd 3","block_size":131072,"tails":true,"time":0}},"#,
            r#""chunk_size":1048576,"superblock":"{}","root":"{}"}}"#,
        ),
        record().key.format,
        Digest::of(b"index"),
        Digest::of(b"manifest"),
        Digest::of(b"agent"),
        Digest::of(b"token"),
        blake3::hash(&[7; SUPERBLOCK]).to_hex(),
        blake3::hash(CHUNKS.as_flattened()).to_hex(),
    );
    let found = bytes[128..].split(|byte| *byte == 0).next().unwrap();
    assert_eq!(str::from_utf8(found).unwrap(), facts);
    let footer = &bytes[bytes.len() - FOOTER..];
    assert_eq!(&footer[..12], b"HPCCROOT\x01\0\0\0");
    assert_eq!(footer[24..32], [0; 8]);
    assert_eq!(record().offset(), LENGTH);
}

#[test]
fn sealed_record_follows_its_tree_and_reads_back() {
    let (record, tree) = sealed();
    assert_eq!(record.tree_length(), tree.len() as u64);
    assert_eq!(record.offset(), LENGTH + tree.len() as u64);
    let bytes = record.encode(&CHUNKS).unwrap();
    let file = file(LENGTH, &[&tree[..], &bytes].concat());
    assert_eq!(Record::read(&file).unwrap(), record);
    let mut found = Vec::new();
    let read = record.chunks(&file, |digest| {
        found.push(*digest);
        Ok(())
    });
    read.unwrap();
    assert_eq!(found, CHUNKS);
    // Every byte of the record is covered, and none of the tree is: `verify` checks that.
    for (at, byte) in (record.offset()..).zip(&bytes).step_by(7) {
        file.write_all_at(&[byte ^ 1], at).unwrap();
        assert!(Record::read(&file).is_err(), "byte {at}");
        file.write_all_at(&[*byte], at).unwrap();
    }
}

#[test]
fn record_and_footer_must_agree_about_the_tree() {
    let (record, tree) = sealed();
    let good = record.encode(&CHUNKS).unwrap();
    let refused = |record: &[u8]| refusal(&file(LENGTH, &[&tree[..], record].concat()));
    let tree_length = |length: u64| {
        forge(&good, |bytes| {
            let at = bytes.len() - 40;
            bytes[at..at + 8].copy_from_slice(&length.to_le_bytes());
        })
    };
    for length in [0, 4096, record.tree_length() + 4096, 1 << 44, u64::MAX] {
        let error = refused(&tree_length(length));
        assert!(error.contains("hash tree"), "{length}: {error}");
    }
    let text = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        forge(&good, |bytes| {
            let found = bytes.windows(from.len()).position(|w| w == from.as_bytes());
            let at = found.unwrap();
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        })
    };
    for (from, to) in [
        (r#""data_blocks":769"#, r#""data_blocks":768"#),
        (r#""hash_offset":3149824"#, r#""hash_offset":3145728"#),
        (r#","verity":true}"#, r#","time":0     }"#),
    ] {
        let error = refused(&text(from, to));
        assert!(
            error.contains("hash tree") || error.contains("don't read"),
            "{to}: {error}"
        );
    }
    // A record without a tree on a file that has one, and the other way around.
    let key_alone = Record {
        verity: None,
        ..record
    };
    let error = refusal(&file(LENGTH, &key_alone.encode(&CHUNKS).unwrap()));
    assert!(error.contains("hash tree"), "{error}");
    let other_version = forge(&good, |bytes| {
        let at = bytes.len() - FOOTER + 8;
        bytes[at] = 1;
    });
    assert!(refused(&other_version).contains("its length is not"));
    let unknown = forge(&good, |bytes| {
        let at = bytes.len() - FOOTER + 8;
        bytes[at] = 3;
    });
    assert!(refused(&unknown).contains("versions 1 and 2"));
}

#[test]
fn hole_in_place_of_the_hash_tree_is_refused() {
    let (record, tree) = sealed();
    let bytes = record.encode(&CHUNKS).unwrap();
    let sparse = tempfile::tempfile().unwrap();
    sparse.write_all_at(&[7; 4096], 0).unwrap();
    let offset = LENGTH + tree.len() as u64;
    sparse.write_all_at(&bytes, offset).unwrap();
    (&sparse).seek(io::SeekFrom::Start(17)).unwrap();
    let error = refusal(&sparse);
    assert!(error.ends_with("the file has a hole in it"), "{error}");
    // Its owner may read from the handle.
    assert_eq!((&sparse).stream_position().unwrap(), 17);
}

/// OpenZFS (openzfs/zfs 15526) calls data that was just written a hole.
#[test]
fn hole_counts_only_if_it_reads_as_one() {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&[1; 8192], 0).unwrap();
    file.write_all_at(&[0; 8192], 8192).unwrap();
    let hole = |at: Result<u64, Errno>| has_hole_by(&file, &(4096..16384), |_| at).unwrap();
    for (at, is_hole) in [
        (Ok(4096), false),
        (Ok(8192), true),
        (Ok(12288), true),
        (Ok(16384), false),
        (Ok(0), false),
        (Err(Errno::NXIO), false),
    ] {
        assert_eq!(hole(at), is_hole, "{at:?}");
    }
}

/// On a file system that compresses, a whole file takes less space than it is long.
#[test]
fn file_with_less_space_than_length_is_no_hole() {
    let record = record();
    let bytes = record.encode(&CHUNKS).unwrap();
    let whole = file(LENGTH, &bytes);
    let sparse = tempfile::tempfile().unwrap();
    sparse.set_len(whole.metadata().unwrap().len()).unwrap();
    let footer = bytes.last_chunk().unwrap();
    let read =
        Footer::decode(footer)
            .unwrap()
            .read(&whole, &sparse.metadata().unwrap(), footer, |_| {});
    assert_eq!(read.unwrap(), record);
}

#[test]
fn errors_of_the_disk_are_no_damage() {
    let file = tempfile::tempfile().unwrap();
    let error = io::Error::from(Errno::IO);
    let told = RecordError::Io(error).of(&file);
    assert!(matches!(told, RecordError::Io(_)), "{told}");
}
