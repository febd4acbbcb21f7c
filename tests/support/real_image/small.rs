//! The small image.

use std::ffi::OsStr;
use std::fs::{self, FileTimes, Permissions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, makedev, mknodat};

use super::base;
use super::bundle::Bundle;
use crate::Result;
use crate::command::run;
use crate::image::{Entry, Layer};

/// `cap_net_raw=ep` as the kernel stores it: VFS_CAP_REVISION_2 and the effective flag, then
/// permitted and inheritable, low and high words (linux/capability.h).
const CAP_NET_RAW: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

pub(super) fn build(work: &Path) -> Result<()> {
    let bundle = Bundle::new(work)?;
    bundle.unpack()?;
    let root = bundle.root();
    run(Command::new("tar")
        .args([
            "--extract",
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
        ])
        .args(["--exclude=./usr/share/doc/*", "--exclude=./usr/share/man/*"])
        .args([
            "--exclude=./usr/share/locale/*",
            "--exclude=./usr/share/zoneinfo/*",
        ])
        .arg("--directory")
        .arg(&root)
        .arg("--file")
        .arg(base::tar()?))?;
    bundle.repack()?;
    change(&root)?;
    bundle.repack()?;
    let tar = work.join("layer.tar");
    fs::write(&tar, by_hand().tar())?;
    bundle.add_layer(&tar)?;
    fs::remove_file(tar)?;
    bundle.finish("/usr/bin/dash")
}

/// The second layer: additions that are easily lost, removals, and types that change.
fn change(root: &Path) -> Result<()> {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("opt/app/bin"))?;
    for (name, from, mode, uid, gid) in [
        ("ping", "usr/bin/true", 0o755, 0, 0),
        ("as-root", "usr/bin/id", 0o4755, 0, 0),
        ("as-group", "usr/bin/id", 0o2755, 0, 50),
        ("private", "usr/bin/env", 0o700, 1000, 1000),
        ("far-away", "usr/bin/env", 0o755, 3_000_000, 4_000_000),
        ("nobody-may", "etc/passwd", 0o000, 65_534, 65_534),
    ] {
        let path = at("opt/app/bin").join(name);
        fs::copy(at(from), &path)?;
        chown(&path, Some(uid), Some(gid))?;
        // After chown, which clears setuid and setgid.
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    let set = |name: &str, key, value| lsetxattr(at(name), key, value, XattrFlags::empty());
    set("opt/app/bin/ping", "security.capability", CAP_NET_RAW)?;
    set("opt/app/bin/private", "user.note", b"binary \0\xff\n=")?;
    set("opt/app/bin", "user.on-a-directory", b"yes")?;
    set("opt/app/bin/ping", "trusted.note", b"root alone sees this")?;

    for (name, mode) in [("opt/app/drop", 0o1777), ("opt/app/team", 0o2770)] {
        fs::create_dir(at(name))?;
        fs::set_permissions(at(name), Permissions::from_mode(mode))?;
    }
    odd_names(root)?;
    contents(root)?;
    symlink("../bin/ping", at("opt/app/drop/link"))?;
    lchown(at("opt/app/drop/link"), Some(1000), Some(1000))?;
    symlink("/nowhere/at all", at("opt/app/dangling"))?;
    for (name, kind, mode, device) in [
        ("opt/app/pipe", FileType::Fifo, 0o620, 0),
        (
            "opt/app/disk",
            FileType::BlockDevice,
            0o660,
            makedev(259, 70_000),
        ),
        (
            "opt/app/zero",
            FileType::CharacterDevice,
            0o666,
            makedev(1, 5),
        ),
    ] {
        mknodat(CWD, at(name), kind, Mode::empty(), device)?;
        // Independent of the umask of the user that runs the tests.
        fs::set_permissions(at(name), Permissions::from_mode(mode))?;
    }
    for name in [
        "opt/app/bin/second",
        "opt/app/third",
        "usr/local/bin/fourth",
    ] {
        fs::hard_link(at("opt/app/bin/as-root"), at(name))?;
    }

    fs::remove_file(at("etc/motd"))?;
    fs::remove_dir_all(at("usr/share/bug"))?;
    // A directory becomes a symlink to where its files went, the reverse, and a file a directory.
    fs::rename(at("usr/share/perl5"), at("usr/lib/perl5-moved"))?;
    symlink("../lib/perl5-moved", at("usr/share/perl5"))?;
    fs::remove_dir(at("srv"))?;
    symlink("var/local", at("srv"))?;
    fs::remove_file(at("var/lock"))?;
    fs::create_dir(at("var/lock"))?;
    fs::write(at("var/lock/held"), "1\n")?;
    fs::remove_file(at("etc/issue"))?;
    fs::create_dir(at("etc/issue"))?;
    fs::set_permissions(at("etc/issue"), Permissions::from_mode(0o755))?;
    fs::write(at("etc/issue/text"), "no longer a file\n")?;
    Ok(())
}

