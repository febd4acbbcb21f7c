//! The text that names the place of an image.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::client::Client;
use crate::digest::Digest;
use crate::error::Error;
use crate::printable;
use crate::reference::{Reference, ReferenceError};
use crate::source::Source;
use crate::source::directory::DirectorySource;
use crate::source::docker_archive::DockerArchiveSource;
use crate::source::kind::{self, Kind};
use crate::source::layout::LayoutSource;
use crate::source::registry::RegistrySource;
use crate::source::tar::TarSource;
use crate::source::transport::{self, Transport};

/// The text by which a user names the place of an image, in skopeo's spelling.
///
/// | text | source |
/// |---|---|
/// | `alpine`, `docker://ghcr.io/a/b:c` | a registry |
/// | `oci:DIR`, `oci:DIR:TAG` | an OCI image layout in a directory |
/// | `oci-archive:FILE`, `oci-archive:FILE:TAG` | an OCI image layout in a tar file |
/// | `docker-archive:FILE`, `docker-archive:FILE:NAME:TAG` | what `docker save` writes |
/// | `dir:DIR` | what `skopeo copy … dir:DIR` writes |
/// | `tar:FILE` | a root file system in a tar file |
///
/// `@N` in place of a tag is the image with that number, from 0, in the list of the archive or layout.
/// A `FILE` of `-` is standard input, if [`Options::archives`](crate::Options::archives) can read that.
///
/// ```
/// use ociget::SourceSpec;
///
/// assert!(matches!("alpine:3".parse()?, SourceSpec::Registry(_)));
/// assert!(matches!("oci:/srv/images:v1".parse()?, SourceSpec::Layout { .. }));
/// # Ok::<(), ociget::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceSpec {
    /// An image in a registry.
    Registry(Reference),
    /// An OCI image layout.
    Layout {
        /// Its directory.
        dir: PathBuf,
        /// The name of one of its images. Optional if it holds one.
        tag: Option<String>,
    },
    /// An OCI image layout in a tar file.
    OciArchive {
        /// The file.
        file: PathBuf,
        /// The name of one of its images. Optional if it holds one.
        tag: Option<String>,
    },
    /// The output of `skopeo copy` in a directory.
    Directory {
        /// The directory.
        dir: PathBuf,
    },
    /// A root file system in a tar file.
    Tar {
        /// The file.
        file: PathBuf,
    },
    /// The output of `docker save`.
    DockerArchive {
        /// The file.
        file: PathBuf,
        /// One of its images, as `name:tag`. Optional if it holds one.
        tag: Option<String>,
    },
}

impl SourceSpec {
    /// Makes the source. Opens and requests nothing yet. A [`Request`](crate::Request) does the same with
    /// a digest that the caller expects.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] if the registry's name cannot be part of a URL.
    pub fn open(&self, client: &Client) -> Result<Box<dyn Source>, Error> {
        self.open_pinned(client, None)
    }

    /// Refuses a text without a transport that is the name of an image on this machine. Directories and
    /// files of other kinds are not in the way of a reference.
    pub(crate) fn check_is_no_file(text: &str) -> Result<(), Error> {
        Self::check_is_none_of(text, kind::of)
    }

    /// Does so for files whose kinds `of` returns.
    fn check_is_none_of(text: &str, of: impl Fn(&Path) -> Option<Kind>) -> Result<(), Error> {
        let path = Path::new(text);
        let has_transport = text.starts_with("docker://") || transport::of(text).is_some();
        if text.is_empty() || has_transport || printable::has_credentials(text) {
            return Ok(());
        }
        let meant = |kind: &Kind| kind.is_image() || text.parse::<Reference>().is_err();
        match of(path).filter(meant) {
            Some(kind) => Err(kind::without_transport(text, path, Some(kind))),
            None => Ok(()),
        }
    }

