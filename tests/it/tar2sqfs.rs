//! The example `tar2sqfs`, with archives that other programs write and some by hand.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use tar::{Builder, EntryType, Header};
use tempfile::TempDir;
use test_support::oracle::{Tree, unsquashfs};

#[path = "../../crates/hpcc-rootfs/examples/tar2sqfs/choice.rs"]
mod choice;
#[path = "../../crates/hpcc-rootfs/examples/tar2sqfs/convert.rs"]
mod convert;

use choice::{Choice, plain};

/// Returns the tree of the image that an archive becomes, or why it becomes none.
fn unpacked(archive: &[u8], choice: Choice) -> Result<Tree, String> {
    let directory = TempDir::new().unwrap();
    let image = directory.path().join("image.sqsh");
    let file = File::create(&image).unwrap();
    let options = sqfs_writer::Options::default();
    convert::convert(archive, file, &options, choice).map_err(|error| convert::chain(&*error))?;
    Ok(unsquashfs::extract(&image).unwrap())
}

fn all(archive: &[u8]) -> Tree {
    unpacked(archive, Choice::default()).unwrap()
}

fn refused(archive: &[u8], choice: Choice) -> String {
    unpacked(archive, choice).unwrap_err()
}

/// Returns what a command writes.
fn output(command: &str, directory: &Path) -> Vec<u8> {
    let mut shell = Command::new("sh");
    let output = shell
        .args(["-c", command])
        .current_dir(directory)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {message}");
    output.stdout
}

