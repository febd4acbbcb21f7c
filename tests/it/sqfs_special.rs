//! Images that lack a part which most have, before every reader: without fragments, files, data or xattrs.

use sqfs_writer::{Compressor, Kind, Metadata};
use test_support::Result;

use crate::sqfs_fixture::{Fixture, noise, options, text};

const BLOCK: u32 = 4096;

type Fill = fn(&mut Fixture);

/// Each with what it is made of. The readers that refused such images take the size of the directory table from the
/// start of the fragment table: diskfs/go-diskfs#413, AgentD/squashfs-tools-ng#85, canonical/snapd#4396,
/// AppImage/AppImageKit#695.
const IMAGES: [(&str, Fill); 6] = [
    ("nothing", |_| {}),
    ("directories alone", |image| {
        for path in ["/a", "/a/b", "/a/b/c", "/d"] {
            image.directory(path, plain());
        }
    }),
    ("no data", |image| {
        image.directory("/d", plain());
        image.file("/d/empty", plain(), b"");
        image.node("/d/link", Metadata::new(0o777).with_mtime(1), symlink());
        image.node("/fifo", plain(), Kind::Fifo);
    }),
    ("whole blocks", |image| {
        image.directory("/d", plain());
        for blocks in [1, 2, 5] {
            let len = blocks * BLOCK as usize;
            image.file(format!("/d/text-{blocks}"), plain(), &text(len, 1));
            image.file(format!("/noise-{blocks}"), plain(), &noise(len, 2));
        }
        image.links("/noise-1", &["/d/linked"]);
    }),
    ("holes alone", |image| {
        for len in [1, 4095, 4096, 100_000] {
            image.file(format!("/zeros-{len}"), plain(), &vec![0; len]);
        }
    }),
    ("short files", |image| {
        image.directory("/d", plain());
        for len in [0, 1, 100, 4095, 4097, 9000] {
            image.file(format!("/d/text-{len}"), plain(), &text(len, 3));
            image.file(format!("/d/same-{len}"), plain(), &text(len, 3));
            let rich = plain().with_xattr(*b"user.name", *b"a value that is shared");
            image.file(format!("/d/rich-{len}"), rich, &noise(len, 4));
        }
    }),
];

fn plain() -> Metadata {
    Metadata::new(0o755).with_mtime(1_700_000_000)
}

fn symlink() -> Kind<sqfs_writer::FileData> {
    Kind::Symlink((*b"nowhere").into())
}

#[test]
fn every_reader_reads_special_images_with_and_without_fragments() -> Result<()> {
    for (name, fill) in IMAGES {
        for compressor in [
            Compressor::Gzip { level: 6 },
            Compressor::Zstd { level: 3 },
            Compressor::Xz { level: 1 },
            Compressor::None,
        ] {
            for (fragments, exportable) in [(true, true), (false, true), (false, false)] {
                let mut options = options(BLOCK, compressor, 2);
                (options.fragments, options.exportable) = (fragments, exportable);
                let mut image = Fixture::new(&options);
                fill(&mut image);
                let written = image.finish();
                assert!(fragments || written.summary.fragments == 0, "{name}");
                let what =
                    format!("{name}, {compressor}, fragments {fragments}, export {exportable}");
                written.everybody(&what, compressor)?;
            }
        }
    }
    Ok(())
}
