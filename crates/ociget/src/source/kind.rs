//! The kind of a file or directory, for messages about a path with the wrong transport.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::Path;

use serde::de::IgnoredAny;

use crate::error::Error;
use crate::manifest::MAX_DOCUMENT;
use crate::open_archive;
use crate::printable;
use crate::regular_file;
use crate::source::by_offset::{ByOffset, InFile};
use crate::source::piece::Piece;
use crate::source::tar_headers::{Headers, Member};

/// Headers that are looked at.
const MAX_HEADERS: usize = 65_536;

/// The member that makes a tar file an image layout.
const LAYOUT: &str = "oci-layout";
/// The member that makes a tar file one of `docker save`.
const MANIFEST: &str = "manifest.json";
/// The member of a layout that lists its images.
const INDEX: &str = "index.json";

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
    /// A tar file with the `oci-layout` of an image layout.
    OciArchive,
    /// A tar file with a `manifest.json` that lists images.
    DockerArchive,
    /// A tar file with `ID/layer.tar` and `ID/VERSION`, and without `manifest.json`.
    OldDockerArchive,
    /// A tar file with the files of an image layout, without its `oci-layout`. It may be a root file system.
    Unmarked,
    /// A tar file with an image archive's members below a directory. It may be a root file system.
    BelowDirectory,
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
            Self::Unmarked => "an OCI image layout in a tar file",
            Self::BelowDirectory => "a tar file with the files of an image below a directory",
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
            Self::OciArchive | Self::Unmarked => Some("oci-archive"),
            Self::DockerArchive => Some("docker-archive"),
            Self::Tar => Some("tar"),
            Self::OldDockerArchive
            | Self::BelowDirectory
            | Self::OtherDirectory
            | Self::Compressed
            | Self::Other => None,
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
            (Self::BelowDirectory, None) => {
                "unpack it, and pack what is in that directory with tar -C DIR -cf FILE ."
                    .to_owned()
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
///
/// A root file system may have members of the names that image archives have. Their contents tell
/// them apart.
pub(crate) fn of_tar(file: &File) -> Kind {
    let Ok(mut bytes) = InFile::new(file, || true) else {
        return Kind::Other;
    };
    let mut headers = Headers::new(MAX_HEADERS);
    let mut signs = Signs::default();
    // An archive that is broken further on is still one.
    while let Ok(Some(found)) = headers.next(&mut bytes) {
        // Directories and devices count: a root file system has them.
        let mut name = found.name.unwrap_or_default();
        let document = below(&name).unwrap_or(&name);
        if matches!(document, LAYOUT | MANIFEST | INDEX) {
            let text = found.member.and_then(|member| text(&mut bytes, &member));
            if !text.is_some_and(|text| is_of_image(document, &text)) {
                name.clear();
            }
        }
        signs.see(&name);
        if signs.is_root {
            break;
        }
    }
    signs.kind()
}

/// The contents of a member that may be a document.
fn text(bytes: &mut dyn ByOffset, member: &Member) -> Option<Vec<u8>> {
    let Member::File(pieces) = member else {
        return None;
    };
    let lengths = pieces.iter().map(|piece| piece.length());
    if lengths.fold(0, u64::saturating_add) > MAX_DOCUMENT {
        return None;
    }
    let mut text = Vec::new();
    for piece in pieces.iter() {
        let from = text.len();
        text.resize(from + usize::try_from(piece.length()).ok()?, 0);
        if let Piece::Data { offset, .. } = *piece {
            bytes.read_exact_at(text.get_mut(from..)?, offset).ok()?;
        }
    }
    Some(text)
}

/// Whether `text` is what an image archive has under `name`.
fn is_of_image(name: &str, text: &[u8]) -> bool {
    type Object = HashMap<String, IgnoredAny>;
    let has = |object: &Object, key: &str| object.keys().any(|name| name.eq_ignore_ascii_case(key));
    match name {
        INDEX => crate::json::read::<Object>(text).is_ok_and(|index| has(&index, "manifests")),
        MANIFEST => crate::json::read::<Vec<Object>>(text)
            .is_ok_and(|images| images.iter().all(|image| has(image, "Config"))),
        _ => {
            crate::json::read::<Object>(text).is_ok_and(|layout| has(&layout, "imageLayoutVersion"))
        }
    }
}

/// The kind of a tar file with members of these names.
pub(crate) fn of_names<'a>(names: impl Iterator<Item = &'a str>) -> Kind {
    let mut signs = Signs::default();
    names.for_each(|name| signs.see(name));
    signs.kind()
}