/// Returns an archive of entries: type, name, target or contents.
fn archive(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, text) in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(1000);
        header.set_gid(100);
        match kind {
            EntryType::Link | EntryType::Symlink => {
                builder.append_link(&mut header, name, text).unwrap();
            }
            _ => {
                header.set_size(u64::try_from(text.len()).unwrap());
                builder
                    .append_data(&mut header, name, text.as_bytes())
                    .unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

const FILE: EntryType = EntryType::Regular;
const LINK: EntryType = EntryType::Link;
const DIRECTORY: EntryType = EntryType::Directory;

#[test]
fn sparse_archives_of_others_keep_name_and_contents() {
    // libarchive/libarchive#2125, landley/toybox#469, plougher/squashfs-tools#401
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut file = File::create(at("vm.raw")).unwrap();
    for (offset, text) in [(123_456, "mid"), (699_990, "end")] {
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
    file.set_len(700_000).unwrap();
    fs::write(at("small"), [&b"\x01\x02"[..], &[0; 4096]].concat()).unwrap();
    for command in [
        "bsdtar -cf - vm.raw small",
        "tar -S --format=gnu -cf - vm.raw small",
        "tar -S --format=posix --sparse-version=0.0 -cf - vm.raw small",
        "tar -S --format=posix --sparse-version=0.1 -cf - vm.raw small",
        "tar -S --format=posix --sparse-version=1.0 -cf - vm.raw small | gzip -c",
    ] {
        let tree = all(&output(command, directory.path()));
        for name in ["vm.raw", "small"] {
            let found = fs::read(tree.root().join(name)).unwrap();
            assert!(found == fs::read(at(name)).unwrap(), "{command}: {name}");
        }
        assert_eq!(fs::read_dir(tree.root()).unwrap().count(), 2, "{command}");
    }
}

#[test]
fn archive_of_git_has_no_member_for_its_header() {
    // AgentD/squashfs-tools-ng#45
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("f"), "f").unwrap();
    let git = "git -c user.name=n -c user.email=n@n -c commit.gpgsign=false";
    let make = format!("{git} init -q; {git} add f; {git} commit -qm m; git archive HEAD");
    let tree = all(&output(&make, directory.path()));
    let names: Vec<_> = fs::read_dir(tree.root())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["f"]);
}

#[test]
fn hard_links_before_their_targets_are_made() {
    let parts = archive(&[
        (LINK, "b", "a"),
        (LINK, "c", "b"),
        (LINK, "gone", "a"),
        (FILE, "gone", "new"),
        (FILE, "a", "text"),
    ]);
    let tree = all(&parts);
    let inode = |name: &str| fs::metadata(tree.root().join(name)).unwrap().ino();
    assert_eq!((inode("a"), inode("a")), (inode("b"), inode("c")));
    assert_eq!(fs::read_to_string(tree.root().join("gone")).unwrap(), "new");
    let message = refused(&archive(&[(LINK, "b", "nowhere")]), Choice::default());
    assert!(
        message.contains("\"b\"") && message.contains("\"nowhere\""),
        "{message}"
    );
}

#[test]
fn hard_link_to_a_symlink_shares_it() {
    // dragonflyoss/nydus#2006
    let tree = all(&archive(&[
        (EntryType::Symlink, "s", "t"),
        (LINK, "n", "s"),
    ]));
    assert_eq!(
        fs::read_link(tree.root().join("n")).unwrap(),
        Path::new("t")
    );
}

#[test]
fn members_that_cannot_be_added_are_named() {
    let below = archive(&[(FILE, "f", "1"), (FILE, "f/below", "2")]);
    let message = refused(&below, Choice::default());
    assert!(message.contains("\"f/below\""), "{message}");
    let mut cut = archive(&[(FILE, "whole", "1"), (FILE, "cut", &"2".repeat(600))]);
    cut.truncate(2 * 512 + 512 + 100);
    let message = refused(&cut, Choice::default());
    assert!(message.contains("\"cut\""), "{message}");
}

#[test]
fn options_choose_members_and_owners() {
    let parts = archive(&[
        (DIRECTORY, "rootfs/", ""),
        (FILE, "rootfs/etc/hosts", "h"),
        (LINK, "rootfs/etc/again", "rootfs/etc/hosts"),
        (FILE, "rootfs/var/log/big", "b"),
        (FILE, "rootfs-not/x", "x"),
        (FILE, "metadata.yaml", "m"),
    ]);
    // AgentD/squashfs-tools-ng#70: however the directory is spelled
    for root in ["rootfs", "./rootfs/", "/rootfs"] {
        let choice = Choice {
            root: plain(root),
            exclude: vec![plain("rootfs/var/log")],
            uid: Some(0),
            ..Choice::default()
        };
        let tree = unpacked(&parts, choice).unwrap();
        let list = output("find . | LC_ALL=C sort", &tree.root());
        let list = String::from_utf8(list).unwrap();
        let names: Vec<_> = list.lines().collect();
        assert_eq!(names, [".", "./etc", "./etc/again", "./etc/hosts"]);
        let hosts = fs::metadata(tree.root().join("etc/hosts")).unwrap();
        assert_eq!((hosts.uid(), hosts.gid(), hosts.nlink()), (0, 100, 2));
        let root = fs::metadata(tree.root()).unwrap();
        assert_eq!(root.permissions().mode() & 0o7777, 0o755);
    }
    let choice = Choice {
        exclude: vec![plain("rootfs/etc/hosts")],
        ..Choice::default()
    };
    let message = refused(&parts, choice);
    assert!(message.contains("\"rootfs/etc/again\""), "{message}");
}

#[test]
fn attributes_are_kept_to_the_byte_and_chosen_by_prefix() {
    // composefs/tar-rs#428, dragonflyoss/nydus#2022: a value with a line feed
    let capability = [&b"\x01\0\0\x02\0\x0A"[..], &[0; 14]].concat();
    let mut builder = Builder::new(Vec::new());
    let records = [
        ("SCHILY.xattr.security.capability", &capability[..]),
        ("SCHILY.xattr.user.k", b"v\n12 path=bad\n"),
    ];
    builder.append_pax_extensions(records).unwrap();
    let mut header = Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(1);
    builder.append_data(&mut header, "ping", &b"p"[..]).unwrap();
    let parts = builder.into_inner().unwrap();
    let attributes = |choice| {
        let tree = unpacked(&parts, choice).unwrap();
        ["security.capability", "user.k"].map(|name| {
            let mut value = [0; 64];
            let path = tree.root().join("ping");
            let length = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
            Some(value[..length].to_vec())
        })
    };
    let value = b"v\n12 path=bad\n".to_vec();
    let both = [Some(capability.clone()), Some(value)];
    assert_eq!(attributes(Choice::default()), both);
    let security = Choice {
        xattrs: vec!["security.".into()],
        ..Choice::default()
    };
    assert_eq!(attributes(security), [Some(capability), None]);
    let none = Choice {
        no_xattrs: true,
        ..Choice::default()
    };
    assert_eq!(attributes(none), [None, None]);
}
