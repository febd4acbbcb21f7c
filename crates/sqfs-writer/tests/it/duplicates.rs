//! Bodies that are equal share what is stored of them.

use std::io::Write;

use sqfs_writer::{DataWriter, Kind, Metadata, NodeId, Summary, Tree};

use crate::expected::{Bodies, CODEC, noise, options, text};
use crate::reader::{Content, Image};

/// Writes the bodies under their numbers, and reads the image back.
fn write(bodies: &[Vec<u8>], block_size: u32, duplicates: bool) -> (Image, Summary) {
    let mut options = options(block_size, CODEC, 2);
    options.duplicates = duplicates;
    let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
    let mut tree = Tree::new(Metadata::new(0o755));
    for (n, body) in bodies.iter().enumerate() {
        let data = writer.add(&body[..]).unwrap();
        let name = n.to_string();
        let kind = Kind::File(data);
        tree.insert(NodeId::ROOT, name.as_bytes(), Metadata::new(0o644), kind)
            .unwrap();
    }
    let sealed = writer.finish(&tree).unwrap();
    let image = crate::reader::read(&[&sealed.superblock[..], &sealed.sink].concat());
    for (n, body) in bodies.iter().enumerate() {
        let Content::File(found) = &image.entries[format!("/{n}").as_bytes()].content else {
            panic!("{n} is not a file");
        };
        assert!(found == body, "{n}");
    }
    (image, sealed.summary)
}

/// Bodies of every shape: a tail, blocks, both, holes in all places.
fn shapes(bs: usize) -> Vec<Vec<u8>> {
    vec![
        b"x".to_vec(),
        text(bs - 1, 1),
        text(bs, 2),
        noise(bs, 3),
        text(bs + 1, 4),
        noise(3 * bs + 17, 5),
        [vec![0; 2 * bs], text(bs, 6)].concat(),
        [text(bs, 7), vec![0; bs], text(20, 7)].concat(),
        [text(2 * bs, 8), vec![0; 100]].concat(),
        vec![0; 3 * bs],
    ]
}

#[test]
fn the_second_of_its_kind_takes_no_space() {
    for block_size in [4096, 131_072] {
        let once = shapes(block_size as usize);
        let (_, expected) = write(&once, block_size, true);
        let twice = [&once[..], &once[..]].concat();
        let (image, found) = write(&twice, block_size, true);
        assert_eq!(found.duplicates, once.len() as u64);
        let stored = expected.body_bytes - expected.hole_bytes;
        assert_eq!(found.duplicate_bytes, stored);
        assert_eq!(found.body_bytes, 2 * expected.body_bytes);
        assert_eq!(found.data_bytes, expected.data_bytes);
        assert_eq!(found.blocks, expected.blocks);
        assert_eq!((found.dead_bytes, found.duplicates_kept), (0, 0));
        for n in 0..once.len() {
            let blocks = |n: usize| &image.blocks[format!("/{n}").as_bytes()];
            assert_eq!(blocks(n), blocks(n + once.len()), "{n}");
        }
    }
}

#[test]
fn blocks_and_tails_are_shared_each_by_itself() {
    let blocks = noise(2 * 4096, 1);
    let bodies = [
        [&blocks[..], b"one end"].concat(),
        [&blocks[..], b"another"].concat(),
        blocks.clone(),
        b"another".to_vec(),
        [&noise(4096, 2)[..], b"another"].concat(),
    ];
    let (image, found) = write(&bodies, 4096, true);
    assert_eq!((found.blocks, found.fragments, found.duplicates), (3, 1, 2));
    assert_eq!(found.duplicate_bytes, 2 * 8192 + 2 * 7);
    for n in [1, 2] {
        assert_eq!(
            image.blocks[&b"/0"[..]],
            image.blocks[format!("/{n}").as_bytes()]
        );
    }
    assert_eq!(found.dead_bytes, 0);
}

#[test]
fn nothing_is_shared_if_that_is_not_wanted() {
    let once = shapes(4096);
    let (_, expected) = write(&once, 4096, false);
    let (_, found) = write(&[&once[..], &once[..]].concat(), 4096, false);
    assert_eq!(found.blocks, 2 * expected.blocks);
    assert_eq!(found.duplicates, 0);
}

#[test]
fn bodies_that_differ_in_one_place_are_not_shared() {
    let mut bodies = Vec::new();
    for body in shapes(4096) {
        for at in [0, body.len() / 2, body.len() - 1] {
            let mut other = body.clone();
            other[at] ^= 1;
            bodies.push(other);
        }
        bodies.push([&body[..], b"\0"].concat());
        bodies.push(body);
    }
    bodies.sort();
    bodies.dedup();
    // Each is read back as it went in; that what two of them have in common is stored once shows
    // in the number of blocks.
    let (_, found) = write(&bodies, 4096, true);
    let (_, apart) = write(&bodies, 4096, false);
    assert!(found.blocks < apart.blocks);
}

