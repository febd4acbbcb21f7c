//! A directory or file that is not trusted because other users can change it.

use std::path::PathBuf;

use ociget::printable;

/// A directory or file of the store that other users own or can write to, and that is therefore not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error(
    "{}: {}, but only {} may be able to change {}; {}, or trust the store as it is with StoreOptions::trusted",
    printable::path(.path), self.fault(), trusted(*.user), .kind.role(), .kind.remedy(self.is_of_other(), *.owner, *.user)
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
    /// Whether another user with the same number in this user namespace owns it.
    pub(crate) is_namesake: bool,
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

    fn remedy(self, is_of_other: bool, owner: u32, user: u32) -> String {
        match self {
            // To give it to this user would take it from the service that fills it.
            Self::Directory | Self::Parent if is_of_other && user == 0 => format!(
                "run the command as that user, as with sudo -u '#{owner}', or choose another directory"
            ),
            Self::Directory | Self::Parent if is_of_other => {
                "choose another directory, or run the command as that user".to_owned()
            }
            Self::Directory => {
                "choose another directory, or remove the files of other users and run \
                                chmod go-w on it"
                    .to_owned()
            }
            Self::Parent => "choose another directory, or run chmod go-w on this one".to_owned(),
            Self::Link => "choose another directory".to_owned(),
            Self::File => "pull the image again, or remove the file".to_owned(),
        }
    }
}

impl Untrusted {
    /// Returns whether a user other than this one and root owns it.
    pub(crate) fn is_of_other(&self) -> bool {
        self.is_namesake || (self.owner != self.user && self.owner != 0)
    }

    fn fault(&self) -> String {
        let (owner, mode) = (self.owner, self.mode);
        if self.is_namesake {
            format!(
                "another user with the number {owner} in this user namespace owns it (mode {mode:o})"
            )
        } else if self.is_of_other() {
            format!("user {owner} owns it (mode {mode:o})")
        } else {
            format!("users other than its owner can write to it (mode {mode:o})")
        }
    }
}

fn trusted(user: u32) -> String {
    if user == 0 {
        "root".to_owned()
    } else {
        format!("user {user} and root")
    }
}
