//! The configuration that a kernel was built with.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use crate::checked_read::CheckedRead;

/// Largest configuration in bytes. Those of distributions have 300 KiB.
const LENGTH_MAX: u64 = 16 << 20;

/// Settings of a kernel's options, read from a `.config` file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelConfig {
    settings: BTreeMap<String, Setting>,
    version: Option<KernelVersion>,
    /// Whether options at their default are left out.
    is_fragment: bool,
}

/// The first two numbers of a kernel's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// 5 in 5.9.
    pub major: u32,
    /// 9 in 5.9.
    pub minor: u32,
}

/// Displays a version as in `5.9`.
impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Whether a kernel has the feature of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setting {
    /// `y`: a part of the kernel.
    BuiltIn,
    /// `m`: a module, which is loaded from a file.
    Module,
    /// `n`, not set, or not mentioned by a complete configuration.
    Missing,
    /// Not mentioned by a fragment, which leaves out options at their default.
    Unknown,
}

/// Displays a setting as in a configuration: `y`, `m` or `n`; or `unknown`.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BuiltIn => "y",
            Self::Module => "m",
            Self::Missing => "n",
            Self::Unknown => "unknown",
        })
    }
}

/// Reason why a file is not a kernel configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelConfigError {
    /// It could not be read, or decompressed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It has more than 16 MiB.
    #[error("it has more than {LENGTH_MAX} bytes, which no kernel configuration has")]
    TooLong,
    /// No line of it sets an option.
    #[error("it is not a kernel configuration: no line begins with CONFIG_")]
    Other,
}

impl KernelConfig {
    /// Reads a configuration as text, or compressed with gzip as in `/proc/config.gz`.
    /// If an option is set several times, the last setting counts.
    ///
    /// # Errors
    /// Returns [`KernelConfigError`] if the input cannot be read or is not a configuration.
    pub fn read(input: impl Read) -> Result<Self, KernelConfigError> {
        let bytes = limited(&mut CheckedRead::new(input))?;
        let bytes = match bytes.starts_with(&[0x1f, 0x8b]) {
            true => limited(&mut flate2::read::MultiGzDecoder::new(bytes.as_slice()))?,
            false => bytes,
        };
        let mut settings = BTreeMap::new();
        let mut version = None;
        for line in bytes.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii_end();
            version = version.or_else(|| version_of(line));
            let unset = line
                .strip_prefix(b"# CONFIG_")
                .and_then(|rest| rest.strip_suffix(b" is not set"));
            let (name, setting) = match (unset, line.strip_prefix(b"CONFIG_")) {
                (Some(name), _) => (name, Setting::Missing),
                (None, Some(rest)) => {
                    let Some(at) = rest.iter().position(|byte| *byte == b'=') else {
                        continue;
                    };
                    let (name, value) = rest.split_at(at);
                    let setting = match value {
                        b"=y" => Setting::BuiltIn,
                        b"=m" => Setting::Module,
                        _ => Setting::Missing,
                    };
                    (name, setting)
                }
                (None, None) => continue,
            };
            if let Ok(name) = str::from_utf8(name) {
                settings.insert(name.to_owned(), setting);
            }
        }
        // Every architecture has dozens of these. No user can set them, so `make savedefconfig` writes none.
        let is_fragment = !settings.keys().any(|name| name.starts_with("HAVE_"));
        match settings.is_empty() {
            true => Err(KernelConfigError::Other),
            false => Ok(Self {
                settings,
                version,
                is_fragment,
            }),
        }
    }

    /// Returns the setting of an option, whose name is given without `CONFIG_`.
    #[must_use]
    pub fn setting(&self, option: &str) -> Setting {
        let setting = self.settings.get(option);
        setting.copied().unwrap_or(match self.is_fragment {
            true => Setting::Unknown,
            false => Setting::Missing,
        })
    }

    /// Returns the version of the kernel, which the comment at the top of most configurations names.
    #[must_use]
    pub fn version(&self) -> Option<KernelVersion> {
        self.version
    }
}

