//! Content digests: parsed once, then trusted by type.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};

/// The hash functions that the OCI image specification registers and this client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-256, 64 hex digits.
    Sha256,
    /// SHA-512, 128 hex digits.
    Sha512,
}

impl Algorithm {
    /// Returns the name as in a digest: `sha256`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Returns the number of lower-case hex digits after the colon.
    #[must_use]
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// Returns a hasher without input.
    #[must_use]
    pub fn hasher(self) -> Hasher {
        match self {
            Self::Sha256 => Hasher(State::Sha256(Sha256::new())),
            Self::Sha512 => Hasher(State::Sha512(Sha512::new())),
        }
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            other => Err(DigestError::Unsupported(other.into())),
        }
    }
}

/// A content digest such as `sha256:e3b0c442…`.
///
/// Holding one means it was checked: a known algorithm, exactly as many digits as it needs, all of
/// them lower-case hex. It is therefore safe as part of a file name or a URL path.
///
/// ```
/// use ociget::Digest;
///
/// let digest: Digest =
///     "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".parse()?;
/// assert_eq!(digest, Digest::of(b""));
/// assert!("sha256:../../etc/passwd".parse::<Digest>().is_err());
/// # Ok::<(), ociget::DigestError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

impl Digest {
    /// Returns the SHA-256 of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Algorithm::Sha256.hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Returns the hash function.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the lower-case hex digits without the algorithm.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or(DigestError::NoColon)?;
        let algorithm: Algorithm = algorithm.parse()?;
        if hex.len() != algorithm.hex_len() {
            return Err(DigestError::Length {
                algorithm,
                found: hex.len(),
            });
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError::NotHex);
        }
        Ok(Self {
            algorithm,
            hex: hex.into(),
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Digest of a layer's *decompressed* tar, as the image config lists it under `rootfs.diff_ids`.
///
/// A type of its own, because mixing it up with the digest of the compressed blob is the classic
/// mistake of this field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiffId(pub Digest);

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reason why a text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// It has no `:` between algorithm and digits.
    #[error("a digest looks like sha256:<64 hex digits>; there is no colon")]
    NoColon,
    /// Some other algorithm, or not one at all.
    #[error("unsupported digest algorithm {0:?}; sha256 and sha512 are supported")]
    Unsupported(String),
    /// Too many or too few digits.
    #[error("a {} digest has {} hex digits, not {found}", .algorithm.as_str(), .algorithm.hex_len())]
    Length {
        /// The algorithm named.
        algorithm: Algorithm,
        /// Number of bytes after the colon.
        found: usize,
    },
    /// Something else than `0-9a-f`.
    #[error("a digest holds lower-case hex digits only")]
    NotHex,
}

/// A running hash, made by [`Algorithm::hasher`].
#[derive(Clone, Debug)]
pub struct Hasher(State);

#[derive(Clone, Debug)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(hash) => hash.update(bytes),
            State::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of everything taken in, as the fact that it is.
    pub(crate) fn proof(self) -> Verified<Digest> {
        Verified(self.finish())
    }

    /// Returns the digest of all input.
    #[must_use]
    pub fn finish(self) -> Digest {
        let (algorithm, hex) = match self.0 {
            State::Sha256(hash) => (Algorithm::Sha256, lower_hex(&hash.finalize())),
            State::Sha512(hash) => (Algorithm::Sha512, lower_hex(&hash.finalize())),
        };
        Digest {
            algorithm,
            hex: hex.into(),
        }
    }
}

fn lower_hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// A fact that was established by hashing: content with this `T` (a [`Digest`] or a [`DiffId`])
/// was read to its end, and its length and hash agree.
///
/// Only a [`Verifier`] makes one, so a function that takes `Verified<Digest>` cannot be called by
/// code that forgot to check.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a proof has no effect unless it is used"]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// Returns the proved value.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// Returns the proved value, by value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// Hashes a stream and compares it with what it was promised to be.
///
/// ```
/// use ociget::{DiffId, Digest, Verifier};
///
/// let mut verifier = Verifier::new(DiffId(Digest::of(b"abc")));
/// verifier.update(b"a");
/// verifier.update(b"bc");
/// let proof = verifier.finish()?;
/// assert_eq!(proof.get().0, Digest::of(b"abc"));
/// # Ok::<(), ociget::Mismatch>(())
/// ```
#[derive(Debug)]
pub struct Verifier<T> {
    expected: T,
    hasher: Hasher,
}

impl<T: AsRef<Digest>> Verifier<T> {
    /// Returns the expected hash of the end.
    pub(crate) fn expected(&self) -> &T {
        &self.expected
    }

    /// Returns a verifier without input, for content with the digest `expected`.
    pub fn new(expected: T) -> Self {
        let hasher = expected.as_ref().algorithm().hasher();
        Self { expected, hasher }
    }

    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Returns the proof, at the end of the stream.
    ///
    /// # Errors
    /// [`Mismatch`] with both digests.
    pub fn finish(self) -> Result<Verified<T>, Mismatch> {
        let found = self.hasher.finish();
        if found != *self.expected.as_ref() {
            return Err(Mismatch {
                expected: self.expected.as_ref().clone(),
                found,
            });
        }
        Ok(Verified(self.expected))
    }
}

impl AsRef<Self> for Digest {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl AsRef<Digest> for DiffId {
    fn as_ref(&self) -> &Digest {
        &self.0
    }
}

/// Content is not what its digest promised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("digest mismatch: expected {expected}, got {found}")]
pub struct Mismatch {
    /// The expected digest.
    pub expected: Digest,
    /// The digest of the content.
    pub found: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_digest_never_becomes_one() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [
            "".to_owned(),
            hex.to_owned(),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}0"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("SHA256:{hex}"),
            format!("md5:{}", &hex[..32]),
            format!("sha512:{hex}"),
            format!("sha256:{}/..", &hex[3..]),
            format!("sha256:{}é", &hex[2..]),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        assert_eq!(
            format!("sha256:{hex}").parse::<Digest>().unwrap(),
            Digest::of(b"")
        );
        assert!(format!("sha512:{hex}{hex}").parse::<Digest>().is_ok());
    }

    #[test]
    fn a_proof_needs_the_right_bytes() {
        let mut verifier = Verifier::new(Digest::of(b"right"));
        verifier.update(b"wrong");
        let mismatch = verifier.finish().unwrap_err();
        assert_eq!(mismatch.expected, Digest::of(b"right"));
        assert_eq!(mismatch.found, Digest::of(b"wrong"));
    }
}
