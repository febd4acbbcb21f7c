use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;

use ociget::Digest;

use super::super::trust::Trust;
use super::*;

fn artifact(directory: &Path) -> Lease {
    let digest = Digest::of(b"x");
    let path = directory.join(name::artifact(&digest));
    std::fs::write(path, vec![7; 300_000]).unwrap();
    Lease::take(directory, &digest, Trust::Everyone)
        .unwrap()
        .unwrap()
}

#[test]
fn every_link_method_gives_the_same_read_only_bytes() {
    for &method in LinkMethod::ALL {
        let directory = tempfile::tempdir().unwrap();
        let lease = artifact(directory.path());
        let path = directory.path().join("root.sqsh");
        match link(&lease, &path, &[method]) {
            Ok(used) => assert_eq!(used, method),
            // Not every file system can share blocks.
            Err(error) if method == LinkMethod::Reflink => {
                assert!(!path.exists(), "{error}");
                assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 2);
                continue;
            }
            Err(error) => panic!("{method:?}: {error}"),
        }
        assert!(std::fs::read(&path).unwrap() == vec![7; 300_000]);
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o444, "{method:?}");
        let own = std::fs::metadata(lease.path()).unwrap();
        assert_eq!(found.ino() == own.ino(), method == LinkMethod::HardLink);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 3);
    }
}

#[test]
fn new_file_with_other_ends_is_no_artifact() {
    let directory = tempfile::tempdir().unwrap();
    let lease = artifact(directory.path());
    let path = directory.path().join("made");
    let made = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        check_ends(&lease, &File::open(&path).unwrap()).is_ok()
    };
    let mut bytes = vec![7; 300_000];
    assert!(made(&bytes));
    assert!(!made(b"") && !made(&bytes[1..]));
    bytes[299_999] = 0;
    assert!(!made(&bytes));
    (bytes[299_999], bytes[0]) = (7, 0);
    assert!(!made(&bytes));
}

