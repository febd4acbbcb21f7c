//! Random trees, by edits in any order.

use proptest::prelude::*;
use sqfs_writer::{Device, FileData, Kind, Metadata, NodeId, Tree};

use crate::expected::{Bodies, CODECS, noise, options, text};

/// One thing to put somewhere below what is already there.
#[derive(Clone, Debug)]
struct Step {
    parent: prop::sample::Index,
    name: Vec<u8>,
    what: What,
    mode: u16,
    owner: u32,
    xattr: Option<(u8, u8)>,
}

#[derive(Clone, Debug)]
enum What {
    Directory,
    File { len: usize, kind: u8 },
    Symlink(Vec<u8>),
    Device(u32, u32),
    Fifo,
    Link(prop::sample::Index),
    Remove,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![0..100usize, 4090..4100usize, 0..20_000usize];
    let what = prop_oneof![
        3 => Just(What::Directory),
        6 => (len, 0..3u8).prop_map(|(len, kind)| What::File { len, kind }),
        1 => prop::collection::vec(1u8.., 1..300).prop_map(What::Symlink),
        1 => (0..0x1000u32, 0..0x10_0000u32).prop_map(|(a, b)| What::Device(a, b)),
        1 => Just(What::Fifo),
        2 => any::<prop::sample::Index>().prop_map(What::Link),
        1 => Just(What::Remove),
    ];
    (
        any::<prop::sample::Index>(),
        prop::collection::vec(97u8..105, 1..4),
        what,
        0..=0o7777u16,
        any::<u32>(),
        prop::option::of((0..3u8, 0..20u8)),
    )
        .prop_map(|(parent, name, what, mode, owner, xattr)| Step {
            parent,
            name,
            what,
            mode,
            owner,
            xattr,
        })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_was_edited_in_comes_out(
        steps in prop::collection::vec(step(), 1..120),
        codec in 0..CODECS.len(),
        exportable: bool,
        tails: bool,
        duplicates: bool,
        threads in 1..4usize,
    ) {
        let mut options = options(4096, CODECS[codec], threads);
        options.tails = tails;
        options.duplicates = duplicates;
        options.exportable = exportable;
        let mut bodies = Bodies::new(&options);
        let mut tree = Tree::new(Metadata::new(0o755));
        for (seed, step) in (1..).zip(steps) {
            apply(&mut tree, &mut bodies, step, seed);
        }
        bodies.check(&tree);
    }
}

fn apply(tree: &mut Tree<FileData>, bodies: &mut Bodies, step: Step, seed: u64) {
    let directories: Vec<NodeId> = tree
        .nodes()
        .filter(|(_, node)| node.kind().is_directory())
        .map(|(id, _)| id)
        .collect();
    let others: Vec<NodeId> = tree
        .nodes()
        .filter(|(_, node)| !node.kind().is_directory())
        .map(|(id, _)| id)
        .collect();
    let parent = *step.parent.get(&directories);
    let mut metadata = Metadata::new(step.mode)
        .with_owner(step.owner, step.owner >> 16)
        .with_mtime(step.owner.rotate_left(9));
    if let Some((kind, value)) = step.xattr {
        let name = [&b"user.a"[..], b"trusted.b", b"system.c"][usize::from(kind)];
        metadata = metadata.with_xattr(name, vec![value; value.into()]);
    }
    let kind = match step.what {
        What::Directory => Kind::directory(),
        What::File { len, kind } => Kind::File(bodies.add(&match kind {
            0 => vec![0; len],
            1 => text(len, seed),
            _ => noise(len, seed),
        })),
        What::Symlink(target) => Kind::Symlink(target.into()),
        What::Device(major, minor) => Kind::BlockDevice(Device { major, minor }),
        What::Fifo => Kind::Fifo,
        What::Link(target) => {
            if !others.is_empty() {
                tree.link(parent, &step.name, *target.get(&others)).unwrap();
            }
            return;
        }
        What::Remove => {
            tree.remove(parent, &step.name).unwrap();
            return;
        }
    };
    tree.insert(parent, &step.name, metadata, kind).unwrap();
}
