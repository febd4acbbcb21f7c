//! A directory or file that is not trusted because other users can change it.

use std::path::PathBuf;

use ociget::printable;

/// A directory or file of the store that other users own or can write to, and that is therefore not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error(
    "{}: {}, but only {} may be able to change {}; {}, or trust the store as it is with --trust-store",
    printable::path(.path), fault(*.owner, *.user, *.mode), trusted(*.user), .kind.role(), .kind.remedy(*.owner, *.user)
)]
pub struct Untrusted {
    /// The directory or file.
    pub path: PathBuf,
    /// The user that owns it.
    pub owner: u32,
    /// Its permission bits, with the sticky bit.
    pub mode: u32,
    /// The user that this process acts for.
    pub user: u32,
    pub(crate) kind: Kind,
}

/// The role that a path has for the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    /// A directory on the way to the store.
    Parent,
    /// A symlink on the way to the store.
    Link,
    File,
}

impl Kind {
    fn role(self) -> &'static str {
        match self {
            Self::Directory => "the directory of a store",
            Self::Parent => "a directory above the store",
            Self::Link => "a symlink that leads to the store",
            Self::File => "a file of the store",
        }
    }

    fn remedy(self, owner: u32, user: u32) -> String {
        let repair = match owner == user || owner == 0 {
            true => "run chmod go-w".to_owned(),
            false => format!("run chown {user} and chmod go-w"),
        };
        match self {
            Self::Directory => format!(
                "choose another directory, or remove the files of other users and {repair} on it"
            ),
            Self::Parent => format!("choose another directory, or {repair} on this one"),
            Self::Link => "choose another directory".to_owned(),
            Self::File => "pull the image again, or remove the file".to_owned(),
        }
    }
}

fn fault(owner: u32, user: u32, mode: u32) -> String {
    if owner == user || owner == 0 {
        format!("users other than its owner can write to it (mode {mode:o})")
    } else {
        format!("user {owner} owns it (mode {mode:o})")
    }
}

fn trusted(user: u32) -> String {
    if user == 0 {
        "root".to_owned()
    } else {
        format!("user {user} and root")
    }
}
