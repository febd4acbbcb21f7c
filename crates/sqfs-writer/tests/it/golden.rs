//! Images that must not change unintentionally: one as text, line by line, and larger ones
//! by digest. They are stored uncompressed, so that a new version of a codec changes nothing here.

use sqfs_writer::{
    Compressor, DataWriter, Device, FileData, Kind, Metadata, NodeId, Options, Tree,
};

use crate::dump::dump;
use crate::expected::{noise, options, text};

type Writer = DataWriter<Vec<u8>>;

/// Writes an image without any compression.
fn write(options: &Options, fill: impl FnOnce(&mut Writer, &mut Tree<FileData>)) -> Vec<u8> {
    let mut writer = DataWriter::new(Vec::new(), options).unwrap();
    let mut tree = Tree::new(Metadata::new(0o755));
    fill(&mut writer, &mut tree);
    let sealed = writer.finish(&tree).unwrap();
    [&sealed.superblock[..], &sealed.sink].concat()
}

fn one_of_each(writer: &mut Writer, tree: &mut Tree<FileData>) {
    let mut put = |parent, name: &str, metadata, kind| {
        tree.insert(parent, name.as_bytes(), metadata, kind)
            .unwrap()
    };
    let metadata = || Metadata::new(0o644).with_owner(1000, 100).with_mtime(7);
    let root = NodeId::ROOT;
    let mut file = |content: &[u8]| Kind::File(writer.add(content).unwrap());
    let directory = put(root, "dir", metadata(), Kind::directory());
    put(directory, "empty", metadata(), file(b""));
    let blocks = [text(4096, 1), vec![0; 4096], noise(4096, 2)].concat();
    put(directory, "blocks", metadata(), file(&blocks));
    let with_tail = [&blocks[..], b"tail"].concat();
    put(directory, "blocks and tail", metadata(), file(&with_tail));
    let small = put(root, "small", metadata(), file(b"tail"));
    let rich = metadata()
        .with_xattr(*b"user.name", *b"value")
        .with_xattr(*b"security.long", *b"a value of more than eight bytes");
    put(root, "rich", rich.clone(), file(b"x"));
    put(root, "rich fifo", rich, Kind::Fifo);
    put(
        root,
        "symlink",
        metadata(),
        Kind::Symlink((*b"dir/empty").into()),
    );
    let device = Device {
        major: 259,
        minor: 70_000,
    };
    put(root, "block", metadata(), Kind::BlockDevice(device));
    put(
        root,
        "char",
        metadata(),
        Kind::CharDevice(Device::default()),
    );
    put(root, "socket", metadata(), Kind::Socket);
    tree.link(directory, b"linked", small).unwrap();
}

#[test]
fn one_of_each_as_text() {
    let image = write(&options(4096, Compressor::None, 1), one_of_each);
    let found = dump(&image);
    let expected = include_str!("golden/one_of_each.txt");
    assert!(found == expected, "the image is now\n{found}");
}

#[test]
fn digests_of_larger_images() {
    let many = |writer: &mut Writer, tree: &mut Tree<FileData>| {
        let mut parent = NodeId::ROOT;
        for n in 0..6000u32 {
            if n % 1000 == 0 {
                let metadata = Metadata::new(0o755).with_mtime(n);
                let name = format!("d{n}");
                parent = tree
                    .insert(NodeId::ROOT, name.as_bytes(), metadata, Kind::directory())
                    .unwrap();
            }
            let content = noise((n % 5000) as usize, u64::from(n % 777));
            let data = writer.add(&content[..]).unwrap();
            let metadata = Metadata::new(0o600)
                .with_owner(n % 3000, 0)
                .with_xattr(*b"user.n", (n % 700).to_le_bytes())
                .with_xattr(*b"trusted.long", noise(20, u64::from(n % 90)));
            tree.insert(parent, n.to_string().as_bytes(), metadata, Kind::File(data))
                .unwrap();
        }
    };
    for threads in [1, 3] {
        let digests = [(4096, true), (4096, false), (131_072, true)].map(|(block_size, tails)| {
            let mut options = options(block_size, Compressor::None, threads);
            options.tails = tails;
            blake3::hash(&write(&options, many)).to_hex().to_string()
        });
        assert_eq!(digests, DIGESTS, "{threads} threads");
    }
}

/// Of [`digests_of_larger_images`].
const DIGESTS: [&str; 3] = [
    "fbd32ee43c4d7878a4271bcf40523c4f858912c2ba8f683e2fd8d030b7f37216",
    "5707c12227aa334093e383350e61de27a5ac51830cad0493a54fa34aad294402",
    "56a115772bb59bd46df755337ef1535665d92763ff7b6b4860edda1ea557cef7",
];
