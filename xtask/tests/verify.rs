//! That `verify` passes an image that is right, and bites when anything is not.
//!
//! The images are made by mksquashfs of a small tree, and each case gives the guest another image than the listing
//! says. Root is needed, for device nodes and owners.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, makedev, mknodat};
use tempfile::TempDir;
use tree_listing::Listing;
use xtask::verify::{Failure, Verified, VerifyOptions, verify};

/// What `/!data` holds, over and over: bytes that appear nowhere else in an image.
const PHRASE: &[u8; 32] = b"the quick brown fox and the dog\n";

#[test]
fn an_image_that_is_right_passes() {
    let tree = Tree::new();
    let expected = tree.listing();
    let image = tree.pack("all,=.sqsh", &[]);

    let verified = check(&image, &expected).unwrap();

    assert_eq!(
        verified.report.listing.entries.len(),
        expected.entries.len()
    );
    assert_eq!(
        verified.report.evidence["command-line"][..test_support::contract::BOOT.len()],
        *test_support::contract::BOOT.as_bytes()
    );
    assert!(verified.log.contains("Linux version"), "{}", verified.log);
}

#[test]
fn a_changed_tree_fails_and_says_where() {
    let tree = Tree::new();
    let expected = tree.listing();
    fs::set_permissions(tree.path("usr/bin/sudo"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut data = PHRASE.repeat(8192);
    data[100_000] ^= 1;
    write_at(&tree.path("!data"), &data, 7);
    fs::remove_file(tree.path("usr/share/doc")).unwrap();
    touch(&tree.path("usr/share"), 5);
    let image = tree.pack("changed.sqsh", &[]);

    let failure = failure(&image, &expected);

    let (data, others) = failure.reasons.split_first().unwrap();
    assert!(data.starts_with("/!data: sha256 "), "{failure}");
    assert_eq!(
        others,
        [
            "/usr/bin/sudo: mode 4755 expected, 0755 found",
            "/usr/bin/sudoedit: mode 4755 expected, 0755 found",
            "/usr/share/doc: entry symlink expected, nothing found",
            "/var/lib/third: mode 4755 expected, 0755 found",
        ]
    );
    assert!(
        failure.log.contains("Linux version"),
        "the kernel's log is part of the failure"
    );
}

#[test]
fn one_flipped_byte_in_an_image_fails() {
    let tree = Tree::new();
    let expected = tree.listing();
    // Without compression the kernel has no way to see it, so the probe has to.
    let image = tree.pack("flipped.sqsh", &["-noD", "-noF"]);
    let mut bytes = fs::read(&image).unwrap();
    let position = bytes
        .windows(PHRASE.len())
        .position(|window| window == PHRASE)
        .unwrap();
    bytes[position + 11] ^= 0x20;
    fs::write(&image, bytes).unwrap();

    let failure = failure(&image, &expected);

    assert_eq!(failure.reasons.len(), 1, "{failure}");
    assert!(
        failure.reasons[0].starts_with("/!data: sha256 "),
        "{failure}"
    );
}

#[test]
fn block_that_does_not_decompress_fails_with_the_kernels_words() {
    let tree = Tree::new();
    let expected = tree.listing();
    let image = tree.pack("broken.sqsh", &["-noI", "-no-fragments"]);
    let mut bytes = fs::read(&image).unwrap();
    // mksquashfs goes by names, so `/!data` is the first: right after the superblock of 96 bytes.
    bytes[96..128].fill(0xff);
    fs::write(&image, bytes).unwrap();

    let failure = failure(&image, &expected);

    let reasons = failure.reasons.join("\n");
    assert!(
        reasons.contains("the kernel says: ") && reasons.contains("SQUASHFS error"),
        "{failure}"
    );
    assert!(reasons.contains("the guest left no report"), "{failure}");
    assert!(
        reasons.contains("the guest says: hpcc-probe: walk the root: "),
        "{failure}"
    );
}

#[test]
fn an_image_that_does_not_boot_fails_with_the_reason() {
    let tree = Tree::new();
    let expected = tree.listing();
    fs::remove_file(tree.path(".hpcc/agent")).unwrap();
    let failure = failure(&tree.pack("agentless.sqsh", &[]), &expected);
    let reasons = failure.reasons.join("\n");
    assert!(
        reasons.contains("the guest says: hpcc-init: run /.hpcc/agent: No such file"),
        "{failure}"
    );

    let garbage = tree.directory.path().join("garbage");
    fs::write(&garbage, [0x5a; 8192]).unwrap();
    let failure = self::failure(&garbage, &expected);
    let reasons = failure.reasons.join("\n");
    assert!(
        reasons.contains("the guest says: hpcc-init: mount /dev/vda as squashfs: "),
        "{failure}"
    );
}

#[test]
fn a_guest_that_takes_too_long_is_killed() {
    let tree = Tree::new();
    let image = tree.pack("slow.sqsh", &[]);
    // No kernel gets that far in this time.
    let options = VerifyOptions {
        timeout: Duration::from_millis(300),
        ..VerifyOptions::default()
    };

    let error = verify(&image, &tree.listing(), &options).unwrap_err();

    let failure = error.downcast_ref::<Failure>().unwrap();
    assert_eq!(
        failure.reasons[0],
        "the guest was killed: it had not finished within 0.3 s"
    );
    assert_eq!(machines_with(&image), 0);
}

#[test]
fn guest_dies_with_the_process_that_started_it() {
    let tree = Tree::new();
    let image = tree.pack("orphan.sqsh", &[]);
    let listing = tree.directory.path().join("listing");
    fs::write(&listing, tree.listing().to_text()).unwrap();
    // Built before, so that what is waited for below is the machine.
    xtask::guest::build().unwrap();
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask
        .arg("verify")
        .arg(&image)
        .arg("--against")
        .arg(&listing)
        .stderr(Stdio::null())
        .stdout(Stdio::null());
    let mut xtask = xtask.spawn().unwrap();
    let started = wait_until(|| machines_with(&image) > 0);
    xtask.kill().unwrap();
    xtask.wait().unwrap();

    assert!(started);
    assert!(
        wait_until(|| machines_with(&image) == 0),
        "QEMU outlived its parent"
    );
}

/// A tree with one of everything, and the probe as its agent.
struct Tree {
    directory: TempDir,
}

impl Tree {
    fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make device nodes and files of other owners: run them as root"
        );
        let tree = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        for directory in [
            ".hpcc",
            "dev",
            "proc",
            "run",
            "sys",
            "tmp",
            "usr/bin",
            "usr/share",
            "var/lib",
        ] {
            fs::create_dir_all(tree.path(directory)).unwrap();
        }
        fs::copy(
            xtask::guest::build().unwrap().probe,
            tree.path(".hpcc/agent"),
        )
        .unwrap();
        fs::set_permissions(tree.path("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        write_at(&tree.path("!data"), &PHRASE.repeat(8192), 7);
        fs::write(tree.path("usr/bin/sudo"), "#!/bin/sh\n").unwrap();
        chown(tree.path("usr/bin/sudo"), Some(7), Some(70_000)).unwrap();
        fs::set_permissions(
            tree.path("usr/bin/sudo"),
            fs::Permissions::from_mode(0o4755),
        )
        .unwrap();
        fs::hard_link(tree.path("usr/bin/sudo"), tree.path("usr/bin/sudoedit")).unwrap();
        fs::hard_link(tree.path("usr/bin/sudo"), tree.path("var/lib/third")).unwrap();
        fs::write(tree.path("var/lib/cap"), "capable").unwrap();
        let capability = [
            1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        lsetxattr(
            tree.path("var/lib/cap"),
            "security.capability",
            &capability,
            XattrFlags::empty(),
        )
        .unwrap();
        lsetxattr(
            tree.path("usr/share"),
            "user.note",
            b"on a directory",
            XattrFlags::empty(),
        )
        .unwrap();
        symlink("../nowhere", tree.path("usr/share/doc")).unwrap();
        touch(&tree.path("usr/share"), 5);
        fs::write(
            tree.path("var/lib")
                .join(std::ffi::OsStr::from_bytes(b"not\xff \nutf8")),
            "",
        )
        .unwrap();
        let mode = Mode::from_raw_mode(0o640);
        mknodat(
            CWD,
            tree.path("dev/char"),
            FileType::CharacterDevice,
            mode,
            makedev(10, 200),
        )
        .unwrap();
        mknodat(
            CWD,
            tree.path("dev/block"),
            FileType::BlockDevice,
            mode,
            makedev(259, 5),
        )
        .unwrap();
        mknodat(CWD, tree.path("run/pipe"), FileType::Fifo, mode, 0).unwrap();
        mknodat(CWD, tree.path("run/socket"), FileType::Socket, mode, 0).unwrap();
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join("tree").join(path)
    }

    fn listing(&self) -> Listing {
        Listing::walk(&self.path("")).unwrap()
    }

    /// Returns an image of the tree as it is now.
    fn pack(&self, name: &str, options: &[&str]) -> PathBuf {
        let image = self.directory.path().join(name);
        let mut mksquashfs = Command::new("mksquashfs");
        mksquashfs
            .arg(self.path(""))
            .arg(&image)
            .args(["-noappend", "-no-progress", "-quiet"])
            .args(options);
        assert!(mksquashfs.stdout(Stdio::null()).status().unwrap().success());
        image
    }
}

fn check(image: &Path, expected: &Listing) -> anyhow::Result<Verified> {
    verify(
        image,
        expected,
        &VerifyOptions {
            timeout: Duration::from_secs(120),
            ..VerifyOptions::default()
        },
    )
}

fn failure(image: &Path, expected: &Listing) -> Failure {
    check(image, expected).unwrap_err().downcast().unwrap()
}

fn write_at(path: &Path, content: &[u8], seconds: u64) {
    fs::write(path, content).unwrap();
    touch(path, seconds);
}

fn touch(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// Returns how many processes other than our own have this image among their arguments as a disk.
fn machines_with(image: &Path) -> usize {
    let needle = [b"file=", image.as_os_str().as_bytes()].concat();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let command_lines =
        processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    command_lines
        .filter(|line| line.windows(needle.len()).any(|window| window == needle))
        .count()
}

fn wait_until(condition: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        if condition() {
            return true;
        }
        sleep(Duration::from_millis(20));
    }
    false
}
