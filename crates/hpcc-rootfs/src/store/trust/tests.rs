use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};

use super::*;

/// A user that owns nothing.
const STRANGER: u32 = 4242;

fn me() -> Trust {
    Trust::new(&StoreOptions::default())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Returns the refusal, if there is one.
fn refused(outcome: Result<bool, Fault>) -> Option<Untrusted> {
    match outcome {
        Ok(_) => None,
        Err(Fault::Untrusted(untrusted)) => Some(untrusted),
        Err(Fault::Io(error)) => panic!("{error}"),
    }
}

/// Returns a trust for which `path`, created by this user, belongs to a stranger.
fn estranged(path: &Path) -> Trust {
    match me() {
        // Root trusts itself under any name, so the file has to change its owner.
        Trust::Owner(0) => {
            chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
            me()
        }
        Trust::Owner(user) | Trust::Shared(user) => Trust::Owner(user + 1),
        Trust::Everyone => unreachable!("not by default"),
    }
}

#[test]
fn directory_that_others_can_write_to_is_refused() {
    let outer = tempfile::tempdir().unwrap();
    let store = outer.path().join("store");
    fs::create_dir(&store).unwrap();
    for (bits, trusted) in [
        (0o700, true),
        (0o755, true),
        (0o750, true),
        (0o2755, true),
        (0o1755, true),
        (0o770, false),
        (0o720, false),
        (0o775, false),
        (0o702, false),
        (0o777, false),
        (0o2775, false),
        // Others can add files to it, which are not trusted, and cannot replace any.
        (0o1777, true),
        (0o1775, true),
    ] {
        set_mode(&store, bits);
        let refused = refused(me().directory(&store));
        assert_eq!(refused.is_none(), trusted, "{bits:o}: {refused:?}");
        if let Some(untrusted) = refused {
            let says = untrusted.to_string();
            assert_eq!(untrusted.path, store);
            for part in [
                &*format!("mode {:o}", bits & 0o1777),
                "chmod go-w",
                "StoreOptions::trusted",
            ] {
                assert!(says.contains(part), "{says}");
            }
        }
        assert!(Trust::Everyone.directory(&store).unwrap());
    }
}

#[test]
fn parent_that_others_can_write_to_is_refused_unless_sticky() {
    let outer = tempfile::tempdir().unwrap();
    let parent = outer.path().join("parent");
    let store = parent.join("between/store");
    fs::create_dir_all(&store).unwrap();
    let metadata = fs::metadata(&parent).unwrap();
    let private = metadata.uid() == metadata.gid();
    for (bits, trusted) in [
        (0o755, true),
        (0o711, true),
        (0o1777, true),
        (0o1775, true),
        (0o775, private),
        (0o777, false),
        (0o757, false),
        (0o703, false),
    ] {
        set_mode(&parent, bits);
        let refused = refused(me().directory(&store));
        assert_eq!(refused.is_none(), trusted, "{bits:o}: {refused:?}");
        assert!(refused.is_none_or(|untrusted| untrusted.path == parent));
        // A missing store is not created in such a place either.
        let made = me().make_directory(&parent.join("new"));
        assert_eq!(made.is_ok(), trusted, "{bits:o}: {made:?}");
        let _ = fs::remove_dir(parent.join("new"));
    }
}

/// Sets an access control list as `setfacl` writes it (`linux/posix_acl_xattr.h`): tag, permissions and user of each entry.
fn set_list(path: &Path, entries: &[(u16, u16, u32)]) -> Result<(), Errno> {
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, user) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(user.to_le_bytes());
    }
    let (name, flags) = ("system.posix_acl_access", rustix::fs::XattrFlags::empty());
    rustix::fs::lsetxattr(path, name, &list, flags)
}

/// The user's own group may write, and the list lets a stranger do so by the same bits of the mode.
#[test]
fn parent_whose_access_list_names_others_is_refused() {
    const NONE: u32 = u32::MAX;
    let outer = tempfile::tempdir().unwrap();
    let parent = outer.path().join("parent");
    let store = parent.join("store");
    fs::create_dir_all(&store).unwrap();
    let metadata = fs::metadata(&parent).unwrap();
    let private = metadata.uid() == metadata.gid() && !matches!(me(), Trust::Shared(_));
    set_mode(&parent, 0o775);
    assert_eq!(refused(me().directory(&store)).is_none(), private);
    let user_group_mask_other = [
        (0x01, 7, NONE),
        (0x02, 7, STRANGER),
        (0x04, 5, NONE),
        (0x10, 7, NONE),
        (0x20, 5, NONE),
    ];
    set_list(&parent, &user_group_mask_other).unwrap();
    assert_eq!(mode(&parent), 0o775);
    let untrusted = refused(me().directory(&store)).unwrap();
    assert_eq!(untrusted.path, parent);
    // As the error advises: the mask takes the stranger's right.
    set_mode(&parent, 0o755);
    assert!(refused(me().directory(&store)).is_none());
}