/// Reads a comment like `# Linux/x86 6.1.0 Kernel Configuration`, or `# Linux kernel version: 3.10.0` of older kernels.
fn version_of(line: &[u8]) -> Option<KernelVersion> {
    let line = str::from_utf8(line).ok()?.strip_prefix("# Linux")?;
    let text = match line.strip_suffix(" Kernel Configuration") {
        Some(rest) => rest.split_once(' ')?.1,
        None => line.strip_prefix(" kernel version: ")?,
    };
    let (major, rest) = text.split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit());
    let minor = rest.get(..end.unwrap_or(rest.len()))?;
    Some(KernelVersion {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}

fn limited(input: &mut impl Read) -> Result<Vec<u8>, KernelConfigError> {
    let mut bytes = Vec::new();
    input.take(LENGTH_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LENGTH_MAX {
        true => Err(KernelConfigError::TooLong),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const TEXT: &[u8] = b"#\n# Linux/x86 6.1.0 Kernel Configuration\n#\nCONFIG_A=y\r\n\
        CONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D=\"y\"\nCONFIG_E=64\nCONFIG_F=m\nCONFIG_F=y\n\
        CONFIG_\xff=y\nCONFIG_G\nCONFIG_HAVE_I=y\n";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn settings_are_read_from_text_and_gzip() {
        for bytes in [TEXT.to_vec(), gzip(TEXT)] {
            let config = KernelConfig::read(bytes.as_slice()).unwrap();
            let all = ["A", "B", "C", "D", "E", "F", "G", "H"].map(|name| config.setting(name));
            let all = all.map(|setting| setting.to_string()).concat();
            assert_eq!(all, "ymnnnynn");
        }
    }

    /// rust-lang/rust#80895, #82892
    #[test]
    fn reader_that_overstates_its_count_is_an_error() {
        struct Overstating;

        impl Read for Overstating {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                Ok(buffer.len() + 1)
            }
        }

        let Err(KernelConfigError::Io(error)) = KernelConfig::read(Overstating) else {
            panic!("the count is believed");
        };
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        assert!(error.to_string().starts_with("its reader returned "));
    }

    #[test]
    fn option_that_a_fragment_leaves_out_is_unknown() {
        // firecracker-microvm/firecracker, resources/guest_configs/ci.config
        let fragment = b"CONFIG_A=y\n# CONFIG_B is not set\n";
        for (more, left_out) in [("", "unknown"), ("CONFIG_HAVE_PCI=y\n", "n")] {
            let config = [fragment, more.as_bytes()].concat();
            let config = KernelConfig::read(config.as_slice()).unwrap();
            let all = ["A", "B", "C"].map(|name| config.setting(name).to_string());
            assert_eq!(all, ["y", "n", left_out]);
        }
    }

    #[test]
    fn version_is_read_from_the_comment_at_the_top() {
        for (line, version) in [
            ("# Linux/x86 6.1.0 Kernel Configuration", "6.1"),
            ("# Linux/x86_64 5.4.0-rc3 Kernel Configuration", "5.4"),
            ("# Linux/arm64 5.10-custom Kernel Configuration\r", "5.10"),
            ("# Linux kernel version: 3.10.0", "3.10"),
            ("# Linux/x86 Kernel Configuration", ""),
            ("# Linux/x86 six.1 Kernel Configuration", ""),
            ("# Linux/x86 99999999999.1 Kernel Configuration", ""),
            ("CONFIG_B=\"# Linux/x86 6.1.0 Kernel Configuration\"", ""),
        ] {
            let text = format!("#\n{line}\n#\nCONFIG_A=y\n# Linux/x86 2.6 Kernel Configuration");
            let text = match version {
                "" => format!("{line}\nCONFIG_A=y\n"),
                _ => text,
            };
            let config = KernelConfig::read(text.as_bytes()).unwrap();
            let found = config.version().map(|version| version.to_string());
            assert_eq!(found.unwrap_or_default(), version, "{line}");
        }
    }

    #[test]
    fn other_files_and_bombs_are_refused() {
        let other = KernelConfig::read(b"\x7fELF...".as_slice());
        assert!(matches!(other, Err(KernelConfigError::Other)));
        let bomb = gzip(&vec![b'\n'; 17 << 20]);
        assert!(matches!(
            KernelConfig::read(bomb.as_slice()),
            Err(KernelConfigError::TooLong)
        ));
        let torn = KernelConfig::read(&gzip(TEXT)[..30]);
        assert!(matches!(torn, Err(KernelConfigError::Io(_))));
        let endless = KernelConfig::read(std::io::repeat(b'\n'));
        assert!(matches!(endless, Err(KernelConfigError::TooLong)));
    }
}
