//! The kind of a file or directory, for messages about a path with the wrong transport.

use std::fs::File;
use std::path::Path;

use crate::error::Error;
use crate::open_archive;
use crate::printable;
use crate::regular_file;
use crate::source::by_offset::InFile;
use crate::source::tar_headers::Headers;

/// Headers that are looked at.
const MAX_HEADERS: usize = 65_536;

/// The transports that read from this machine, as a message lists them.
pub(crate) const LOCAL: &str =
    "oci:DIR, dir:DIR, oci-archive:FILE, docker-archive:FILE or tar:FILE";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A directory with `oci-layout`.
    Layout,
    /// A directory with `manifest.json` and blobs beside it.
    Directory,
    /// Another directory.
    OtherDirectory,
    /// A tar file with `oci-layout`.
    OciArchive,
    /// A tar file with `manifest.json`.
    DockerArchive,
    /// A tar file with `ID/layer.tar`, and without `manifest.json`.
    OldDockerArchive,
    /// Another tar file.
    Tar,
    /// A compressed file.
    Compressed,
    /// Another file.
    Other,
}

impl Kind {
    fn describe(self) -> &'static str {
        match self {
            Self::Layout => "an OCI image layout in a directory",
            Self::Directory => "a directory with an image, as skopeo and podman write it",
            Self::OtherDirectory => "a directory without an image",
            Self::OciArchive => "an OCI image layout in a tar file",
            Self::DockerArchive => "an image in a tar file, as docker save writes it",
            Self::OldDockerArchive => {
                "an archive of docker before 1.10, which has no manifest.json"
            }
            Self::Tar => "a tar file without an image, such as of a root file system",
            Self::Compressed => "a compressed file",
            Self::Other => "not a tar file",
        }
    }

    /// The transport that reads it.
    fn transport(self) -> Option<&'static str> {
        match self {
            Self::Layout => Some("oci"),
            Self::Directory => Some("dir"),
            Self::OciArchive => Some("oci-archive"),
            Self::DockerArchive => Some("docker-archive"),
            Self::Tar => Some("tar"),
            Self::OldDockerArchive | Self::OtherDirectory | Self::Compressed | Self::Other => None,
        }
    }

    /// Whether it is more likely to be meant than an image in a registry of the same name.
    pub(crate) fn is_image(self) -> bool {
        !matches!(self, Self::OtherDirectory | Self::Other)
    }

    /// Returns advice on what to write for `path`.
    pub(crate) fn advice(self, path: &Path) -> String {
        let path = printable::path(path);
        match (self, self.transport()) {
            (_, Some(transport)) => format!("write {transport}:{path}"),
            (Self::Compressed, None) => format!(
                "write docker-archive:{path}, oci-archive:{path} or tar:{path}, after what it holds"
            ),
            (Self::OldDockerArchive, None) => {
                "load it into a current docker and save it again".to_owned()
            }
            (Self::OtherDirectory, None) => format!(
                "write oci:{path} for an image layout; pack a root file system with tar and write \
                 tar:FILE or tar:-"
            ),
            (_, None) => format!("write {LOCAL}"),
        }
    }
}

/// The kind of what is at `path`; `None` if there is nothing, or nothing that may be opened.
pub(crate) fn of(path: &Path) -> Option<Kind> {
    if path.is_dir() {
        let has = |name: &str| path.join(name).symlink_metadata().is_ok();
        return Some(match (has("oci-layout"), has("manifest.json")) {
            (true, _) => Kind::Layout,
            (false, true) => Kind::Directory,
            (false, false) if has("index.json") && has("blobs") => Kind::Layout,
            (false, false) => Kind::OtherDirectory,
        });
    }
    let (file, _) = regular_file::open(path).ok()?;
    if open_archive::compressed_with(&file).ok()?.is_some() {
        return Some(Kind::Compressed);
    }
    Some(of_tar(&file))
}

/// The kind of a file that is not compressed.
pub(crate) fn of_tar(file: &File) -> Kind {
    let Ok(mut bytes) = InFile::new(file, || true) else {
        return Kind::Other;
    };
    let mut headers = Headers::new(MAX_HEADERS);
    let mut names = Vec::new();
    // An archive that is broken further on is still one.
    while let Ok(Some(found)) = headers.next(&mut bytes) {
        // Directories and devices count: a root file system has them.
        let name = found.name.unwrap_or_default();
        let top = name.split('/').next().unwrap_or_default();
        if matches!(name.as_str(), "oci-layout" | "manifest.json")
            || name.ends_with("/layer.tar")
            || is_of_root(top)
        {
            names.push(name);
            if names.len() > 64 {
                break;
            }
        } else if names.is_empty() {
            names.push(String::new());
        }
    }
    of_names(names.iter().map(String::as_str))
}

/// The kind of a tar file with members of these names.
pub(crate) fn of_names<'a>(names: impl Iterator<Item = &'a str>) -> Kind {
    let (mut layout, mut manifest, mut layers, mut any) = (false, false, false, false);
    for name in names {
        any = true;
        let top = name.split('/').next().unwrap_or_default();
        if is_of_root(top) {
            return Kind::Tar;
        }
        layout |= name == "oci-layout";
        manifest |= name == "manifest.json";
        layers |= name.ends_with("/layer.tar");
    }
    match (layout, manifest) {
        // Current tools write both into one archive.
        (_, true) => Kind::DockerArchive,
        (true, false) => Kind::OciArchive,
        (false, false) if layers => Kind::OldDockerArchive,
        (false, false) if any => Kind::Tar,
        (false, false) => Kind::Other,
    }
}

/// Whether a directory at the top is one of a root file system, and of no image archive.
fn is_of_root(top: &str) -> bool {
    matches!(
        top,
        "bin" | "etc" | "usr" | "lib" | "sbin" | "var" | "dev" | "proc" | "home" | "root" | "opt"
    )
}

/// The error for `path`, named under `transport`, that is something else.
pub(crate) fn mistaken(transport: &str, path: &Path, found: Option<Kind>) -> Error {
    let shown = printable::path(path);
    let Some(kind) = found else {
        return Error::Usage(format!(
            "{transport}:{shown} cannot be opened; write {LOCAL}"
        ));
    };
    let shown = match path == Path::new("-") {
        true => "standard input".to_owned(),
        false => shown.to_string(),
    };
    let what = kind.describe();
    if kind.transport() == Some(transport) {
        return Error::Usage(format!("{shown} is {what}, but lacks a part of it"));
    }
    let advice = kind.advice(path);
    Error::Usage(format!(
        "{transport}: cannot read {shown}: it is {what}; {advice}"
    ))
}

/// The error for a text that is no transport and an image reference only by accident, or not at all.
pub(crate) fn without_transport(text: &str, path: &Path, found: Option<Kind>) -> Error {
    let text = printable::redacted(text);
    Error::Usage(match found {
        Some(kind) => format!(
            "{text:?} names no transport: the path is {}; {}, or docker://REF for an image in a registry",
            kind.describe(),
            kind.advice(path)
        ),
        None => format!(
            "{text:?} is a path, not an image reference, and nothing that can be read is there; write {LOCAL}"
        ),
    })
}
