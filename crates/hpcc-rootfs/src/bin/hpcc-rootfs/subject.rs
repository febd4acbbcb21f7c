//! `DIGEST-OR-FILE`.

use std::path::PathBuf;
use std::str::FromStr;

use ociget::Digest;

/// An artifact, by the digest of its image or by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Digest(Digest),
    File(PathBuf),
}

/// What begins like a digest is one, or a mistake: a mistyped digest is not to become a path. A file of
/// such a name is given as `./sha256:…`.
impl FromStr for Subject {
    type Err = ociget::DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let algorithm = text.split_once(':').map_or("", |(algorithm, _)| algorithm);
        if algorithm.is_empty() || !algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(Self::File(text.into()));
        }
        text.parse().map(Self::Digest)
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Digest(digest) => write!(f, "{digest}"),
            Self::File(path) => f.write_str(&crate::output::path(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_digest_is_no_path() {
        let digest = Digest::of(b"image").to_string();
        assert!(matches!(digest.parse(), Ok(Subject::Digest(_))));
        for mistyped in [
            "sha256:",
            "sha256:../../etc/passwd",
            "sha256:x/y",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            &digest.to_uppercase(),
            &digest[..70],
        ] {
            assert!(mistyped.parse::<Subject>().is_err(), "{mistyped}");
        }
        for path in ["a", "./sha256:x", "/x/sha256:y", "out.sqsh", "", ":x"] {
            let file = Subject::File(path.into());
            assert_eq!(path.parse::<Subject>().ok(), Some(file), "{path}");
        }
    }
}