    /// Refuses a path that ends at the first colon, if a file exists whose name continues after it.
    pub(crate) fn check_path(&self) -> Result<(), Error> {
        let (Self::Layout { dir: path, tag }
        | Self::OciArchive { file: path, tag }
        | Self::DockerArchive { file: path, tag }) = self
        else {
            return Ok(());
        };
        let Some(tag) = tag else { return Ok(()) };
        if path.symlink_metadata().is_ok() {
            return Ok(());
        }
        // A tag may follow the name of the file.
        let ends = tag
            .match_indices(':')
            .map(|(end, _)| end)
            .chain([tag.len()]);
        let mut names = ends.filter_map(|end| {
            let mut name = path.as_os_str().to_owned();
            name.push(":");
            name.push(tag.get(..end)?);
            Some(PathBuf::from(name))
        });
        let Some(whole) = names.find(|name| name.symlink_metadata().is_ok()) else {
            return Ok(());
        };
        let instead = match self {
            Self::Layout { .. } => "name a symlink to it",
            _ => "write - in its place and redirect standard input from it",
        };
        Err(Error::Usage(format!(
            "the first colon ends the path, and {} does not exist; rename {} or {instead}",
            printable::path(path),
            printable::path(&whole)
        )))
    }

    /// Makes the source, which keeps to `pin` if there is one.
    pub(crate) fn open_pinned(
        &self,
        client: &Client,
        pin: Option<Digest>,
    ) -> Result<Box<dyn Source>, Error> {
        Ok(match self.clone() {
            Self::Registry(reference) => {
                let reference = match pin {
                    Some(pin) => reference.with_digest(pin),
                    None => reference,
                };
                Box::new(RegistrySource::new(client, reference)?)
            }
            Self::Layout { dir, tag } => Box::new(LayoutSource::new(dir, tag).pinned(pin)),
            Self::OciArchive { file, tag } => {
                let source = LayoutSource::archive(file, tag).pinned(pin);
                Box::new(source.opened_by(client.options().archives.clone()))
            }
            Self::DockerArchive { file, tag } => {
                let source = DockerArchiveSource::new(file, tag).pinned(pin);
                Box::new(source.opened_by(client.options().archives.clone()))
            }
            Self::Directory { dir } => Box::new(DirectorySource::new(dir).pinned(pin)),
            Self::Tar { file } => {
                let source = TarSource::new(file).pinned(pin);
                let source = source.limited(client.options().max_tar);
                Box::new(source.opened_by(client.options().archives.clone()))
            }
        })
    }
}

impl FromStr for SourceSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let reference_error = |reason| Error::Reference {
            text: printable::redacted(text),
            reason,
        };
        // Read as a path, it would appear in messages.
        if text.contains("://") && printable::has_credentials(text) {
            return Err(reference_error(ReferenceError::Credentials));
        }
        if let Some((transport, path)) = transport::of(text) {
            let (file, tag) = transport.place(path)?;
            return Ok(match transport {
                Transport::Oci => Self::Layout { dir: file, tag },
                Transport::OciArchive => Self::OciArchive { file, tag },
                Transport::DockerArchive => Self::DockerArchive { file, tag },
                Transport::Dir => Self::Directory { dir: file },
                // The others name no place.
                Transport::Tar | Transport::Store(_) | Transport::Unknown(_) => Self::Tar { file },
            });
        }
        if transport::is_path(text) {
            return Err(kind::without_transport(text, Path::new(text), None));
        }
        let reference = text.strip_prefix("docker://").unwrap_or(text);
        match reference.parse() {
            Ok(reference) => Ok(Self::Registry(reference)),
            Err(reason) => Err(reference_error(reason)),
        }
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => write!(f, "docker://{reference}"),
            Self::Layout { dir, tag } => write_place(f, "oci", dir, tag.as_deref()),
            Self::OciArchive { file, tag } => write_place(f, "oci-archive", file, tag.as_deref()),
            Self::DockerArchive { file, tag } => {
                write_place(f, "docker-archive", file, tag.as_deref())
            }
            Self::Directory { dir } => write_place(f, "dir", dir, None),
            Self::Tar { file } => write_place(f, "tar", file, None),
        }
    }
}

