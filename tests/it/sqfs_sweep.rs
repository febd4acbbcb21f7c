//! Images of the writer, read by everybody who can: block sizes, codecs, threads, sizes at every edge.

use sqfs_writer::{Compressor, Device, Kind, Metadata};
use test_support::Result;

use crate::sqfs_fixture::{Fixture, noise, options, text};

const CODECS: [Compressor; 6] = [
    Compressor::Gzip { level: 6 },
    Compressor::Zstd { level: 3 },
    Compressor::Xz { level: 1 },
    Compressor::Lz4 { high: false },
    Compressor::Lz4 { high: true },
    Compressor::None,
];

/// A tree with everything in it, its files cut at every edge of a block.
fn fill(fixture: &mut Fixture, bs: usize) {
    let plain = Metadata::new(0o644).with_mtime(1_700_000_000);
    for len in [0, 1, bs - 1, bs, bs + 1, 3 * bs, 3 * bs + 17] {
        let kinds = [
            ("zero", vec![0; len]),
            ("text", text(len, 7)),
            ("noise", noise(len, 9)),
        ];
        for (kind, content) in kinds {
            fixture.file(format!("/{kind}-{len}"), plain.clone(), &content);
        }
    }
    let full = text(bs, 1);
    let hole = vec![0; 2 * bs];
    for (name, parts) in [
        ("start", [&hole, &full, &full]),
        ("middle", [&full, &hole, &full]),
        ("end", [&full, &full, &hole]),
    ] {
        let content = parts.map(|part| &part[..]).concat();
        fixture.file(format!("/hole-{name}"), plain.clone(), &content);
        fixture.file(format!("/same-{name}"), plain.clone(), &content);
        let with_tail = [&content[..], b"tail"].concat();
        fixture.file(format!("/tail-{name}"), plain.clone(), &with_tail);
    }
    let rich = plain
        .clone()
        .with_owner(70_000, 5)
        .with_xattr(*b"user.short", *b"v")
        .with_xattr(*b"user.binary", noise(300, 3))
        .with_xattr(*b"trusted.long", noise(300, 3))
        .with_xattr(*b"security.name", *b"value");
    fixture.directory("/dir", rich.clone());
    fixture.directory("/dir/empty", plain.clone());
    fixture.file("/dir/rich", rich.clone(), b"content");
    fixture.file("/dir/rich2", rich, b"other");
    fixture.file("/dir/linked", plain.clone(), &text(bs + 5, 2));
    fixture.links("/dir/linked", &["/again", "/dir/empty/third"]);
    let device = |major, minor| Device { major, minor };
    fixture.node(
        "/symlink",
        Metadata::new(0o777).with_mtime(9),
        Kind::Symlink((*b"dir/rich").into()),
    );
    fixture.node("/null", plain.clone(), Kind::CharDevice(device(1, 3)));
    fixture.node("/whiteout", plain.clone(), Kind::CharDevice(device(0, 0)));
    fixture.node(
        "/disk",
        plain.clone(),
        Kind::BlockDevice(device(259, 70_000)),
    );
    fixture.node("/fifo", plain.clone(), Kind::Fifo);
    fixture.node("/socket", plain, Kind::Socket);
}

#[test]
fn the_kernel_reads_every_codec_at_every_block_size() -> Result<()> {
    for compressor in CODECS {
        for (block_size, threads) in [(4096, 1), (16_384, 3), (131_072, 2), (1 << 20, 4)] {
            let mut fixture = Fixture::new(&options(block_size, compressor, threads));
            fill(&mut fixture, block_size as usize);
            let what = format!("{compressor}, {block_size}");
            fixture.finish().mount(&what)?;
        }
    }
    Ok(())
}

#[test]
fn every_reader_finds_what_went_in() -> Result<()> {
    for compressor in CODECS {
        for tails in [true, false] {
            // The smallest and the largest blocks without tails: where they differ most.
            let block_size = match (tails, compressor) {
                (true, _) => 131_072,
                (false, Compressor::Zstd { .. } | Compressor::Lz4 { high: true }) => 4096,
                (false, Compressor::Gzip { .. } | Compressor::Xz { .. }) => 1 << 20,
                (false, _) => 16_384,
            };
            let mut options = options(block_size, compressor, 2);
            options.tails = tails;
            let mut fixture = Fixture::new(&options);
            fill(&mut fixture, block_size as usize);
            fixture.finish().everybody(
                &format!("{compressor}, {block_size}, tails {tails}"),
                compressor,
            )?;
        }
    }
    Ok(())
}

#[test]
fn tables_that_just_fit_a_block_or_just_exceed_it() -> Result<()> {
    for count in [511u32, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049] {
        let mut fixture = Fixture::new(&options(4096, Compressor::default(), 2));
        let fragments = count <= 513;
        // The root's owner is the first id.
        for n in 1..count {
            let metadata = Metadata::new(0o600)
                .with_owner(n, 0)
                .with_xattr(*b"user.n", n.to_le_bytes());
            let content = noise(if fragments { 4095 } else { 3 }, n.into());
            fixture.file(format!("/{n}"), metadata, &content);
        }
        let written = fixture.finish();
        assert_eq!(written.summary.inodes, count);
        assert_eq!(u32::from(written.summary.ids), count);
        assert_eq!(written.summary.xattr_sets, count - 1);
        if fragments {
            assert_eq!(written.summary.fragments, count - 1);
        }
        written.mount(&count.to_string())?;
    }
    Ok(())
}

#[test]
fn directories_of_every_size_with_names_of_every_length() -> Result<()> {
    let mut fixture = Fixture::new(&options(4096, Compressor::default(), 2));
    let metadata = || Metadata::new(0o644);
    for count in [0, 1, 255, 256, 257, 40_000] {
        let directory = format!("/d{count}");
        fixture.directory(&directory, metadata());
        for n in 0..count {
            fixture.node(&format!("{directory}/{n}"), metadata(), Kind::Fifo);
        }
    }
    // Numbers further away than 16 bits reach, in both directions.
    fixture.file("/d0/shared", metadata(), b"shared");
    fixture.links("/d0/shared", &["/z-far", "/d257/far"]);
    for byte in (1..=255).filter(|byte| !b"/.".contains(byte)) {
        for len in [1, 255] {
            fixture.file([&b"/"[..], &vec![byte; len]].concat(), metadata(), &[byte]);
        }
    }
    fixture.finish().mount("directories")
}
