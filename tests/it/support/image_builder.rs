//! What the builder writes, umoci unpacks to what was described.

use std::path::Path;

use test_support::image::{Compression, Entry, Image, Layer, Store};
use test_support::oracle::umoci;
use test_support::{Failure, Result};
use tree_listing::{Kind, Listing};

#[test]
fn every_kind_of_entry_unpacks_as_described() -> Result<()> {
    let capability =
        b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let long = "d/".repeat(60) + "file";
    let layer = Layer::new()
        .entry(Entry::dir(".").mode(0o755))
        .entry(
            Entry::file("su", "x")
                .mode(0o4755)
                .owner(1000, 3_000_000)
                .mtime(7),
        )
        .entry(Entry::file("ping", "y").xattr("security.capability", capability))
        .entry(Entry::char_device("null", 1, 3).mode(0o666))
        .entry(Entry::block_device("disk", 254, 300))
        .entry(Entry::fifo("pipe").mode(0o600))
        .file(&long, "deep")
        .file(b"not-utf8-\xff", "")
        .symlink("link", "../nowhere/at all")
        .hardlink("sudo", "su");
    let listing = unpack(&[layer])?;

    assert_eq!(
        lines(&listing, &["su", "ping", "null", "disk", "pipe", "link"])?,
        [
            "su file 4755 1000:3000000 mtime 7 size 1 links 2",
            "ping file 0644 0:0 mtime 1577836800 size 1 links 1",
            "null char-device 0666 0:0 mtime 1577836800 size 0 links 1",
            "disk block-device 0600 0:0 mtime 1577836800 size 0 links 1",
            "pipe fifo 0600 0:0 mtime 1577836800 size 0 links 1",
            "link symlink 0777 0:0 mtime 1577836800 size 17 links 1",
        ]
    );
    let entry = |name: &[u8]| &listing.entries[&[b"/", name].concat()];
    assert_eq!(entry(b"null").kind, Kind::CharDevice { major: 1, minor: 3 });
    assert_eq!(
        entry(b"disk").kind,
        Kind::BlockDevice {
            major: 254,
            minor: 300
        }
    );
    assert_eq!(
        entry(b"ping").xattrs[b"security.capability".as_slice()],
        capability
    );
    assert_eq!(entry(b"sudo").shared.as_deref(), Some(b"/su".as_slice()));
    assert_eq!(entry(long.as_bytes()).size, 4);
    assert_eq!(entry(b"not-utf8-\xff").size, 0);
    Ok(())
}

#[test]
fn whiteouts_and_opaque_directories_hide_what_is_below() -> Result<()> {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        if compression == Compression::Zstd {
            // umoci 0.4 knows no zstd; what is inside is the same, and the frame is checked here.
            let layer = Layer::new().file("a", "b").compressed(compression);
            assert_eq!(zstd::decode_all(&*layer.blob())?, layer.tar());
            continue;
        }
        let below = Layer::new()
            .dir("a")
            .file("a/old", "")
            .file("b", "")
            .dir("c")
            .file("c/kept", "");
        let above = Layer::new()
            .dir("a")
            .opaque("a")
            .file("a/new", "")
            .whiteout("b")
            .whiteout("c/none");
        let listing = unpack(&[below.compressed(compression), above.compressed(compression)])?;
        let names: Vec<_> = listing
            .entries
            .keys()
            .map(|name| String::from_utf8_lossy(name))
            .collect();
        assert_eq!(
            names,
            ["/", "/a", "/a/new", "/c", "/c/kept"],
            "{compression:?}"
        );
    }
    Ok(())
}

#[test]
fn a_layout_read_back_is_the_store_that_was_written() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut store = Store::new();
    let image = Image::new()
        .env("A=b")
        .layer(Layer::new().file("x", "y"))
        .add_to(&mut store);
    store.tag("one", &image);
    store.write_layout(directory.path())?;
    let again = Store::open_layout(directory.path())?;
    let target = again
        .tagged("one")
        .ok_or_else(|| Failure::new("the tag is lost"))?;
    assert_eq!(target.digest, image.digest);
    let manifest = |store: &Store| {
        store
            .get(&image.digest)
            .map(|(kind, content)| (kind.to_owned(), content.bytes().ok()))
    };
    assert_eq!(manifest(&again), manifest(&store));
    Ok(())
}

/// Returns the tree as umoci makes it; the listing of the tree without root is empty, and every test that looks into it
/// fails.
fn unpack(layers: &[Layer]) -> Result<Listing> {
    let mut store = Store::new();
    let image = layers
        .iter()
        .fold(Image::new(), |image, layer| image.layer(layer.clone()));
    let image = image.add_to(&mut store);
    store.tag("latest", &image);
    let directory = tempfile::tempdir()?;
    store.write_layout(directory.path())?;
    let tree = umoci::unpack(directory.path(), "latest")?
        .ok_or_else(|| Failure::new("the builder is checked with umoci, which needs root"))?;
    let root: &Path = &tree.root();
    Ok(Listing::walk(root)?)
}

fn lines(listing: &Listing, names: &[&str]) -> Result<Vec<String>> {
    let line = |name: &&str| {
        let entry = listing.entries.get(format!("/{name}").as_bytes());
        let entry = entry.ok_or_else(|| Failure::new(format!("{name} is missing")))?;
        Ok(format!(
            "{name} {} {:04o} {}:{} mtime {} size {} links {}",
            entry.kind.name(),
            entry.mode,
            entry.uid,
            entry.gid,
            entry.mtime,
            entry.size,
            entry.links
        ))
    };
    names.iter().map(line).collect()
}