#[test]
fn existing_file_is_refused_unless_it_is_the_artifact() {
    let directory = tempfile::tempdir().unwrap();
    let lease = artifact(directory.path());
    let path = directory.path().join("root.sqsh");
    for _ in 0..2 {
        assert_eq!(
            link(&lease, &path, LinkMethod::ALL).unwrap(),
            LinkMethod::HardLink
        );
    }
    let other = directory.path().join("other");
    std::fs::write(&other, "of another program").unwrap();
    for methods in [LinkMethod::ALL, LinkMethod::OWN_FILE] {
        let error = link(&lease, &other, methods).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
    assert_eq!(std::fs::read(&other).unwrap(), b"of another program");
    let nowhere = directory.path().join("none/root.sqsh");
    let error = link(&lease, &nowhere, LinkMethod::ALL).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn path_in_the_store_is_refused_except_the_own_name() {
    let directory = tempfile::tempdir().unwrap();
    let lease = artifact(directory.path());
    let own = lease.path();
    let jail = tempfile::tempdir().unwrap();
    let alias = jail.path().join("alias");
    std::os::unix::fs::symlink(directory.path(), &alias).unwrap();
    for refused in [directory.path().join("sha256-0.sqsh"), alias.join("x")] {
        let error = refuse_store(&refused, own).unwrap_err();
        assert!(error.to_string().contains("the directory of a store"));
    }
    refuse_store(own, own).unwrap();
    refuse_store(&jail.path().join("x"), own).unwrap();
    refuse_store(&jail.path().join("none/x"), own).unwrap();
}

/// A file system that lacks what FAT, FUSE and old kernels lack.
#[derive(Debug)]
struct Lacking {
    unnamed: Errno,
    renames: bool,
    links: bool,
}

impl Files for Lacking {
    fn open_unnamed(&self, _: &OwnedFd, _: Mode) -> Result<OwnedFd, Errno> {
        Err(self.unnamed)
    }

    fn lock(&self, _: &File) -> Result<(), Errno> {
        Err(Errno::NOLCK)
    }

    fn permit(&self, _: &File, _: Mode) -> Result<(), Errno> {
        Err(Errno::PERM)
    }

    fn rename_to_free(&self, at: &OwnedFd, from: &str, to: &OsStr) -> Result<(), Errno> {
        match self.renames {
            true => Kernel.rename_to_free(at, from, to),
            false => Err(Errno::INVAL),
        }
    }

    fn link_name(&self, at: &OwnedFd, from: &str, to: &OsStr) -> Result<(), Errno> {
        match self.links {
            true => Kernel.link_name(at, from, to),
            false => Err(Errno::PERM),
        }
    }
}

#[test]
fn copy_needs_no_more_than_files_and_names() {
    let unnamed = [Errno::OPNOTSUPP, Errno::ISDIR, Errno::NOENT, Errno::INVAL];
    let both = [false, true];
    let cases = unnamed.into_iter().flat_map(|errno| {
        both.map(|renames| both.map(|links| (errno, renames, links)))
            .into_iter()
            .flatten()
    });
    for (unnamed, renames, links) in cases {
        let files = Lacking {
            unnamed,
            renames,
            links,
        };
        let case = format!("{files:?}");
        let files: Arc<dyn Files> = Arc::new(files);
        let directory = tempfile::tempdir().unwrap();
        let lease = artifact(directory.path());
        let path = directory.path().join("root.sqsh");
        let link = |path| link_by(&lease, path, &[LinkMethod::Copy], &files);
        assert_eq!(link(&path).unwrap(), LinkMethod::Copy, "{case}");
        assert!(std::fs::read(&path).unwrap() == vec![7; 300_000], "{case}");
        let error = link(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{case}");
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 3, "{case}");
    }
}

#[test]
fn copy_of_a_killed_process_goes_with_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let jail = tempfile::tempdir().unwrap();
    let lease = artifact(directory.path());
    let at = |name: &str| jail.path().join(name);
    let [left, foreign, busy, other] =
        [".staged-1-0", ".staged-1-1", ".staged-1-2", ".staged-x"].map(at);
    for path in [&left, &foreign, &busy, &other] {
        std::fs::write(path, "").unwrap();
    }
    std::os::unix::fs::symlink("nowhere", at(".staged-1-3")).unwrap();
    let can_give = std::os::unix::fs::chown(&foreign, Some(12345), None).is_ok();
    let owner = File::open(&busy).unwrap();
    rustix::fs::flock(&owner, rustix::fs::FlockOperation::LockShared).unwrap();
    // Where files can be without a name, nothing is left, and nothing has to be looked for.
    let link_into = |name: &str, files: &Arc<dyn Files>| {
        link_by(&lease, &at(name), &[LinkMethod::Copy], files).unwrap()
    };
    let plain: Arc<dyn Files> = Arc::new(Kernel);
    link_into("one", &plain);
    assert!(left.exists());
    let named: Arc<dyn Files> = Arc::new(Named);
    link_into("two", &named);
    assert!(!left.exists() && busy.exists() && other.exists());
    assert!(foreign.exists() || !can_give);
    assert!(at(".staged-1-3").is_symlink());
}

/// A file system without `O_TMPFILE`.
#[derive(Debug)]
struct Named;

impl Files for Named {
    fn open_unnamed(&self, _: &OwnedFd, _: Mode) -> Result<OwnedFd, Errno> {
        Err(Errno::OPNOTSUPP)
    }
}

/// A kill between two system calls leaves what they have made.
#[test]
fn copy_without_a_name_gets_its_own_in_one_step() {
    #[derive(Debug)]
    struct Watched(std::sync::Mutex<Vec<String>>);

    impl Files for Watched {
        fn link(&self, file: &File, at: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
            self.0.lock().unwrap().push(name.to_str().unwrap().into());
            Kernel.link(file, at, name)
        }

        fn rename_to_free(&self, _: &OwnedFd, _: &str, _: &OsStr) -> Result<(), Errno> {
            panic!("it had another name before")
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let lease = artifact(directory.path());
    let watched = Arc::new(Watched(std::sync::Mutex::default()));
    let files: Arc<dyn Files> = Arc::<Watched>::clone(&watched);
    let path = directory.path().join("root.sqsh");
    link_by(&lease, &path, &[LinkMethod::Copy], &files).unwrap();
    let error = link_by(&lease, &path, &[LinkMethod::Copy], &files).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(*watched.0.lock().unwrap(), ["root.sqsh"; 2]);
}

#[test]
fn what_has_the_name_already_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let lease = artifact(directory.path());
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("directory")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("symlink")).unwrap();
    rustix::fs::mkfifoat(CWD, at("FIFO"), Mode::RWXU).unwrap();
    std::fs::write(at("file"), "").unwrap();
    for name in ["directory", "symlink", "FIFO", "file"] {
        for methods in [LinkMethod::ALL, LinkMethod::OWN_FILE] {
            let error = link(&lease, &at(name), methods).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            let said = error.to_string();
            assert!(
                said.starts_with(&format!("a {name} has this name")),
                "{said}"
            );
        }
    }
}

/// One lease may be copied twice at the same time, and a seek of one would move the other.
#[test]
fn copy_leaves_the_offset_of_the_lease() {
    let directory = tempfile::tempdir().unwrap();
    let lease = artifact(directory.path());
    let mut shared = File::from(lease.as_fd().try_clone_to_owned().unwrap());
    io::Seek::seek(&mut shared, io::SeekFrom::Start(7)).unwrap();
    let path = directory.path().join("root.sqsh");
    link(&lease, &path, &[LinkMethod::Copy]).unwrap();
    assert_eq!(io::Seek::stream_position(&mut shared).unwrap(), 7);
    assert!(std::fs::read(&path).unwrap() == vec![7; 300_000]);
}

#[test]
fn artifact_is_linked_by_its_name_without_proc() {
    let directory = tempfile::tempdir().unwrap();
    let lease = artifact(directory.path());
    let path = directory.path().join("root.sqsh");
    by_own_name(&lease, &path).unwrap();
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&path), inode(lease.path()));
    let other = directory.path().join("other.sqsh");
    std::fs::write(&other, "replaced").unwrap();
    std::fs::rename(&other, lease.path()).unwrap();
    assert!(by_own_name(&lease, &other).is_err());
    assert!(!other.exists());
}
