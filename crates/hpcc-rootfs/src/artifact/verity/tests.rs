//! Hash trees, compared with those of `veritysetup`.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use ociget::Digest;

use super::block::{BLOCK, DIGEST, PIECE};
use super::*;

/// Bytes of the first part of an image, which the writer supplies last.
const FIRST: usize = 1 << 20;

/// Spills to memory, and counts files.
#[derive(Clone, Debug, Default)]
struct Memory(Rc<RefCell<usize>>);

#[derive(Debug, Default)]
struct Page(Vec<u8>);

impl Spills for Memory {
    fn open(&self) -> io::Result<Box<dyn Spill>> {
        *self.0.borrow_mut() += 1;
        Ok(Box::new(Page::default()))
    }
}

impl Spill for Page {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        assert_eq!(self.0.len() as u64, offset);
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.0[start..start + buffer.len()]);
        Ok(())
    }
}

fn builder(memory: usize, spills: &Memory) -> TreeBuilder {
    let manifest = Digest::of(b"manifest");
    let (salt, uuid) = (Salt::of(&manifest), Uuid::of(&manifest));
    TreeBuilder::with_memory(memory, salt, uuid, Box::new(spills.clone()))
}

/// Returns an image of `blocks` blocks, most of them zero, followed by its tree.
fn sealed(path: &Path, blocks: u64) -> (File, Verity) {
    let spills = Memory::default();
    let sealed = sealed_with(path, blocks, waiting::MEMORY, &spills);
    assert_eq!(*spills.0.borrow(), 0);
    sealed
}

/// Does the same with this much memory per level.
fn sealed_with(path: &Path, blocks: u64, memory: usize, spills: &Memory) -> (File, Verity) {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .unwrap();
    let length = blocks * BLOCK as u64;
    file.set_len(length).unwrap();
    for block in (0..blocks).step_by(127).chain([blocks - 1]) {
        let bytes: Vec<u8> = (0..BLOCK)
            .map(|at| u8::try_from((at as u64 * 7 + block) % 251).unwrap())
            .collect();
        file.write_all_at(&bytes, block * BLOCK as u64).unwrap();
    }
    let mut builder = builder(memory, spills);
    let mut buffer = vec![0; FIRST];
    let mut offset = FIRST as u64;
    while offset < length {
        let taken = usize::try_from(length - offset).unwrap().min(FIRST);
        file.read_exact_at(&mut buffer[..taken], offset).unwrap();
        builder.push(&buffer[..taken]).unwrap();
        offset += taken as u64;
    }
    let taken = usize::try_from(length).unwrap().min(FIRST);
    file.read_exact_at(&mut buffer[..taken], 0).unwrap();
    let write = |bytes: &[u8], offset| file.write_all_at(bytes, offset);
    let verity = builder.finish(&buffer[..taken], write).unwrap();
    (file, verity)
}

/// Returns the output of `veritysetup format` for the image in a file: superblock with tree, and the root.
fn formatted(path: &Path, verity: &Verity) -> (Vec<u8>, String) {
    let tree = path.with_extension("tree");
    // A longer file that exists would keep its end.
    let _ = fs::remove_file(&tree);
    let output = Command::new("veritysetup")
        .args(["format", "--hash=sha256", "--format=1"])
        .args(["--data-block-size=4096", "--hash-block-size=4096"])
        .arg(format!("--data-blocks={}", verity.data_blocks))
        .arg(format!("--salt={}", verity.salt()))
        .arg(format!("--uuid={}", verity.uuid()))
        .arg(path)
        .arg(&tree)
        .output()
        .expect("veritysetup is not installed: apt-get install cryptsetup-bin");
    assert!(output.status.success(), "{output:?}");
    let root = String::from_utf8(output.stdout).unwrap();
    let root = root
        .lines()
        .find_map(|line| line.strip_prefix("Root hash:"))
        .unwrap();
    (fs::read(tree).unwrap(), root.trim().to_owned())
}

#[test]
fn tree_equals_veritysetup_format_at_every_size() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let edges = [
        1, 2, 127, 128, 129, 255, 256, 257, 383, 384, 385, 16_383, 16_384, 16_385,
    ];
    let random = [3_u64, 77, 300, 1000, 5003];
    for blocks in edges.into_iter().chain(random) {
        let (_, verity) = sealed(&path, blocks);
        let start = usize::try_from(verity.hash_offset).unwrap();
        let ours = fs::read(&path).unwrap().split_off(start);
        let (theirs, root) = formatted(&path, &verity);
        assert_eq!(verity.root(), root, "{blocks} blocks");
        // A tree without levels is a superblock alone, which `veritysetup` does not pad.
        let (shared, padding) = ours.split_at(theirs.len());
        assert!(shared == theirs, "{blocks} blocks");
        assert!(padding.iter().all(|byte| *byte == 0), "{blocks} blocks");
        assert!(ours.len() - theirs.len() < BLOCK, "{blocks} blocks");
        let length = Layout::of(blocks).unwrap().length();
        assert_eq!(ours.len() as u64, length, "{blocks} blocks");
    }
}

#[test]
fn spilled_digests_give_the_same_tree() {
    // A level has 4 MiB in memory: 131 072 blocks, which are 512 MiB of data.
    let spills = Memory::default();
    let mut waiting = waiting::Waiting::new(waiting::MEMORY);
    let chunk = |n: u32| n.to_le_bytes().repeat(256 * DIGEST / 4);
    let chunks = 3 * 512 + 5;
    for n in 0..chunks {
        waiting.push(&chunk(n), &spills).unwrap();
    }
    assert_eq!(*spills.0.borrow(), 1);
    let mut n = 0;
    let visited = waiting.visit(|piece| {
        assert!(piece.len() <= PIECE);
        for found in piece.chunks(256 * DIGEST) {
            assert!(found == chunk(n), "{n}");
            n += 1;
        }
        Ok(())
    });
    visited.unwrap();
    assert_eq!(n, chunks);
}

