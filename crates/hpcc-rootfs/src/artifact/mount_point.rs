//! A further directory or file of the image for a guest to mount over.

use std::fmt;
use std::str::FromStr;

/// Bytes of a name: the most that squashfs can hold.
const NAME_MAX: usize = 255;
/// Bytes of a path: the most that a kernel takes.
const PATH_MAX: usize = 4095;
/// Directories below which no mount point can be, because every guest mounts another file system over them.
const COVERED: [&str; 5] = ["proc", "sys", "dev", "tmp", "run"];
/// What follows the path of a file.
const FILE: &str = ":file";

/// An empty directory or file that is made where an image has none, so that a guest can mount over it.
///
/// It is part of an artifact's [`Key`](crate::Key). The five directories that every guest mounts over need no option.
///
/// ```
/// use hpcc_rootfs::{MountPoint, Options};
///
/// let mut options = Options::default();
/// options.image.mount_points = vec!["/etc/resolv.conf:file".parse()?, "/data".parse()?];
/// # Ok::<_, hpcc_rootfs::MountPointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MountPoint {
    /// Names joined by slashes, without a leading slash.
    path: String,
    file: bool,
}

/// An error for a text that names no mount point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot use {path:?} as a mount point: {problem}")]
pub struct MountPointError {
    path: String,
    problem: &'static str,
}

impl MountPoint {
    /// Returns the mount point at an absolute path: a directory, or with `file` a file.
    ///
    /// # Errors
    /// Returns [`MountPointError`] if the path is relative, holds `..` or a NUL byte, is too long, is the root, or leads
    /// into `/.hpcc` or below a directory that every guest mounts over.
    pub fn new(path: &str, file: bool) -> Result<Self, MountPointError> {
        let refused = |problem| MountPointError {
            path: path.to_owned(),
            problem,
        };
        if !path.starts_with('/') {
            return Err(refused(
                "it is not absolute, expected /PATH or /PATH:file, such as /data",
            ));
        }
        let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
        let names: Vec<_> = names.collect();
        let problem = match *names {
            [] => Some("it is the root"),
            [".hpcc", ..] => Some("the directory /.hpcc is reserved"),
            [first] if file && COVERED.contains(&first) => Some(
                "every guest mounts a file system over it, so it is a directory; leave :file out",
            ),
            [first, _, ..] if COVERED.contains(&first) => Some(
                "every guest mounts another file system over /proc, /sys, /dev, /tmp and /run, which hides it",
            ),
            _ if names.contains(&"..") => Some("it holds the name .., which depends on the image"),
            _ if path.contains('\0') => Some("it holds a NUL byte"),
            _ if path.len() > PATH_MAX || names.iter().any(|name| name.len() > NAME_MAX) => {
                Some("it is longer than a path can be")
            }
            _ => None,
        };
        match problem {
            Some(problem) => Err(refused(problem)),
            None => Ok(Self {
                path: names.join("/"),
                file,
            }),
        }
    }

    /// Returns the names of the path, from the root on.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.path.split('/')
    }

    /// Returns whether it is a file and not a directory.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.file
    }
}

/// The absolute path, with `:file` after that of a file, and with a slash after that of a directory whose own name holds
/// a colon. No two mount points have one text, because the text is part of the key.
impl fmt::Display for MountPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.file {
            true => FILE,
            false if has_colon(&self.path) => "/",
            false => "",
        };
        write!(f, "/{}{kind}", self.path)
    }
}

/// Returns whether the last name of a path holds a colon.
fn has_colon(path: &str) -> bool {
    path.rsplit('/')
        .next()
        .is_some_and(|name| name.contains(':'))
}

/// `PATH` or `PATH:file`; `PATH/` is a directory whose own name may hold a colon.
impl FromStr for MountPoint {
    type Err = MountPointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_suffix(FILE) {
            Some(path) => Self::new(path, true),
            None if has_colon(text) => Err(MountPointError {
                path: text.to_owned(),
                problem: "the word after the colon is not file, expected PATH or PATH:file; add a slash if the name \
                          of a directory holds the colon",
            }),
            None => Self::new(text, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_mount_points_have_one_text() {
        let names = [
            "x",
            "x:file",
            ":file",
            "x:file:file",
            "x:",
            "x:files",
            "file",
        ];
        let paths = names.iter().flat_map(|name| {
            let below = names.iter().map(move |last| format!("/{name}/{last}"));
            below.chain([format!("/{name}")])
        });
        let mut texts = std::collections::BTreeSet::new();
        for path in paths {
            for file in [false, true] {
                let point = MountPoint::new(&path, file).unwrap();
                let text = point.to_string();
                assert_eq!(text.parse(), Ok(point), "{text}");
                assert!(texts.insert(text.clone()), "{text}");
            }
        }
        for text in ["/x:file/", "/x:file/.", "/x:file//"] {
            assert!(!text.parse::<MountPoint>().unwrap().is_file(), "{text}");
        }
        assert!("/x:file".parse::<MountPoint>().unwrap().is_file());
    }

    #[test]
    fn mount_point_is_an_absolute_path_outside_of_hpcc() {
        for (text, shown) in [
            ("/data", "/data"),
            ("//a/./b/", "/a/b"),
            ("/etc/resolv.conf:file", "/etc/resolv.conf:file"),
            ("/a:b/", "/a:b/"),
            ("/a:b/c", "/a:b/c"),
            ("/a:b:file", "/a:b:file"),
            ("/x/.hpcc", "/x/.hpcc"),
            ("/proc", "/proc"),
            ("/x/run/y", "/x/run/y"),
        ] {
            assert_eq!(text.parse::<MountPoint>().unwrap().to_string(), shown);
        }
        let long = format!("/{}", "x".repeat(256));
        for (text, says) in [
            ("/etc/resolv.conf:ro", "expected PATH or PATH:file"),
            ("/data:", "expected PATH or PATH:file"),
            ("/x:files", "add a slash"),
            ("data", "not absolute"),
            ("", "not absolute"),
            (":file", "not absolute"),
            ("/", "the root"),
            ("/.:file", "the root"),
            ("/.hpcc", "reserved"),
            ("/proc/x", "hides it"),
            ("//run/./x:file", "hides it"),
            ("//./.hpcc/x:file", "reserved"),
            ("/proc:file", "leave :file out"),
            ("/./tmp/:file", "leave :file out"),
            ("/a/../.hpcc", ".."),
            ("/a\0", "NUL"),
            (&*long, "longer"),
        ] {
            let error = text.parse::<MountPoint>().unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }
}
