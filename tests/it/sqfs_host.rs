//! Images that `ImageWriter::directory_from` makes of a directory, against the directory itself and against those of
//! mksquashfs.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, makedev, mknodat};
use sqfs_writer::{ImageWriter, Options};
use test_support::Result;
use test_support::oracle::{Mount, may_be_root, unsquashfs};
use tree_listing::{DiffOptions, Listing, diff};

use crate::sqfs_fixture::{noise, text};

/// Makes one entry of every kind that a host has, with names, owners, times and attributes that are easily lost.
fn fill(root: &Path) {
    for name in ["a", "a/b", "a/b/c", "empty", "z"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    for (name, content) in [
        ("a/empty", Vec::new()),
        ("a/short", text(100, 1)),
        ("a/b/block", noise(128 << 10, 2)),
        ("a/b/c/long", [text(300_000, 3), noise(7, 4)].concat()),
        ("z/twin", text(300_000, 3)),
        ("setuid", text(5000, 5)),
    ] {
        fs::write(root.join(name), content).unwrap();
    }
    fs::write(root.join(OsStr::from_bytes(b"a/\xff\x01 \n\\")), "name").unwrap();
    fs::write(root.join("z").join("n".repeat(255)), "long name").unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", (2 << 20) + 5).unwrap();
    fs::hard_link(root.join("a/b/block"), root.join("z/linked")).unwrap();
    fs::hard_link(root.join("a/b/block"), root.join("0 first")).unwrap();
    symlink("a/b", root.join("way")).unwrap();
    symlink("/absolute/nowhere", root.join("a/dangling")).unwrap();
    fs::hard_link(root.join("a/dangling"), root.join("z/dangling")).unwrap();
    let node = |name: &str, kind, device| {
        mknodat(CWD, root.join(name), kind, Mode::from(0o640), device).unwrap();
    };
    node("pipe", FileType::Fifo, 0);
    node("socket", FileType::Socket, 0);
    node("null", FileType::CharacterDevice, makedev(1, 3));
    node("disk", FileType::BlockDevice, makedev(259, 70_000));
    fs::hard_link(root.join("pipe"), root.join("a/pipe")).unwrap();

    chown(root.join("setuid"), Some(70_000), Some(4_000_000_000)).unwrap();
    fs::set_permissions(root.join("setuid"), fs::Permissions::from_mode(0o6711)).unwrap();
    fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o1777)).unwrap();
    let attribute = |name: &str, key: &str, value: &[u8]| {
        lsetxattr(root.join(name), key, value, XattrFlags::empty()).unwrap();
    };
    attribute("a/short", "user.empty", b"");
    attribute("a/short", "user.large", &noise(2000, 6));
    attribute("a/b", "user.of a directory", b"\0\xff");
    attribute("z/twin", "trusted.hidden", b"from users");
    attribute("way", "trusted.of a symlink", b"itself");
    attribute("null", "trusted.of a device", b"itself");
    attribute(
        "setuid",
        "security.capability",
        b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    );
    for (name, seconds) in [("a/short", 1), ("a/b", 1_700_000_000), ("z", 4_000_000_000)] {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let file = File::open(root.join(name)).unwrap();
        file.set_modified(time).unwrap();
    }
}

#[test]
fn host_directory_equals_its_source_and_what_mksquashfs_makes() -> Result<()> {
    if !may_be_root("device nodes, other owners and trusted attributes") {
        return Ok(());
    }
    let place = tempfile::tempdir()?;
    let source = place.path().join("source");
    fs::create_dir(&source)?;
    fill(&source);
    let expected = Listing::walk(&source)?;
    assert_eq!(expected.entries.len(), 25);

    let ours = place.path().join("ours.sqsh");
    let mut image = ImageWriter::new(File::create(&ours)?, &Options::default()).unwrap();
    image.directory_from("", &source).unwrap();
    let (_, summary) = image.finish().unwrap();
    assert_eq!(summary.dropped_xattrs, 0);

    let theirs = place.path().join("theirs.sqsh");
    let made = Command::new("mksquashfs")
        .args([&source, &theirs])
        .args(["-comp", "zstd", "-no-progress", "-quiet"])
        .output()?;
    assert!(made.status.success(), "{made:?}");

    let options = DiffOptions::default();
    let extracted = [&ours, &theirs].map(|image| unsquashfs::extract(image).unwrap());
    let [by_us, by_them] = extracted
        .each_ref()
        .map(|tree| Listing::walk(&tree.root()).unwrap());
    assert_eq!(diff(&expected, &by_us, &options), [], "unsquashfs");
    assert_eq!(diff(&by_them, &by_us, &options), [], "mksquashfs");
    if let Some(mount) = Mount::squashfs(&ours)? {
        let mounted = Listing::walk(mount.root())?;
        assert_eq!(diff(&expected, &mounted, &options), [], "the kernel");
    }
    Ok(())
}
