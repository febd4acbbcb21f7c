//! The images that this host's kernel can mount. Guests have their own kernels, which need the same options.

use std::fs;
use std::io::Read as _;

use super::finding::{Finding, Status};

const CHECK: &str = "kernel";
/// Most bytes of a kernel configuration, decompressed.
const LENGTH_MAX: u64 = 4 << 20;

/// The codecs of artifacts, and the options of the kernel that read them.
const CODECS: [(&str, &str); 4] = [
    ("zstd", "CONFIG_SQUASHFS_ZSTD"),
    ("gzip", "CONFIG_SQUASHFS_ZLIB"),
    ("xz", "CONFIG_SQUASHFS_XZ"),
    ("lz4", "CONFIG_SQUASHFS_LZ4"),
];

pub(super) fn finding() -> Finding {
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let config = config();
    let config = config
        .as_ref()
        .map(|(path, text)| (path.as_str(), text.as_str()));
    of(&filesystems, config)
}

/// Returns the configuration of the running kernel, and where it was found.
fn config() -> Option<(String, String)> {
    if let Ok(file) = fs::File::open("/proc/config.gz") {
        let mut text = String::new();
        let decoder = flate2::read::GzDecoder::new(file);
        if decoder.take(LENGTH_MAX).read_to_string(&mut text).is_ok() {
            return Some(("/proc/config.gz".to_owned(), text));
        }
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let path = format!("/boot/config-{}", release.trim());
    let mut text = String::new();
    let file = fs::File::open(&path).ok()?;
    file.take(LENGTH_MAX).read_to_string(&mut text).ok()?;
    Some((path, text))
}

fn of(filesystems: &str, config: Option<(&str, &str)>) -> Finding {
    let is_loaded = filesystems
        .lines()
        .any(|line| line.split_whitespace().next_back() == Some("squashfs"));
    let advice =
        "guests are not affected; their kernels need CONFIG_SQUASHFS and the codec of the artifact";
    let Some((path, text)) = config else {
        let found = match is_loaded {
            true => {
                "squashfs can be mounted here; the codecs are not known without a kernel configuration"
            }
            false => "squashfs is not loaded here, and there is no kernel configuration",
        };
        let status = if is_loaded {
            Status::Good
        } else {
            Status::Skipped
        };
        return Finding::new(CHECK, status, found, if is_loaded { "" } else { advice });
    };
    let has = |option: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(option));
        lines.into_iter().any(|value| matches!(value, "=y" | "=m"))
    };
    if !is_loaded && !has("CONFIG_SQUASHFS") {
        let found = format!("{path}: this kernel has no squashfs");
        return Finding::new(CHECK, Status::Warning, found, advice);
    }
    let (known, missing): (Vec<_>, Vec<_>) = CODECS.iter().partition(|(_, option)| has(option));
    let names = |codecs: Vec<&(&str, &str)>| {
        let names: Vec<_> = codecs.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    };
    let found = format!("{path}: squashfs with {}", names(known));
    match missing.is_empty() {
        true => Finding::good(CHECK, found),
        false => {
            let found = format!("{found}, without {}", names(missing));
            Finding::new(CHECK, Status::Warning, found, advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "CONFIG_SQUASHFS=m\nCONFIG_SQUASHFS_ZLIB=y\nCONFIG_SQUASHFS_LZ4=y\n\
        CONFIG_SQUASHFS_XZ=y\nCONFIG_SQUASHFS_ZSTD=y\n";

    #[test]
    fn codecs_are_those_of_the_configuration() {
        let none = "nodev\tproc\n";
        let loaded = "nodev\tproc\n\tsquashfs\n";
        let without = ALL.replace("CONFIG_SQUASHFS_XZ=y", "# CONFIG_SQUASHFS_XZ is not set");
        for (filesystems, config, status, says) in [
            (none, Some(ALL), Status::Good, "zstd, gzip, xz, lz4"),
            (none, Some(&without), Status::Warning, "without xz"),
            (
                none,
                Some("CONFIG_EXT4_FS=y\n"),
                Status::Warning,
                "no squashfs",
            ),
            (none, None, Status::Skipped, "not loaded"),
            (loaded, None, Status::Good, "can be mounted"),
            (
                loaded,
                Some("CONFIG_SQUASHFS_ZSTD=y\n"),
                Status::Warning,
                "without gzip, xz, lz4",
            ),
        ] {
            let finding = of(filesystems, config.map(|text| ("config", text)));
            assert_eq!(finding.status, status, "{finding:?}");
            assert!(finding.found.contains(says), "{finding:?}");
        }
    }
}