#[test]
fn duplicate_too_large_to_hold_back_is_written_and_counted() {
    // 4 MiB of compressed blocks are held, and not a byte more.
    let fits = noise(4 << 20, 1);
    let exceeds = noise((4 << 20) + 131_072 + 5, 2);
    let bodies = [fits.clone(), exceeds.clone(), fits, exceeds];
    let (image, found) = write(&bodies, 131_072, true);
    assert_eq!((found.duplicates, found.duplicates_kept), (1, 1));
    assert_eq!(found.duplicate_bytes, (4 << 20) + 5);
    assert_eq!(image.blocks[&b"/0"[..]], image.blocks[&b"/2"[..]]);
    assert_ne!(image.blocks[&b"/1"[..]], image.blocks[&b"/3"[..]]);
    // Its tail has waited, and is shared.
    assert_eq!(found.fragments, 1);
    assert_eq!(found.dead_bytes, 0);
}

#[test]
fn a_body_that_was_discarded_is_no_original() {
    for len in [100, 4096, 9000, 5 << 20] {
        let mut bodies = Bodies::new(&options(4096, CODEC, 2));
        let content = noise(len, 1);
        let mut body = bodies.begin();
        body.write_all(&content).unwrap();
        drop(body);
        let data = bodies.add(&content);
        let again = bodies.add(&content);
        let mut tree = Tree::new(Metadata::new(0o755));
        for (name, data) in [(&b"a"[..], data), (b"b", again)] {
            tree.insert(NodeId::ROOT, name, Metadata::new(0), Kind::File(data))
                .unwrap();
        }
        bodies.check(&tree);
    }
}

/// Writes bodies, of which only those at the indexes in `alive` are files at the end, and returns the dead bytes.
fn dead_bytes(bodies: &[Vec<u8>], alive: &[usize]) -> u64 {
    let mut writer = DataWriter::new(Vec::new(), &options(4096, CODEC, 2)).unwrap();
    let mut tree = Tree::new(Metadata::new(0o755));
    for (n, body) in bodies.iter().enumerate() {
        let data = writer.add(&body[..]).unwrap();
        if alive.contains(&n) {
            let (name, kind) = (n.to_string(), Kind::File(data));
            tree.insert(NodeId::ROOT, name.as_bytes(), Metadata::new(0o644), kind)
                .unwrap();
        }
    }
    writer.finish(&tree).unwrap().summary.dead_bytes
}

#[test]
fn blocks_of_duplicates_hide_no_dead_bytes() {
    // One block is shared before it is submitted, several are after that, and the last size is stored every time.
    for len in [4096, 5 * 4096, (4 << 20) + 4096] {
        let [x, z] = [1, 2].map(|seed| noise(len, seed));
        let bodies = [x.clone(), x.clone(), z, x];
        for alive in [&[0, 1, 2, 3][..], &[0, 1, 3], &[1, 2], &[3], &[2], &[]] {
            let lives = |n| alive.contains(&n);
            let dead = match len > 4 << 20 {
                true => 4 - alive.len(),
                false => usize::from(!lives(2)) + usize::from(![0, 1, 3].into_iter().any(lives)),
            };
            let expected = (dead * len) as u64;
            assert_eq!(dead_bytes(&bodies, alive), expected, "{len} {alive:?}");
        }
    }
}

#[test]
fn holes_are_counted_once_finished_and_are_no_duplicates() {
    let mut writer = DataWriter::new(Vec::new(), &options(4096, CODEC, 1)).unwrap();
    let mut discarded = writer.begin();
    discarded.hole(1 << 30).unwrap();
    discarded.write_all(b"x").unwrap();
    drop(discarded);
    for _ in 0..2 {
        let mut body = writer.begin();
        body.hole(1 << 30).unwrap();
        body.write_all(&noise(4096, 1)).unwrap();
        body.write_all(&[0; 5000]).unwrap();
        body.finish().unwrap();
    }
    let tree = Tree::new(Metadata::new(0o755));
    let found = writer.finish(&tree).unwrap().summary;
    assert_eq!(found.body_bytes, 2 * ((1 << 30) + 9096));
    assert_eq!(found.hole_bytes, 2 * ((1 << 30) + 5000));
    assert_eq!((found.duplicates, found.duplicate_bytes), (1, 4096));
}
