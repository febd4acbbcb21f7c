//! The request of a caller: a source, and the digest that its image must have.

use crate::client::Client;
use crate::digest::Digest;
use crate::error::Error;
use crate::source::Source;
use crate::source::agreed::agreed;
use crate::source::spec::SourceSpec;

/// An image to pull: where it is, and the digest that it must have if the caller pins one.
///
/// The constructor compares the digest in a reference (`name@sha256:…`) with the expected one, once
/// and before anything is opened. Code that takes a `Request` cannot lose either of them.
///
/// ```
/// use ociget::{Digest, Request};
///
/// let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
/// let request = Request::parse(&format!("app@{a}"), None)?;
/// assert_eq!(request.pin(), Some(&a));
/// assert!(Request::parse(&format!("app@{a}"), Some(&b)).is_err());
/// # Ok::<(), ociget::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    spec: SourceSpec,
    pin: Option<Digest>,
}

impl Request {
    /// Joins a source and the digest that is expected of its image.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] if the source itself names another digest. Digests are compared as
    /// they are written: the SHA-256 and the SHA-512 of one document differ, and so do the digests of
    /// an index and of a manifest in it.
    pub fn new(spec: SourceSpec, expected: Option<&Digest>) -> Result<Self, Error> {
        let own = match &spec {
            SourceSpec::Registry(reference) => reference.digest(),
            SourceSpec::Layout { .. }
            | SourceSpec::OciArchive { .. }
            | SourceSpec::DockerArchive { .. }
            | SourceSpec::Directory { .. }
            | SourceSpec::Tar { .. } => None,
        };
        let pin = agreed(own, expected)?.cloned();
        Ok(Self { spec, pin })
    }

    /// Parses a source as [`SourceSpec`] does, and joins it with the digest that is expected.
    ///
    /// A text without a transport that is also the name of an image in a file or directory on this
    /// machine is ambiguous, and refused; the prefix `docker://` makes it a reference.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] or [`Error::Reference`] if `text` is not a source, and
    /// [`Error::Usage`] if it names another digest than the expected one, or a file that needs a
    /// transport.
    pub fn parse(text: &str, expected: Option<&Digest>) -> Result<Self, Error> {
        SourceSpec::check_is_no_file(text)?;
        let spec: SourceSpec = text.parse()?;
        spec.check_path()?;
        Self::new(spec, expected)
    }

    /// Returns the source as it was given.
    #[must_use]
    pub fn spec(&self) -> &SourceSpec {
        &self.spec
    }

    /// Returns the digest that the image must have, of a manifest or of an index, or `None` if any
    /// image of the source will do.
    #[must_use]
    pub fn pin(&self) -> Option<&Digest> {
        self.pin.as_ref()
    }

    /// Makes the source, which keeps to the pin. Opens and requests nothing yet.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] if the registry's name cannot be part of a URL.
    pub fn open(&self, client: &Client) -> Result<Box<dyn Source>, Error> {
        self.spec.open_pinned(client, self.pin.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

    fn sha512(bytes: &[u8]) -> Digest {
        let mut hasher = Algorithm::Sha512.hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn request_keeps_the_one_digest_that_both_sides_name() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let pinned = format!("app:v1@{a}");
        for (text, expected, pin) in [
            ("app", None, None),
            ("app:v1", Some(&b), Some(&b)),
            (&*pinned, None, Some(&a)),
            (&*pinned, Some(&a), Some(&a)),
            ("oci:dir", None, None),
            ("oci:dir:v1", Some(&b), Some(&b)),
            ("oci-archive:a.tar", Some(&b), Some(&b)),
            ("docker-archive:a.tar", Some(&b), Some(&b)),
        ] {
            let request = Request::parse(text, expected).unwrap();
            assert_eq!(request.pin(), pin, "{text} {expected:?}");
        }
    }

    #[test]
    fn request_with_two_digests_is_a_usage_error() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        for (own, expected) in [(&a, &b), (&a, &sha512(b"a")), (&sha512(b"a"), &a)] {
            for scheme in ["", "docker://"] {
                let text = format!("{scheme}reg.example/app:v1@{own}");
                let error = Request::parse(&text, Some(expected)).unwrap_err();
                assert!(matches!(error, Error::Usage(_)), "{error:?}");
                let says = error.to_string();
                assert!(says.contains(&own.to_string()), "{says}");
                assert!(says.contains(&expected.to_string()), "{says}");
            }
        }
    }

    #[test]
    fn digest_in_path_of_file_source_is_a_usage_error() {
        let digest = Digest::of(b"a");
        for text in [
            format!("oci:dir@{digest}"),
            format!("oci:dir:v1@{digest}"),
            format!("oci-archive:a.tar@{digest}"),
            format!("docker-archive:a.tar:app:v1@{digest}"),
            "oci:dir@sha256:mistyped".to_owned(),
            format!("oci:dir@{}", sha512(b"a")),
        ] {
            let error = Request::parse(&text, None).unwrap_err();
            assert!(matches!(error, Error::Usage(_)), "{text}: {error:?}");
            assert!(error.to_string().contains("Request::parse"), "{error}");
        }
        for text in ["oci:a@b", "oci:user@host:v1", "oci-archive:x@sha256.tar"] {
            assert!(Request::parse(text, None).is_ok(), "{text}");
        }
    }
}
