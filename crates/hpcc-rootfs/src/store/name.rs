//! The one mapping between a digest and the name of its artifact: `sha256-<hex>.sqsh`.

use ociget::Digest;

const SUFFIX: &str = ".sqsh";

/// The file name of the artifact of an image. A [`Digest`] holds nothing but a known algorithm and
/// lower-case hex digits, so the name has no room for a path.
pub(crate) fn artifact(digest: &Digest) -> String {
    format!("{}-{}{SUFFIX}", digest.algorithm().as_str(), digest.hex())
}

/// The digest a file name stands for, or `None` for every other name.
pub(crate) fn digest(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    format!("{algorithm}:{hex}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_reverses() {
        let image = Digest::of(b"image");
        assert_eq!(digest(&artifact(&image)), Some(image));
    }

    #[test]
    fn strays_are_nobodys_artifact() {
        let hex = Digest::of(b"image").hex().to_owned();
        for name in [
            String::new(),
            ".sqsh".into(),
            hex.clone(),
            format!("sha256-{hex}"),
            format!("sha256:{hex}.sqsh"),
            format!("sha256-{hex}.sqsh.tmp"),
            format!(".sha256-{hex}.sqsh"),
            format!("sha256-{}.sqsh", hex.to_uppercase()),
            format!("sha256-{}.sqsh", &hex[1..]),
            format!("md5-{hex}.sqsh"),
            format!("sha256-../{}.sqsh", &hex[3..]),
        ] {
            assert_eq!(digest(&name), None, "{name}");
        }
    }
}
