//! The words before the first colon that say how an image is stored, and what is said of those that
//! other tools know and this one does not.

use std::path::PathBuf;

use crate::digest::Algorithm;
use crate::error::Error;
use crate::printable;
use crate::source::kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Oci,
    OciArchive,
    DockerArchive,
    Dir,
    Tar,
    /// Storage that only its owner's program reads.
    Store(&'static str),
    /// A word that people write for one of those above.
    Unknown(&'static str),
}

/// Words that are not the names of images on Docker Hub, and lead nowhere.
const UNKNOWN: [&str; 22] = [
    "oci-layout",
    "oci-layout-dir",
    "oci-dir",
    "oci-tar",
    "oci-image",
    "ocidir",
    "ociarchive",
    "oci_archive",
    "docker-tar",
    "docker-tarball",
    "docker-save",
    "dockerarchive",
    "docker_archive",
    "docker-dir",
    "layout",
    "tarball",
    "archive",
    "file",
    "path",
    "directory",
    "rootfs",
    "image-archive",
];

const STORES: [&str; 6] = [
    "containers-storage",
    "docker-daemon",
    "podman",
    "containerd",
    "ostree",
    "sif",
];

/// The transport of `text` and what follows its colon, if there is one.
pub(crate) fn of(text: &str) -> Option<(Transport, &str)> {
    let (word, rest) = text.split_once(':')?;
    let transport = match word {
        "oci" => Transport::Oci,
        "oci-archive" => Transport::OciArchive,
        "docker-archive" => Transport::DockerArchive,
        "dir" => Transport::Dir,
        "tar" => Transport::Tar,
        word => {
            let store = STORES.iter().find(|known| **known == word);
            let unknown = UNKNOWN.iter().find(|known| **known == word);
            match (store, unknown) {
                (Some(store), _) => Transport::Store(store),
                (None, Some(unknown)) => Transport::Unknown(unknown),
                (None, None) => return None,
            }
        }
    };
    Some((transport, rest))
}

/// Whether a text without a transport is a path and never an image reference.
pub(crate) fn is_path(text: &str) -> bool {
    text.starts_with(['/', '.', '~']) || text == "-"
}

impl Transport {
    fn word(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
            Self::Dir => "dir",
            Self::Tar => "tar",
            Self::Store(word) | Self::Unknown(word) => word,
        }
    }

    /// Returns the path that `rest` names, and the tag after it.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] if it names none, with what to write instead.
    pub(crate) fn place(self, rest: &str) -> Result<(PathBuf, Option<String>), Error> {
        let word = self.word();
        let shown = printable::redacted(rest);
        if let Self::Store(_) = self {
            return Err(Error::Usage(in_store(word, &shown)));
        }
        if let Some(path) = rest.strip_prefix("//") {
            return Err(self.not_a_url(path));
        }
        if let Self::Unknown(_) = self {
            return Err(unknown(word, rest));
        }
        // As a part of the path or tag it would be a digest that is not checked.
        if let Some((_, pin)) = rest.rsplit_once('@')
            && let Some((algorithm, _)) = pin.split_once(':')
            && algorithm.parse::<Algorithm>().is_ok()
        {
            return Err(Error::Usage(format!(
                "the {word}: source ends in @{pin}, but takes no digest; name it with Request::parse"
            )));
        }
        // As skopeo has it: the first colon ends the path.
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) if !matches!(self, Self::Dir | Self::Tar) => {
                (path, Some(tag.to_owned()).filter(|tag| !tag.is_empty()))
            }
            _ => (rest, None),
        };
        if path.is_empty() {
            let text = format!("{word}:{shown}");
            return Err(Error::Usage(match self {
                Self::Oci => format!("{text:?} names no directory; write oci:DIR:TAG"),
                Self::Dir => format!("{text:?} names no directory; write dir:DIR"),
                Self::Tar => format!("{text:?} names no file; write tar:FILE"),
                _ => format!("{text:?} names no file; write {word}:FILE:TAG"),
            }));
        }
        Ok((PathBuf::from(path), tag))
    }

    /// Returns the error for a transport followed by `//`.
    fn not_a_url(self, path: &str) -> Error {
        let word = self.word();
        let shown = printable::redacted(path);
        if let Self::Unknown(_) = self {
            return unknown(word, path);
        }
        let registry = match self {
            Self::Oci => "; for a registry write docker://HOST/NAME:TAG",
            _ => "",
        };
        Error::Usage(format!(
            "{word}://{shown} is written like a URL, but a path follows the colon; write \
             {word}:{shown}{registry}"
        ))
    }
}

/// The error for a word that is no transport.
fn unknown(word: &str, path: &str) -> Error {
    let path = PathBuf::from(path);
    let advice = match kind::of(&path) {
        Some(found) => found.advice(&path),
        // A tag may follow the path.
        None => format!("write {}", kind::LOCAL),
    };
    Error::Usage(format!("{word}: is not a transport; {advice}"))
}

/// The message for images in the storage of another program.
fn in_store(word: &str, name: &str) -> String {
    let name = name.trim_start_matches('/');
    let pipe = match word {
        "docker-daemon" => {
            format!("pipe the image: `docker save {name} | ... docker-archive:-`")
        }
        "containers-storage" | "podman" => {
            format!("pipe the image: `podman save --format oci-archive {name} | ... oci-archive:-`")
        }
        "containerd" => format!("pipe the image: `ctr image export - {name} | ... oci-archive:-`"),
        _ => {
            format!("copy the image to a registry or with `skopeo copy {word}:{name} oci:DIR:TAG`")
        }
    };
    format!("{word}: is not supported, because only its own program can read that storage; {pipe}")
}