fn odd_names(root: &Path) -> Result<()> {
    let directory = root.join("opt/app/names");
    fs::create_dir(&directory)?;
    let long = "n".repeat(255);
    for name in [
        b" leading space",
        &b"new\nline"[..],
        b"\xff\xfe not utf-8",
        b"a=b;c\\d",
    ] {
        fs::write(directory.join(OsStr::from_bytes(name)), name)?;
    }
    fs::write(directory.join(&long), "255 bytes of name\n")?;
    symlink("t".repeat(300), directory.join("long-target"))?;
    let deep = directory.join("deep/".repeat(60));
    fs::create_dir_all(&deep)?;
    fs::write(deep.join("file"), "at the end of a long path\n")?;
    Ok(())
}

/// Sizes around a block, bytes that do not compress, a hole, and times far from now.
fn contents(root: &Path) -> Result<()> {
    let directory = root.join("opt/app/data");
    fs::create_dir(&directory)?;
    let block = 131_072;
    for size in [0, 1, block - 1, block, block + 1, 5 * block + 7] {
        fs::write(directory.join(format!("random-{size}")), noise(size))?;
    }
    fs::write(directory.join("zeros"), vec![0; 3 * block])?;
    let mut sparse = fs::File::create(directory.join("sparse"))?;
    sparse.write_all(b"start")?;
    sparse.seek(SeekFrom::Start(1 << 22))?;
    sparse.write_all(b"end")?;
    for (name, seconds) in [("epoch", 0), ("old", 1), ("after-2038", 4_000_000_000)] {
        let file = fs::File::create(directory.join(name))?;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        file.set_times(FileTimes::new().set_modified(time))?;
    }
    Ok(())
}

/// Bytes that no codec shrinks, the same each time (xorshift64).
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Returns the third layer: what no difference of two trees leads to.
fn by_hand() -> Layer {
    Layer::new()
        // Hard links to names of the first and of the second layer.
        .hardlink("usr/local/bin/linked-id", "usr/bin/id")
        .hardlink("opt/app/bin/linked-ping", "opt/app/bin/ping")
        // A name with a surviving hard link in an older layer is replaced: the others keep theirs.
        .entry(Entry::file("opt/app/third", "new content\n").mode(0o600))
        // A symlink gets a second name.
        .hardlink("opt/app/dangling-too", "opt/app/dangling")
        // Whiteouts of a directory, of a file, of a name below a symlinked parent, of nothing.
        .whiteout("opt/app/team")
        .whiteout("opt/app/bin/far-away")
        .whiteout("lib/perl5-moved/Debconf")
        .whiteout("opt/app/never-was")
        // Opaque, the marker after one of the new names and before another.
        .entry(Entry::dir("opt/app/names").mode(0o750))
        .file("opt/app/names/new-1", "1\n")
        .opaque("opt/app/names")
        .file("opt/app/names/new-2", "2\n")
        // A file over a directory, a directory over a symlink, children below a symlink.
        .file("var/lock", "a file again\n")
        .entry(Entry::dir("srv").mode(0o711))
        .file("srv/index", "served\n")
        .file("lib/below-a-symlink", "in usr/lib\n")
        // Parents that no entry describes.
        .file("opt/implied/parent/file", "x\n")
        // The same path twice: the last one stands.
        .file("opt/twice", "first\n")
        .entry(
            Entry::file("opt/twice", "second, longer\n")
                .mode(0o640)
                .owner(1, 2),
        )
}