#[test]
fn directory_of_another_user_is_refused() {
    let outer = tempfile::tempdir().unwrap();
    let store = outer.path().join("store");
    fs::create_dir(&store).unwrap();
    let trust = estranged(&store);
    let untrusted = refused(trust.directory(&store)).unwrap();
    let says = untrusted.to_string();
    assert!(
        says.contains(&format!("user {} owns it", untrusted.owner)),
        "{says}"
    );
    assert!(Trust::Everyone.directory(&store).unwrap());
}

#[test]
fn symlink_is_followed_to_a_directory_that_is_checked() {
    let outer = tempfile::tempdir().unwrap();
    let at = |name: &str| outer.path().join(name);
    fs::create_dir_all(at("real/store")).unwrap();
    fs::create_dir(at("links")).unwrap();
    symlink("../real", at("links/relative")).unwrap();
    symlink(at("links/relative/store"), at("links/absolute")).unwrap();
    symlink("loop", at("links/loop")).unwrap();
    assert!(me().directory(&at("links/absolute")).unwrap());
    assert!(me().directory(&at("links/../real/store")).unwrap());
    assert!(matches!(
        me().directory(&at("links/loop")),
        Err(Fault::Io(_))
    ));
    symlink("nowhere", at("links/dangling")).unwrap();
    assert!(!me().directory(&at("links/dangling")).unwrap());

    set_mode(&at("real/store"), 0o777);
    let untrusted = refused(me().directory(&at("links/absolute"))).unwrap();
    assert_eq!(untrusted.path.file_name(), Some("store".as_ref()));
    set_mode(&at("real/store"), 0o755);
    set_mode(&at("links"), 0o777);
    let untrusted = refused(me().directory(&at("links/absolute"))).unwrap();
    assert_eq!(untrusted.path, at("links"));
    set_mode(&at("links"), 0o1777);
    assert!(me().directory(&at("links/absolute")).unwrap());
    // In a sticky directory, another user's symlink may lead elsewhere at any moment.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(at("links/absolute"), Some(STRANGER), None).unwrap();
        let untrusted = refused(me().directory(&at("links/absolute"))).unwrap();
        assert_eq!(untrusted.path, at("links/absolute"));
    }
}

#[test]
fn made_directories_are_for_this_user_alone() {
    let outer = tempfile::tempdir().unwrap();
    let at = |name: &str| outer.path().join(name);
    fs::create_dir(at("a")).unwrap();
    set_mode(&at("a"), 0o2755);
    assert!(!me().directory(&at("a/b/c")).unwrap());
    me().make_directory(&at("a/b/c")).unwrap();
    assert_eq!(mode(&at("a")), 0o2755);
    assert_eq!((mode(&at("a/b")), mode(&at("a/b/c"))), (0o700, 0o700));
    assert!(me().directory(&at("a/b/c")).unwrap());
    fs::write(at("file"), b"").unwrap();
    let error = me().make_directory(&at("file/store")).unwrap_err();
    assert!(matches!(error, Fault::Io(_)), "{error}");
}

#[test]
fn file_that_others_own_or_can_write_to_is_refused() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("file");
    fs::write(&path, b"").unwrap();
    let file = File::open(&path).unwrap();
    for (bits, trusted) in [
        (0o644, true),
        (0o600, true),
        (0o444, true),
        (0o755, true),
        (0o664, false),
        (0o646, false),
        (0o602, false),
        (0o666, false),
    ] {
        set_mode(&path, bits);
        for outcome in [me().file(&file, &path), me().named(&path)] {
            assert_eq!(outcome.is_ok(), trusted, "{bits:o}: {outcome:?}");
        }
    }
    Trust::Everyone.file(&file, &path).unwrap();
    set_mode(&path, 0o644);
    let trust = estranged(&path);
    for outcome in [trust.file(&file, &path), trust.named(&path)] {
        let says = outcome.unwrap_err().to_string();
        assert!(says.contains("owns it (mode 644)"), "{says}");
    }
}