#[test]
fn trees_of_spilled_levels_are_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    // Two blocks of digests fit in memory. The lowest level has 131, and of the last two sizes the level above is
    // spilled, too.
    for (blocks, spilled) in [(128 * 128 + 300, 1), (33_600, 2), (40_000, 2)] {
        let (_, expected) = sealed(&path("expected"), blocks);
        let spills = Memory::default();
        let (_, verity) = sealed_with(&path("spilled"), blocks, 2 * BLOCK, &spills);
        assert_eq!(*spills.0.borrow(), spilled, "{blocks}");
        assert_eq!(verity, expected, "{blocks}");
        assert!(fs::read(path("spilled")).unwrap() == fs::read(path("expected")).unwrap());
    }
}

#[test]
fn salt_and_uuid_are_functions_of_the_manifest() {
    let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
    assert_eq!(Salt::of(&one), Salt::of(&one));
    assert_ne!(Salt::of(&one), Salt::of(&other));
    assert_ne!(Uuid::of(&one), Uuid::of(&other));
    let uuid = Uuid::of(&one).to_string();
    assert_eq!(uuid.len(), 36);
    assert_eq!(&uuid[14..15], "8", "the version: {uuid}");
    assert!("89ab".contains(&uuid[19..20]), "the variant: {uuid}");
}

#[test]
fn facts_read_back_and_other_spellings_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (_, verity) = sealed(&directory.path().join("image"), 2);
    let json = serde_json::to_string(&verity).unwrap();
    assert_eq!(serde_json::from_str::<Verity>(&json).unwrap(), verity);
    for (from, to) in [
        (verity.root(), verity.root().to_uppercase()),
        (verity.salt(), verity.salt()[2..].to_owned()),
        (verity.uuid(), verity.uuid().replace('-', "")),
        ("data_blocks".to_owned(), "blocks".to_owned()),
    ] {
        let other = json.replace(&from, &to);
        assert!(serde_json::from_str::<Verity>(&other).is_err(), "{other}");
    }
}

/// Returns the blocks that a check reports for a file of which these chunks are compared with the tree.
fn damage(file: &File, verity: &Verity, chunks: Range<u64>) -> Vec<(Part, u64, u64)> {
    let read = |buffer: &mut [u8], offset| file.read_exact_at(buffer, offset);
    let mut check = Check::new(verity, read).unwrap();
    let length = verity.hash_offset;
    let mut buffer = vec![0; FIRST];
    for start in chunks.map(|chunk| chunk * FIRST as u64) {
        let taken = usize::try_from(length - start).unwrap().min(FIRST);
        file.read_exact_at(&mut buffer[..taken], start).unwrap();
        check.data(&buffer[..taken], start).unwrap();
    }
    let mut found = Vec::new();
    let checked = check.tree(|part, range| {
        let block = BLOCK as u64;
        let blocks = (range.start - length) / block..(range.end - length) / block;
        found.push((part, blocks.start, blocks.end));
        Ok(())
    });
    checked.unwrap();
    found
}

#[test]
fn check_names_the_damaged_block_and_not_its_neighbors() {
    let directory = tempfile::tempdir().unwrap();
    let blocks = 128 * 128 + 300;
    let (file, verity) = sealed(&directory.path().join("image"), blocks);
    // Superblock, one block at the top, two below it, 131 with the digests of data.
    let layout = Layout::of(blocks).unwrap();
    assert_eq!(layout.length(), (1 + 1 + 2 + 131) * BLOCK as u64);
    assert_eq!(damage(&file, &verity, 0..66), []);
    for (block, part) in [
        (0, Part::Superblock),
        (1, Part::Tree),
        (2, Part::Tree),
        (3, Part::Tree),
        (4, Part::Tree),
        (131, Part::Tree),
        (134, Part::Tree),
    ] {
        let at = verity.hash_offset + block * BLOCK as u64 + 200;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
        assert_eq!(damage(&file, &verity, 0..1), [(part, block, block + 1)]);
        file.write_all_at(&byte, at).unwrap();
    }
    // A chunk known to be damaged proves nothing about the tree.
    file.write_all_at(&[99], 3 << 20).unwrap();
    assert_eq!(damage(&file, &verity, 0..3), []);
    // If the chunk is taken for intact, the tree belongs to another image.
    assert_eq!(damage(&file, &verity, 2..5), [(Part::Tree, 10, 11)]);
    // The result is the same if the block above it is damaged as well.
    let above = verity.hash_offset + 2 * BLOCK as u64;
    file.write_all_at(&[0; 16], above).unwrap();
    let both = [(Part::Tree, 2, 3), (Part::Tree, 10, 11)];
    assert_eq!(damage(&file, &verity, 2..5), both);
    assert_eq!(damage(&file, &verity, 4..5), [(Part::Tree, 2, 3)]);
}

#[test]
fn check_of_a_single_block_compares_it_with_the_root() {
    let directory = tempfile::tempdir().unwrap();
    let (file, verity) = sealed(&directory.path().join("image"), 1);
    assert_eq!(damage(&file, &verity, 0..1), []);
    file.write_all_at(&[99], 17).unwrap();
    assert_eq!(damage(&file, &verity, 0..1), [(Part::Tree, 0, 1)]);
}
