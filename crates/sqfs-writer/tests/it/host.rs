//! Directories of the host: what becomes of every kind of entry, and what is refused.

use std::ffi::OsStr;
use std::fs;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};
use sqfs_writer::{Error, ImageWriter, Metadata, Summary};
use tempfile::TempDir;

use crate::expected::{CODEC, noise, options};
use crate::reader::{Content, Image, read};

type Writer = ImageWriter<Cursor<Vec<u8>>>;

fn writer() -> Writer {
    ImageWriter::new(Cursor::new(Vec::new()), &options(4096, CODEC, 1)).unwrap()
}

fn finish(image: Writer) -> (Image, Summary) {
    let (sink, summary) = image.finish().unwrap();
    (read(&sink.into_inner()), summary)
}

fn image_of(directory: &Path) -> Image {
    let mut image = writer();
    image.directory_from("", directory).unwrap();
    finish(image).0
}

/// Paths in the image.
fn paths(image: &Image) -> Vec<String> {
    let paths = image.entries.keys();
    paths.map(|path| path.escape_ascii().to_string()).collect()
}

fn content(image: &Image, path: &str) -> Content {
    image.entries[path.as_bytes()].content.clone()
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn directory_arrives_with_metadata_links_and_attributes() {
    let source = directory();
    let root = source.path();
    fs::create_dir(root.join("d")).unwrap();
    fs::write(root.join("d/file"), noise(10_000, 1)).unwrap();
    fs::hard_link(root.join("d/file"), root.join("a link")).unwrap();
    fs::set_permissions(root.join("d/file"), fs::Permissions::from_mode(0o4750)).unwrap();
    symlink("../nowhere", root.join("d/symlink")).unwrap();
    mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::from(0o600), 0).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"\xff\n")), "").unwrap();
    lsetxattr(root.join("d"), "user.name", b"\0value", XattrFlags::empty()).unwrap();

    let image = image_of(root);
    drop(socket);

    let expected = [
        "",
        "/\\xff\\n",
        "/a link",
        "/d",
        "/d/file",
        "/d/symlink",
        "/pipe",
        "/socket",
    ];
    let mut found = paths(&image);
    found.sort();
    assert_eq!(found, expected);
    let file = &image.entries[&b"/d/file"[..]];
    let host = fs::metadata(root.join("d/file")).unwrap();
    assert_eq!((file.mode, file.nlink), (0o4750, 2));
    assert_eq!((file.uid, file.gid), (host.uid(), host.gid()));
    assert_eq!(i64::from(file.mtime), host.mtime());
    assert_eq!(file.content, Content::File(noise(10_000, 1)));
    assert_eq!(file.first_path, b"/a link");
    assert_eq!(
        content(&image, "/d/symlink"),
        Content::Symlink(b"../nowhere".to_vec())
    );
    assert_eq!(content(&image, "/pipe"), Content::Fifo);
    assert_eq!(content(&image, "/socket"), Content::Socket);
    let xattrs = &image.entries[&b"/d"[..]].xattrs;
    assert_eq!(xattrs[&b"user.name"[..]], b"\0value");
}

#[test]
fn equal_directories_give_equal_images() {
    let images = [["a", "b", "c"], ["c", "a", "b"]].map(|names| {
        let source = directory();
        for name in names {
            fs::write(source.path().join(name), noise(5000, name.len() as u64)).unwrap();
        }
        let mut image = writer();
        let timeless = |_: &Path, metadata: &mut Metadata| {
            metadata.mtime = 0;
            true
        };
        image
            .directory_from_with("", source.path(), timeless)
            .unwrap();
        image.finish().unwrap().0.into_inner()
    });
    assert_eq!(images[0], images[1]);
}

#[test]
fn only_the_directory_itself_may_be_a_symlink() {
    let (source, outside) = (directory(), directory());
    fs::write(outside.path().join("secret"), "outside").unwrap();
    fs::create_dir(source.path().join("real")).unwrap();
    symlink(outside.path(), source.path().join("real/out")).unwrap();
    symlink("real", source.path().join("way")).unwrap();

    let image = image_of(&source.path().join("way"));

    assert_eq!(paths(&image), ["", "/out"]);
    assert!(matches!(content(&image, "/out"), Content::Symlink(_)));
}

