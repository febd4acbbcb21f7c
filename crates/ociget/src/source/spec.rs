//! The text that says where an image is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::client::Client;
use crate::digest::{Algorithm, Digest};
use crate::error::Error;
use crate::printable;
use crate::reference::{Reference, ReferenceError};
use crate::source::Source;
use crate::source::docker_archive::DockerArchiveSource;
use crate::source::layout::LayoutSource;
use crate::source::registry::RegistrySource;

/// What a user writes to say where an image is, as skopeo spells it.
///
/// | text | source |
/// |---|---|
/// | `alpine`, `docker://ghcr.io/a/b:c` | a registry |
/// | `oci:DIR`, `oci:DIR:TAG` | an OCI image layout in a directory |
/// | `oci-archive:FILE`, `oci-archive:FILE:TAG` | an OCI image layout in a tar file |
/// | `docker-archive:FILE`, `docker-archive:FILE:NAME:TAG` | what `docker save` writes |
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
        /// Which of its images; may be left out if it holds one.
        tag: Option<String>,
    },
    /// An OCI image layout in a tar file.
    OciArchive {
        /// The file.
        file: PathBuf,
        /// Which of its images; may be left out if it holds one.
        tag: Option<String>,
    },
    /// What `docker save` writes.
    DockerArchive {
        /// The file.
        file: PathBuf,
        /// Which of its images, as `name:tag`; may be left out if it holds one.
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
                Box::new(LayoutSource::archive(file, tag).pinned(pin))
            }
            Self::DockerArchive { file, tag } => {
                Box::new(DockerArchiveSource::new(file, tag).pinned(pin))
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
        // Helm writes references so; a path with two slashes in front is not worth a leaked password.
        if text.starts_with("oci://") && printable::has_credentials(text) {
            return Err(reference_error(ReferenceError::Credentials));
        }
        if let Some((kind, path)) = text.split_once(':')
            && let "oci" | "oci-archive" | "docker-archive" = kind
        {
            // Read as a path and a tag, it would be a pin that nobody checks.
            if let Some((_, pin)) = path.rsplit_once('@')
                && let Some((algorithm, _)) = pin.split_once(':')
                && algorithm.parse::<Algorithm>().is_ok()
            {
                return Err(Error::Usage(format!(
                    "the {kind}: source ends in @{pin}, but takes no digest; name it with --digest"
                )));
            }
            // As skopeo has it: the first colon ends the path.
            let (path, tag) = match path.split_once(':') {
                Some((path, tag)) => (path, Some(tag.to_owned()).filter(|tag| !tag.is_empty())),
                None => (path, None),
            };
            if path.is_empty() {
                return Err(Error::Usage(match kind {
                    "oci" => format!("{text:?} names no directory; write oci:DIR:TAG"),
                    _ => format!("{text:?} names no file; write {kind}:FILE:TAG"),
                }));
            }
            let file = PathBuf::from(path);
            return Ok(match kind {
                "oci" => Self::Layout { dir: file, tag },
                "oci-archive" => Self::OciArchive { file, tag },
                _ => Self::DockerArchive { file, tag },
            });
        }
        let unknown = ["docker-daemon:", "containers-storage:"];
        if let Some(transport) = unknown.iter().find(|prefix| text.starts_with(**prefix)) {
            return Err(Error::Usage(format!(
                "{transport} is not supported; copy the image to a registry or with \
                 `skopeo copy {} oci:DIR:TAG`",
                printable::redacted(text)
            )));
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
}
