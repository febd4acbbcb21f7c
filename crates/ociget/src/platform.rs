//! Platforms: `linux/amd64`, `linux/arm64/v8`, and which of an index's images fits one.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::json::null_is_empty;
use crate::printable;

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
    /// Returns Linux on the architecture for which this program was built.
    ///
    /// Always Linux, because images run in a guest, whatever the client runs on.
    #[must_use]
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// From the fields of a manifest or config, if each has characters and a length that a platform may
    /// have: those that containerd takes. Aliases are resolved, an empty variant is none.
    pub(crate) fn checked(
        os: &str,
        architecture: &str,
        variant: Option<&str>,
    ) -> Result<Self, PlatformError> {
        let variant = variant.filter(|variant| !variant.is_empty());
        let parts = [
            ("os", Some(os)),
            ("architecture", Some(architecture)),
            ("variant", variant),
        ];
        for (field, part) in parts {
            if let Some(part) = part.filter(|part| !is_part(part)) {
                return Err(PlatformError::part(field, part));
            }
        }
        Ok(Self::new(os, architecture, variant))
    }

    /// Of parts that were checked, or are this program's own.
    fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
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

    /// Returns the operating system: `linux`.
    #[must_use]
    pub fn os(&self) -> &str {
        &self.os
    }

    /// Returns the architecture: `amd64`, `arm64`, …
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Returns the variant of the document, such as `v8` or `v3`, without a default.
    #[must_use]
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// Returns whether an image for `found` runs on this platform: the same system and architecture, and
    /// a variant not above this one. Another architecture never does, even if a processor could
    /// run it (386 on amd64, arm on arm64): the guest's agent and kernel are of one kind.
    #[must_use]
    pub fn accepts(&self, found: &Self) -> bool {
        self.fit(found).is_some()
    }

    /// Returns how well `found` fits, higher is better; `None` if it does not run here.
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

    /// Whether both name one platform: a variant that is left out is its default.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.os == other.os
            && self.architecture == other.architecture
            && match (self.level(), other.level()) {
                (Some(one), Some(other)) => one == other,
                _ => self.variant == other.variant,
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
        let wrong = || PlatformError::Text(shortened(&printable::redacted(text)));
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|part| is_part(part)) {
            return Err(wrong());
        }
        match parts[..] {
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(wrong()),
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

/// Reason why something is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// A text that is not of the form `os/architecture[/variant]`.
    #[error(
        "{0:?} is not a platform; write os/architecture or os/architecture/variant, such as linux/amd64"
    )]
    Text(String),
    /// A field of a document that no platform has.
    #[error(
        "the platform's {field} is {found:?}, expected 1 to {MAX_PART} letters, digits, dots, dashes and underscores"
    )]
    Part {
        /// Its name in the document.
        field: &'static str,
        /// Its start.
        found: String,
    },
    /// A version or feature of an operating system with other characters than printable ASCII, or too
    /// many of them.
    #[error(
        "the platform's {field} is {found:?}, expected at most {MAX_VERSION} characters of printable ASCII"
    )]
    Version {
        /// Its name in the document.
        field: &'static str,
        /// Its start.
        found: String,
    },
    /// An image that runs only where the operating system has more than this program can know of.
    #[error("{platform} with the os.features {features:?} is for systems that have them")]
    Features {
        /// The platform without its features.
        platform: Box<Platform>,
        /// The start of their list.
        features: String,
    },
    /// A field of the wrong JSON type.
    #[error("the platform is not an object with text in its fields")]
    Type,
}

impl PlatformError {
    pub(crate) fn features(platform: &Platform, features: &[String]) -> Self {
        Self::Features {
            platform: Box::new(platform.clone()),
            features: shortened(&features.join(",")),
        }
    }

    fn part(field: &'static str, found: &str) -> Self {
        Self::Part {
            field,
            found: shortened(found),
        }
    }
}

/// Longest operating system, architecture or variant, in bytes.
const MAX_PART: usize = 64;
/// Longest version or feature of an operating system, in bytes.
const MAX_VERSION: usize = 128;

/// Whether a text can be an operating system, an architecture or a variant.
fn is_part(text: &str) -> bool {
    (1..=MAX_PART).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// The start of a text, for a message.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_PART) {
        Some((end, _)) => format!("{} [cut]", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The system or the architecture of an image whose config lacks the other; empty where missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HalfPlatform {
    os: String,
    architecture: String,
}

impl HalfPlatform {
    /// Returns whether an image with these fields may be one for `platform`.
    pub(crate) fn allows(&self, platform: &Platform) -> bool {
        (self.os.is_empty() || self.os == platform.os)
            && (self.architecture.is_empty() || self.architecture == platform.architecture)
    }
}

impl fmt::Display for HalfPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_any = |part: &str| if part.is_empty() { "?" } else { part }.to_owned();
        write!(f, "{}/{}", or_any(&self.os), or_any(&self.architecture))
    }
}

/// The `platform` object of an index entry, and the same fields of a config. Versions and features of
/// the operating system decide nothing here and are only checked.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct RawPlatform {
    #[serde(default, deserialize_with = "null_is_empty")]
    os: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    architecture: String,
    variant: Option<String>,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
    #[serde(default, rename = "os.features", deserialize_with = "null_is_empty")]
    os_features: Vec<String>,
}

impl RawPlatform {
    /// Reads the `platform` of an index entry. What is not one is an error of this entry alone.
    pub(crate) fn entry(value: serde_json::Value) -> Result<Option<Platform>, PlatformError> {
        let raw: Option<Self> = crate::json::from_value(value).map_err(|_| PlatformError::Type)?;
        match raw {
            // Tools that do not know the platform write the object with empty fields.
            Some(raw) if !raw.os.is_empty() || !raw.architecture.is_empty() => {
                raw.check().map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The platform of a config; `None` if it leaves system or architecture out.
    pub(crate) fn config(&self) -> Result<Option<Platform>, PlatformError> {
        match self.os.is_empty() || self.architecture.is_empty() {
            true => Ok(None),
            false => self.check().map(Some),
        }
    }

    /// The one of system and architecture that a config has without the other.
    pub(crate) fn half(&self) -> Result<HalfPlatform, PlatformError> {
        for (field, part) in [("os", &self.os), ("architecture", &self.architecture)] {
            if !part.is_empty() && !is_part(part) {
                return Err(PlatformError::part(field, part));
            }
        }
        if !self.os.is_empty() && !self.architecture.is_empty() {
            return Ok(HalfPlatform::default());
        }
        let platform = Platform::new(&self.os, &self.architecture, None);
        Ok(HalfPlatform {
            os: platform.os,
            architecture: platform.architecture,
        })
    }

    /// The features that the operating system needs for this image, printable ASCII.
    pub(crate) fn features(value: &serde_json::Value) -> Vec<String> {
        let list = value.get("os.features").and_then(|list| list.as_array());
        let names = list.into_iter().flatten().filter_map(|name| name.as_str());
        names.map(str::to_owned).collect()
    }

    fn check(&self) -> Result<Platform, PlatformError> {
        let versions = self.os_version.iter().map(|text| ("os.version", text));
        let features = self.os_features.iter().map(|text| ("os.features", text));
        for (field, text) in versions.chain(features) {
            if text.len() > MAX_VERSION || !text.bytes().all(|b| matches!(b, b' '..=b'~')) {
                let found = shortened(text);
                return Err(PlatformError::Version { field, found });
            }
        }
        Platform::checked(&self.os, &self.architecture, self.variant.as_deref())
    }
}

#[cfg(test)]
mod tests;