fn write_place(
    f: &mut fmt::Formatter<'_>,
    kind: &str,
    path: &Path,
    tag: Option<&str>,
) -> fmt::Result {
    write!(f, "{kind}:{}", printable::path(path))?;
    match tag {
        Some(tag) => write!(f, ":{}", printable::text(tag)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_spelled_as_skopeo_does() {
        for (text, expected) in [
            ("alpine", "docker://docker.io/library/alpine:latest"),
            ("docker://alpine:3", "docker://docker.io/library/alpine:3"),
            ("127.0.0.1:5000/a", "docker://127.0.0.1:5000/a:latest"),
            ("oci:dir", "oci:dir"),
            ("oci:/a/b:v1", "oci:/a/b:v1"),
            ("oci:/a/b:x/y:z", "oci:/a/b:x/y:z"),
            ("oci:dir:", "oci:dir"),
            ("oci-archive:/a/b.tar:v1", "oci-archive:/a/b.tar:v1"),
            ("docker-archive:b.tar:x/y:z", "docker-archive:b.tar:x/y:z"),
            ("docker-archive:b.tar", "docker-archive:b.tar"),
        ] {
            assert_eq!(
                text.parse::<SourceSpec>().unwrap().to_string(),
                expected,
                "{text}"
            );
        }
        for (text, says) in [
            ("oci:", "names no directory"),
            ("oci::tag", "names no directory"),
            ("oci-archive:", "names no file"),
            ("docker-archive::a:b", "names no file"),
            ("docker-daemon:a:b", "docker-daemon: is not supported"),
            ("docker://", "the name is missing"),
            ("https://reg.io/app", "without a scheme"),
        ] {
            let error = text.parse::<SourceSpec>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn sources_with_credentials_are_refused_without_repeating_them() {
        for text in [
            "docker://bob:s3cret@h/x",
            "https://bob:s3cret@h/x",
            "oci://bob:s3cret@h/x",
            "docker-daemon:bob:s3cret@h/x",
            "bob:s3cret@h/x",
        ] {
            let error = text.parse::<SourceSpec>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
            assert!(error.to_string().contains("***@h/x"), "{error}");
        }
    }

    #[test]
    fn text_without_transport_is_refused_if_image_has_its_name() {
        let accepts = |text: &str, kind: Option<Kind>| {
            let checked = SourceSpec::check_is_none_of(text, |path| {
                assert_eq!(path, Path::new(text));
                kind
            });
            checked.is_ok()
        };
        let images = [
            Kind::Layout,
            Kind::DockerArchive,
            Kind::Tar,
            Kind::Compressed,
        ];
        for kind in images.map(Some) {
            assert!(!accepts("alpine", kind), "{kind:?}");
            assert!(!accepts("images/app:v1", kind), "{kind:?}");
            // The file is not what these texts name, whatever there is.
            for text in [
                "",
                "docker://alpine",
                "oci:alpine",
                "tar:a.tar",
                "bob:s3cret@h/x",
            ] {
                assert!(accepts(text, kind), "{text}: {kind:?}");
            }
        }
        for kind in [Kind::OtherDirectory, Kind::Other].map(Some) {
            assert!(accepts("alpine", kind), "{kind:?}");
            // No reference is spelled like this.
            assert!(!accepts("/srv/Images", kind), "{kind:?}");
        }
        for text in ["alpine", "/srv/Images"] {
            assert!(accepts(text, None), "{text}");
        }
    }

    #[test]
    fn image_layout_named_without_a_transport_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("images");
        let text = path.to_str().unwrap();
        assert!(SourceSpec::check_is_no_file(text).is_ok());
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("oci-layout"), "{}").unwrap();
        let error = SourceSpec::check_is_no_file(text).unwrap_err().to_string();
        assert!(error.contains(&format!("write oci:{text}")), "{error}");
    }

    #[test]
    fn path_with_slash_after_colon_is_refused_unless_it_exists() {
        let directory = tempfile::tempdir().unwrap();
        let (short, long) = (directory.path().join("a"), directory.path().join("a:v1"));
        let text = format!("oci-archive:{}", long.display());
        let check = || text.parse::<SourceSpec>().unwrap().check_path();
        check().unwrap();
        std::fs::write(&long, "").unwrap();
        let error = check().unwrap_err().to_string();
        assert!(error.contains("the first colon ends the path"), "{error}");
        assert!(error.contains("a:v1 or write - in its place"), "{error}");
        // What stands for standard input in an archive is the name of a directory in a layout. containers/skopeo#2019
        for tag in ["", ":v1", ":team/app:v1"] {
            let text = format!("oci:{}{tag}", long.display());
            let error = text.parse::<SourceSpec>().unwrap().check_path();
            let error = error.unwrap_err().to_string();
            let says = "a:v1 or name a symlink to it";
            assert!(error.ends_with(says), "{error}");
        }
        std::fs::write(&short, "").unwrap();
        check().unwrap();
    }
}
