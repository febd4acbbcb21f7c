//! Listings of real directories.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tree_listing::{Bounds, Kind, Listing};

fn entry<'a>(listing: &'a Listing, path: &str) -> &'a tree_listing::Entry {
    &listing.entries[path.as_bytes()]
}

#[test]
fn a_directory_is_listed_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/z"), "hello\n").unwrap();
    fs::hard_link(root.join("a/z"), root.join("a/b/y")).unwrap();
    fs::hard_link(root.join("a/z"), root.join("x")).unwrap();
    fs::set_permissions(root.join("x"), fs::Permissions::from_mode(0o4711)).unwrap();
    symlink("/nowhere/at all", root.join("a/link")).unwrap();
    mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::from(0o600), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("sock")).unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff\n")), "").unwrap();
    let big = vec![7; 3000];
    lsetxattr(root.join("x"), "user.big", &big, XattrFlags::empty()).unwrap();
    lsetxattr(root.join("x"), "user.empty", b"", XattrFlags::empty()).unwrap();

    let listing = Listing::walk(root).unwrap();

    assert_eq!(listing.entries.len(), 10);
    let file = entry(&listing, "/x");
    assert_eq!((file.mode, file.size, file.links), (0o4711, 6, 3));
    for path in ["/x", "/a/z", "/a/b/y"] {
        assert_eq!(
            entry(&listing, path).shared.as_deref(),
            Some(b"/a/b/y".as_slice()),
            "{path}"
        );
        assert_eq!(entry(&listing, path).kind, file.kind);
    }
    assert_eq!(file.xattrs[b"user.big".as_slice()], big);
    assert_eq!(file.xattrs[b"user.empty".as_slice()], b"");
    let Kind::File { sha256 } = &file.kind else {
        panic!("{:?}", file.kind)
    };
    assert_eq!(sha256[..4], [0x58, 0x91, 0xb5, 0xb5], "sha256sum of hello");
    assert_eq!(
        entry(&listing, "/a/link").kind,
        Kind::Symlink {
            target: b"/nowhere/at all".to_vec()
        }
    );
    assert_eq!(entry(&listing, "/pipe").kind, Kind::Fifo);
    assert_eq!(entry(&listing, "/sock").kind, Kind::Socket);
    assert_eq!(entry(&listing, "/").kind, Kind::Directory);
    assert!(listing.entries.contains_key(b"/\xff\n".as_slice()));
    assert_eq!(Listing::parse(&listing.to_text()).unwrap(), listing);
}

#[test]
fn mounts_in_the_tree_are_not_entered() {
    if !rustix::process::geteuid().is_root() {
        assert!(
            std::env::var_os("CI").is_none(),
            "only root can mount, and CI is root"
        );
        eprintln!("SKIPPED: only root can mount a file system within the tree");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mount_point = dir.path().join("mnt");
    fs::create_dir(&mount_point).unwrap();
    mount("tmpfs", &mount_point, "tmpfs", MountFlags::empty(), None).unwrap();
    fs::write(mount_point.join("inside"), "").unwrap();

    let listing = Listing::walk(dir.path());
    unmount(&mount_point, UnmountFlags::DETACH).unwrap();

    let paths: Vec<_> = listing.unwrap().entries.into_keys().collect();
    assert_eq!(paths, [b"/".to_vec(), b"/mnt".to_vec()]);
}

#[test]
fn an_unreadable_root_is_an_error_that_says_so() {
    let error = Listing::walk(Path::new("/nowhere/at/all")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nowhere/at/all: resolve: No such file"),
        "{error}"
    );
}

#[test]
fn walk_within_bounds_stops_at_the_first_entry_too_many() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(dir.path().join(name), "content").unwrap();
    }
    let bounds = |entries| Bounds {
        entries,
        ..Bounds::default()
    };
    let all = Listing::walk_within(dir.path(), &bounds(4)).unwrap();
    assert_eq!(all, Listing::walk(dir.path()).unwrap());
    let error = Listing::walk_within(dir.path(), &bounds(3)).unwrap_err();
    assert!(error.to_string().contains("more than 3 entries"), "{error}");
    let sampled = Bounds {
        whole: 6,
        ..Bounds::default()
    };
    let sampled = Listing::walk_within(dir.path(), &sampled).unwrap();
    assert_ne!(sampled, all);
}
