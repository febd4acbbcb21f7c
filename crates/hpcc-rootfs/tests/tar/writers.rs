//! Archives that GNU tar, bsdtar and Python write of one tree.

use std::ffi::OsStr;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use crate::listing::{as_gnu_tar_says, gnu_tar, ours, python};

/// What packs `$1` into `$2`.
const WRITERS: &[(&str, &str)] = &[
    ("GNU tar, gnu", "tar -C $1 --format=gnu -cf $2 ."),
    ("GNU tar, gnu, sparse", "tar -C $1 --format=gnu -S -cf $2 ."),
    ("GNU tar, pax", "tar -C $1 --format=pax -cf $2 ."),
    (
        "GNU tar, pax, sparse 0.0",
        "tar -C $1 --format=pax -S --sparse-version=0.0 -cf $2 .",
    ),
    (
        "GNU tar, pax, sparse 0.1",
        "tar -C $1 --format=pax -S --sparse-version=0.1 -cf $2 .",
    ),
    (
        "GNU tar, pax, sparse 1.0",
        "tar -C $1 --format=pax -S --sparse-version=1.0 -cf $2 .",
    ),
    (
        "GNU tar, pax, xattrs",
        "tar -C $1 --format=pax --xattrs -cf $2 .",
    ),
    (
        "GNU tar, ustar",
        "tar -C $1 --format=ustar --exclude=long* -cf $2 .",
    ),
    (
        "GNU tar, v7",
        "tar -C $1 --format=v7 --exclude=long* --exclude=fifo -cf $2 .",
    ),
    (
        "bsdtar, pax",
        "bsdtar -C $1 --format=pax --no-read-sparse -cf $2 .",
    ),
    (
        "bsdtar, pax, sparse",
        "bsdtar -C $1 --format=pax --read-sparse -cf $2 .",
    ),
    ("bsdtar, gnutar", "bsdtar -C $1 --format=gnutar -cf $2 ."),
    (
        "bsdtar, ustar",
        "bsdtar -C $1 --format=ustar --exclude=./long* -cf $2 .",
    ),
    (
        "Python, pax",
        "python3 -c 'import sys,tarfile; t = tarfile.open(sys.argv[2], \"w\", format=tarfile.PAX_FORMAT); t.add(sys.argv[1], \".\"); t.close()' $1 $2",
    ),
    (
        "Python, gnu",
        "python3 -c 'import sys,tarfile; t = tarfile.open(sys.argv[2], \"w\", format=tarfile.GNU_FORMAT); t.add(sys.argv[1], \".\"); t.close()' $1 $2",
    ),
];

fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("dir/sub")).unwrap();
    fs::write(root.join("dir/empty"), b"").unwrap();
    fs::write(root.join("dir/file"), vec![b'x'; 10_000]).unwrap();
    fs::hard_link(root.join("dir/file"), root.join("dir/sub/again")).unwrap();
    std::os::unix::fs::symlink("../file", root.join("dir/sub/link")).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"caf\xE9")), b"latin").unwrap();
    fs::write(root.join("new\nline"), b"n").unwrap();
    let long = format!("long{}", "g".repeat(200));
    fs::create_dir(root.join(&long)).unwrap();
    fs::write(root.join(&long).join(&long), b"far down").unwrap();
    let target = Path::new(&long).join(&long);
    std::os::unix::fs::symlink(&target, root.join("longlink")).unwrap();
    fs::hard_link(root.join(&target), root.join("longhard")).unwrap();
    let mut sparse = fs::File::create(root.join("sparse")).unwrap();
    for i in 0..40 {
        sparse.seek(SeekFrom::Start(i * 131_072 + 65_536)).unwrap();
        sparse
            .write_all(&[b'0' + u8::try_from(i).unwrap(); 4096])
            .unwrap();
    }
    sparse.set_len(6_000_000).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(root.join("fifo"))
            .status()
            .unwrap()
            .success()
    );
    let file = root.join("dir/file");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(file, "user.test", b"a\nb=c\n\n5 x=y\n", flags).unwrap();
}

#[test]
fn foreign_archives_list_as_python_and_gnu_tar_list_them() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    make_tree(&root);
    let archives: Vec<_> = (0..WRITERS.len())
        .map(|n| directory.path().join(format!("{n}.tar")))
        .collect();
    for ((writer, command), archive) in WRITERS.iter().zip(&archives) {
        let mut pack = Command::new("sh");
        pack.args(["-c", command, "sh"]).arg(&root).arg(archive);
        let output = pack.output().expect("there is no shell");
        assert!(
            output.status.success(),
            "{writer}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    for (((writer, _), archive), python) in WRITERS.iter().zip(&archives).zip(python(&archives)) {
        let (ours, holes) = ours(&fs::read(archive).unwrap()).unwrap();
        let gnu_tar = gnu_tar(archive).unwrap();
        assert_eq!(as_gnu_tar_says(&ours), gnu_tar, "{writer}");
        assert_eq!(ours, python.unwrap(), "{writer}");
        assert!(ours.lines().count() >= 10, "{writer}");
        assert_eq!(
            holes > 5_000_000,
            writer.contains("sparse"),
            "{writer}: {holes} bytes of holes"
        );
    }
}
