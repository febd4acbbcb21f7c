//! What the tables cost for each entry of a tree: everything that is serial after the last body.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that can't do its work has nothing to measure"
)]

use std::io;

use divan::Bencher;
use divan::counter::ItemsCount;
use sqfs_writer::{DataWriter, FileData, Kind, Metadata, NodeId, Options, Tree};

fn main() {
    divan::main();
}

type Work = (DataWriter<io::Sink>, Tree<FileData>);

/// Numbers of files, and of files in one directory.
fn tree(files: usize, per_directory: usize) -> Work {
    let mut writer = DataWriter::new(io::sink(), &Options::default()).unwrap();
    let mut tree = Tree::new(Metadata::new(0o755));
    let mut directory = NodeId::ROOT;
    for index in 0..files {
        if index % per_directory == 0 {
            let name = format!("d{index}");
            let metadata = Metadata::new(0o755);
            directory = tree
                .insert(NodeId::ROOT, name.as_bytes(), metadata, Kind::directory())
                .unwrap();
        }
        let body = writer.add(index.to_string().as_bytes()).unwrap();
        let name = format!("file-{index}");
        let metadata = Metadata::new(0o644).with_mtime(1_700_000_000);
        tree.insert(directory, name.as_bytes(), metadata, Kind::File(body))
            .unwrap();
    }
    (writer, tree)
}

#[divan::bench(args = [1000, 10_000, 100_000], sample_count = 10)]
fn finished(bencher: Bencher<'_, '_>, files: usize) {
    bencher
        .counter(ItemsCount::new(files))
        .with_inputs(|| tree(files, 100))
        .bench_values(|(writer, tree)| writer.finish(&tree).unwrap().summary.inodes);
}

/// One directory of all of them.
#[divan::bench(args = [1000, 10_000, 100_000], sample_count = 10)]
fn finished_flat(bencher: Bencher<'_, '_>, files: usize) {
    bencher
        .counter(ItemsCount::new(files))
        .with_inputs(|| tree(files, files))
        .bench_values(|(writer, tree)| writer.finish(&tree).unwrap().summary.inodes);
}