#[test]
fn directories_merge_and_other_entries_are_replaced() {
    let source = directory();
    fs::create_dir(source.path().join("etc")).unwrap();
    fs::set_permissions(source.path().join("etc"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(source.path().join("etc/both"), "new").unwrap();
    fs::create_dir(source.path().join("var")).unwrap();
    let mut image = writer();
    for path in ["x/etc/both", "x/etc/old", "x/var"] {
        image.file(path, Metadata::new(0o600), &b"old"[..]).unwrap();
    }

    let node = image.directory_from("x", source.path()).unwrap();
    assert!(image.tree().get(node).unwrap().kind().is_directory());
    let (image, _) = finish(image);

    assert_eq!(
        content(&image, "/x/etc/both"),
        Content::File(b"new".to_vec())
    );
    assert_eq!(
        content(&image, "/x/etc/old"),
        Content::File(b"old".to_vec())
    );
    assert_eq!(content(&image, "/x/var"), Content::Directory);
    assert_eq!(image.entries[&b"/x/etc"[..]].mode, 0o700);
}

#[test]
fn caller_leaves_entries_out_and_changes_metadata() {
    let source = directory();
    let root = source.path();
    fs::create_dir_all(root.join("out/below")).unwrap();
    fs::create_dir(root.join("in")).unwrap();
    for name in ["in/first", "in/left"] {
        fs::write(root.join(name), name).unwrap();
    }
    fs::hard_link(root.join("in/first"), root.join("in/second")).unwrap();
    let mut seen = Vec::new();
    let mut image = writer();
    let choose = |path: &Path, metadata: &mut Metadata| {
        seen.push(path.to_str().unwrap().to_owned());
        (metadata.uid, metadata.gid) = (7, 8);
        !matches!(path.to_str(), Some("out" | "in/left" | ""))
    };
    image.directory_from_with("", root, choose).unwrap();
    let (image, _) = finish(image);

    assert_eq!(seen, ["", "in", "in/first", "in/left", "in/second", "out"]);
    assert_eq!(paths(&image), ["", "/in", "/in/first", "/in/second"]);
    let owners = image.entries.values().map(|entry| (entry.uid, entry.gid));
    assert!(owners.into_iter().all(|owner| owner == (7, 8)));
}

#[test]
fn sparse_file_becomes_holes() {
    let source = directory();
    let file = fs::File::create(source.path().join("sparse")).unwrap();
    file.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 500_000).unwrap();
    let mut image = writer();
    image.directory_from("", source.path()).unwrap();
    let (image, summary) = finish(image);
    assert_eq!(summary.hole_bytes, (1 << 20) - 4096);
    let Content::File(found) = content(&image, "/sparse") else {
        panic!("no file");
    };
    assert_eq!((found.len(), found[500_000]), (1 << 20, b'x'));
}

#[test]
fn directories_deeper_than_any_path_are_read() {
    let source = directory();
    let name = "a name of twenty chr";
    let mut at = rustix::fs::open(source.path(), rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..300 {
        rustix::fs::mkdirat(&at, name, Mode::from(0o755)).unwrap();
        at = rustix::fs::openat(&at, name, rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    }
    let image = image_of(source.path());
    assert_eq!(image.entries.len(), 301);
}

#[test]
fn file_that_is_longer_than_its_size_is_an_error() {
    let mut image = writer();
    // Its size is 0, and it has content.
    let only = |path: &Path, _: &mut Metadata| path == Path::new("version");
    let error = image
        .directory_from_with("", "/proc/sys/kernel", only)
        .unwrap_err();
    assert!(
        matches!(&error, Error::Changed { path, .. } if path == "/proc/sys/kernel/version"),
        "{error:?}"
    );
    // The writer goes on.
    image.file("f", Metadata::new(0o600), &b"f"[..]).unwrap();
    finish(image);
}

#[test]
fn entry_that_another_process_changes_is_an_error() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("it was removed", |root| {
            fs::remove_file(root.join("d/f")).unwrap();
        }),
        ("a directory below it was moved elsewhere", |root| {
            fs::rename(root.join("d"), root.join("elsewhere/d")).unwrap();
        }),
        ("its size or its times differ", |root| {
            fs::set_permissions(root.join("d/f"), fs::Permissions::from_mode(0o644)).unwrap();
        }),
        ("it has fewer bytes than its size", |root| {
            fs::write(root.join("d/f"), "short").unwrap();
        }),
    ];
    for (expected, change) in changes {
        let source = directory();
        let root = source.path();
        for name in ["d", "elsewhere"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        for name in ["d/a", "d/f"] {
            fs::write(root.join(name), noise(9000, 1)).unwrap();
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        // Between the looks at the entry and at its content.
        let when = match expected {
            "it was removed" | "a directory below it was moved elsewhere" => "d/a",
            _ => "d/f",
        };
        let choose = |path: &Path, _: &mut Metadata| {
            if path == Path::new(when) {
                change(root);
            }
            true
        };
        let result = writer().directory_from_with("", root, choose);
        assert!(
            matches!(&result, Err(Error::Changed { found, .. }) if *found == expected),
            "{expected}: {result:?}"
        );
    }
}

/// Walks a directory of `a`, `b` and `z`, where `a` and `z` are names of one file, and calls `change` at `b`.
fn walk_with_change_between_names(change: fn(&Path)) -> Result<Image, Error> {
    let source = directory();
    let root = source.path();
    for name in ["a", "b"] {
        fs::write(root.join(name), "text").unwrap();
    }
    fs::hard_link(root.join("a"), root.join("z")).unwrap();
    let choose = |path: &Path, _: &mut Metadata| {
        if path == Path::new("b") {
            // Longer than the clock of a file system takes for a step.
            std::thread::sleep(std::time::Duration::from_millis(30));
            change(root);
        }
        true
    };
    let mut image = writer();
    image.directory_from_with("", root, choose)?;
    Ok(finish(image).0)
}

/// A name more or less counts as a change, because it moves the status time (restic/restic#2495).
#[test]
fn inode_that_changed_between_two_names_is_an_error() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 3] = [
        ("rewritten", |root| {
            fs::write(root.join("z"), "TEXT").unwrap();
        }),
        ("a name more", |root| {
            fs::hard_link(root.join("a"), root.join("more")).unwrap();
        }),
        ("a name less", |root| {
            fs::remove_file(root.join("a")).unwrap();
        }),
    ];
    for (case, change) in changes {
        let result = walk_with_change_between_names(change);
        let expected = "its size or its times differ";
        assert!(
            matches!(&result, Err(Error::Changed { path, found }) if path.ends_with("/z") && *found == expected),
            "{case}: {:?}",
            result.err()
        );
    }
    assert!(walk_with_change_between_names(|_| {}).is_ok());
}

/// A new file may get the number of a removed one (borgbackup/borg#1297, libarchive/libarchive#165).
#[test]
fn file_with_a_reused_inode_number_is_no_hard_link() {
    let result = walk_with_change_between_names(|root| {
        let number = |path: &Path| fs::metadata(path).unwrap().ino();
        let reused = number(&root.join("a"));
        for name in ["a", "z"] {
            fs::remove_file(root.join(name)).unwrap();
        }
        let made = |n| {
            let path = root.join(format!("new{n}"));
            fs::write(&path, "TEXT").unwrap();
            path
        };
        // Where no number is reused, the walk succeeds.
        let new: Vec<_> = (0..500).map(made).collect();
        let new = new
            .iter()
            .find(|path| number(path) == reused)
            .or(new.last());
        fs::rename(new.unwrap(), root.join("z")).unwrap();
    });
    match result {
        Ok(image) => assert_eq!(content(&image, "/z"), Content::File(b"TEXT".to_vec())),
        Err(error) => assert!(matches!(&error, Error::Changed { .. }), "{error:?}"),
    }
}

/// The walk opens an entry once. A name that leads elsewhere by then is of no interest.
#[test]
fn entry_replaced_after_opening_is_read_as_it_was() {
    let (source, outside) = (directory(), directory());
    let root = source.path();
    fs::write(outside.path().join("f"), "outside").unwrap();
    fs::create_dir(root.join("d")).unwrap();
    fs::write(root.join("d/f"), "inside").unwrap();
    let choose = |path: &Path, _: &mut Metadata| {
        if path == Path::new("d") {
            fs::rename(root.join("d"), root.join("z")).unwrap();
            symlink(outside.path(), root.join("d")).unwrap();
        }
        path != Path::new("z")
    };
    let mut image = writer();
    image.directory_from_with("", root, choose).unwrap();
    let (image, _) = finish(image);
    assert_eq!(content(&image, "/d/f"), Content::File(b"inside".to_vec()));
}

#[test]
fn host_errors_name_the_path_on_the_host() {
    let source = directory();
    fs::write(source.path().join("file"), "").unwrap();
    for (name, kind) in [
        ("file", std::io::ErrorKind::NotADirectory),
        ("missing\n", std::io::ErrorKind::NotFound),
    ] {
        let path = source.path().join(name);
        let error = writer().directory_from("", &path).unwrap_err();
        let shown = path.as_os_str().as_bytes().escape_ascii().to_string();
        assert!(
            matches!(&error, Error::Host { path, source, .. } if *path == shown && source.kind() == kind),
            "{error:?}"
        );
        assert_eq!(
            error.to_string(),
            format!("cannot open the directory {shown}")
        );
    }
}

#[test]
fn cancelled_walk_ends() {
    let source = directory();
    fs::create_dir(source.path().join("d")).unwrap();
    let mut image = writer();
    image.data().cancel_when(|| true);
    let result = image.directory_from("", source.path());
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
}
