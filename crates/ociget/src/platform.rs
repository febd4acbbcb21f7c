//! Platforms: `linux/amd64`, `linux/arm64/v8`, and which of an index's images fits one.

use std::fmt;
use std::str::FromStr;

/// An operating system, a processor architecture, and optionally which generation of it.
///
/// Names are Go's, as in every manifest; `x86_64`, `x86-64` and `aarch64` are taken for `amd64`
/// and `arm64`.
///
/// ```
/// use ociget::Platform;
///
/// let arm: Platform = "linux/aarch64".parse()?;
/// assert_eq!(arm.to_string(), "linux/arm64");
/// assert!(arm.accepts(&"linux/arm64/v8".parse()?));
/// assert!(!arm.accepts(&"linux/arm/v7".parse()?));
/// # Ok::<(), ociget::PlatformError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// Linux on the architecture this program was built for.
    ///
    /// Always Linux: images are asked for to be run in a guest, whatever runs the client.
    #[must_use]
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// From the three fields of a manifest or config; aliases are resolved, an empty variant is none.
    pub(crate) fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let variant = variant.filter(|variant| !variant.is_empty());
        let (architecture, variant) = match architecture.to_ascii_lowercase().as_str() {
            "x86_64" | "x86-64" => ("amd64".to_owned(), variant),
            "x86" | "i386" | "i686" => ("386".to_owned(), variant),
            "aarch64" => ("arm64".to_owned(), variant),
            "armhf" => ("arm".to_owned(), variant.or(Some("v7"))),
            "armel" => ("arm".to_owned(), variant.or(Some("v6"))),
            "powerpc64le" => ("ppc64le".to_owned(), variant),
            other => (other.to_owned(), variant),
        };
        Self {
            os: os.to_ascii_lowercase(),
            architecture,
            variant: variant.map(str::to_ascii_lowercase),
        }
    }

    /// `linux`.
    #[must_use]
    pub fn os(&self) -> &str {
        &self.os
    }

    /// `amd64`, `arm64`, …
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// `v8`, `v3`, …; what the document said, no default filled in.
    #[must_use]
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// Whether an image for `found` runs on this platform: the same system and architecture, and
    /// a variant not above ours. Another architecture never does, also where a processor could
    /// run it (386 on amd64, arm on arm64): the guest's agent and kernel are of one kind.
    #[must_use]
    pub fn accepts(&self, found: &Self) -> bool {
        self.fit(found).is_some()
    }

    /// How well `found` fits, higher is better; `None` if it does not run here.
    pub(crate) fn fit(&self, found: &Self) -> Option<(u32, u32)> {
        if self.os != found.os || self.architecture != found.architecture {
            return None;
        }
        match (self.level(), found.level()) {
            (Some(ours), Some(theirs)) => (theirs <= ours).then_some(theirs),
            // A variant outside the known ladders is a name: equal, or not said at all.
            _ if self.variant == found.variant => Some((1, 0)),
            _ if self.variant.is_none() || found.variant.is_none() => Some((0, 0)),
            _ => None,
        }
    }

    /// Whether two documents about one image agree. What one leaves open the other may say.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        self.os == other.os
            && self.architecture == other.architecture
            && (self.variant.is_none()
                || other.variant.is_none()
                || self.level().unwrap_or_default() == other.level().unwrap_or_default()
                    && (self.level().is_some() || self.variant == other.variant))
    }

    /// The same with `variant` where none was said.
    pub(crate) fn or_variant(mut self, variant: Option<&str>) -> Self {
        self.variant = self.variant.or_else(|| variant.map(str::to_owned));
        self
    }

    /// What build tools write for attestations that ride along in an index.
    pub(crate) fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }

    /// Generation and minor revision on the ladders where higher runs lower. No variant is the
    /// generation that the image specification means by it.
    fn level(&self) -> Option<(u32, u32)> {
        let default = match self.architecture.as_str() {
            "amd64" => (1, 0),
            "arm64" => (8, 0),
            "arm" => (7, 0),
            _ => return None,
        };
        let Some(variant) = &self.variant else {
            return Some(default);
        };
        let number = variant.strip_prefix('v').unwrap_or(variant);
        let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
        Some((major.parse().ok()?, minor.parse().ok()?))
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(word) {
            return Err(PlatformError(text.to_owned()));
        }
        match parts[..] {
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(PlatformError(text.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// A text is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a platform; write os/architecture or os/architecture/variant, such as linux/amd64"
)]
pub struct PlatformError(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn aliases_become_the_names_of_manifests() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/x86-64/v2", "linux/amd64/v2"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/i686", "linux/386"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(platform(text).to_string(), expected, "{text}");
        }
        for text in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "a/b/c/d",
            "linux/amd 64",
            "linux//v8",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        assert_eq!(Platform::host().os(), "linux");
    }

    #[test]
    fn only_what_runs_is_accepted() {
        for (wanted, found, runs) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/amd64/v1", true),
            ("linux/amd64", "linux/amd64/v2", false),
            ("linux/amd64/v3", "linux/amd64", true),
            ("linux/amd64/v3", "linux/amd64/v3", true),
            ("linux/amd64/v3", "linux/amd64/v4", false),
            ("linux/amd64", "linux/386", false),
            ("linux/amd64", "windows/amd64", false),
            ("linux/amd64", "unknown/unknown", false),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm64", "linux/arm64/v9", false),
            ("linux/arm64/v8.1", "linux/arm64/v8", true),
            ("linux/arm64", "linux/arm/v7", false),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/arm", "linux/arm/v6", true),
            ("linux/mips64le", "linux/mips64le/hardfloat", true),
            (
                "linux/mips64le/softfloat",
                "linux/mips64le/hardfloat",
                false,
            ),
        ] {
            assert_eq!(
                platform(wanted).accepts(&platform(found)),
                runs,
                "{wanted} {found}"
            );
        }
    }

    #[test]
    fn index_and_config_may_differ_in_detail_only() {
        for (index, config, agree) in [
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/amd64", "linux/amd64/v3", true),
            ("linux/arm64/v8", "linux/arm64/8", true),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/amd64", "linux/arm64", false),
            ("linux/amd64", "windows/amd64", false),
            ("linux/mips/a", "linux/mips/b", false),
        ] {
            assert_eq!(
                platform(index).agrees_with(&platform(config)),
                agree,
                "{index} {config}"
            );
        }
    }
}