/// The rest of a name below a directory at the top.
fn below(name: &str) -> Option<&str> {
    name.split_once('/').map(|(_, rest)| rest)
}

/// What the names of members show of an archive.
#[derive(Default)]
struct Signs {
    is_root: bool,
    layout: bool,
    manifest: bool,
    /// The files of a layout that some tools write without its marker (docker/buildx#1672).
    index: bool,
    blobs: bool,
    /// Whether a directory at the top holds a file of an image archive.
    is_below: bool,
    /// The first name at the top, and whether there is another.
    top: Option<String>,
    is_spread: bool,
    any: bool,
    /// Directories with a `layer.tar`, and those with a `VERSION`.
    layers: HashSet<String>,
    versions: HashSet<String>,
}

impl Signs {
    fn see(&mut self, name: &str) {
        self.any = true;
        let (top, rest) = name.split_once('/').unwrap_or((name, ""));
        self.is_root |= is_of_root(top);
        self.layout |= name == LAYOUT;
        self.manifest |= name == MANIFEST;
        self.index |= name == INDEX;
        self.blobs |= top == "blobs" && rest.starts_with("sha");
        self.is_below |= matches!(rest, LAYOUT | MANIFEST);
        if !top.is_empty() {
            let first = self.top.get_or_insert_with(|| top.to_owned());
            self.is_spread |= first != top;
        }
        let directories = match rest {
            "layer.tar" => &mut self.layers,
            "VERSION" => &mut self.versions,
            _ => return,
        };
        // They are called by a hash.
        if top.len() <= 64 {
            directories.insert(top.to_owned());
        }
    }

    fn kind(&self) -> Kind {
        match (self.layout, self.manifest) {
            _ if self.is_root => Kind::Tar,
            // Current tools write both into one archive.
            (_, true) => Kind::DockerArchive,
            (true, false) => Kind::OciArchive,
            _ if !self.layers.is_disjoint(&self.versions) => Kind::OldDockerArchive,
            _ if self.index && self.blobs => Kind::Unmarked,
            _ if self.is_below && !self.is_spread => Kind::BelowDirectory,
            _ if self.any => Kind::Tar,
            _ => Kind::Other,
        }
    }
}

/// Whether a directory at the top is one of a root file system, and of no image archive.
fn is_of_root(top: &str) -> bool {
    matches!(
        top,
        "bin" | "etc" | "usr" | "lib" | "sbin" | "var" | "dev" | "proc" | "home" | "root" | "opt"
    )
}

/// The error for a file of no bytes. It is not the fault of the command line: a program whose output is piped and that
/// failed writes nothing.
pub(crate) fn empty() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "it is empty, and a tar file has at least one block; the program that writes it may have failed",
    )
}

/// The error for `path`, named under `transport`, that is something else.
pub(crate) fn mistaken(transport: &str, path: &Path, found: Option<Kind>) -> Error {
    let shown = printable::path(path);
    let Some(kind) = found else {
        let reason = match path.metadata() {
            Err(error) => format!(": {error}"),
            Ok(_) => String::new(),
        };
        return Error::Usage(format!(
            "{transport}:{shown} cannot be opened{reason}; write {LOCAL}"
        ));
    };
    let shown = match path == Path::new("-") {
        true => "standard input".to_owned(),
        false => shown.to_string(),
    };
    let what = kind.describe();
    if kind.transport() == Some(transport) {
        return Error::Usage(match kind {
            Kind::Layout | Kind::OciArchive | Kind::Unmarked => format!(
                "{shown} is {what}, but lacks the file oci-layout; add it with the text \
                 {{\"imageLayoutVersion\":\"1.0.0\"}}, or check the program that wrote the layout"
            ),
            _ => format!("{shown} is {what}, but lacks a part of it"),
        });
    }
    // A file that is none of the kinds cannot be read under another transport either.
    let advice = match (kind, transport) {
        (Kind::Other, "oci" | "dir") => "name a directory".to_owned(),
        (Kind::Other, _) => "name a tar file, or check the program that wrote it".to_owned(),
        _ => kind.advice(path),
    };
    let what = match (kind, transport) {
        (Kind::Other, "oci" | "dir") => "not a directory",
        _ => what,
    };
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
            "{text:?} is a path, not an image reference, and no file that can be read has this name; write {LOCAL}"
        ),
    })
}
