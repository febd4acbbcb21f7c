//! Hostile OCI image layouts in a tar file.

use ociget::LayoutSource;

use crate::archives;

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    archives::check(input, "oci-archive", |file| {
        LayoutSource::archive(file, None)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds;

    /// A seed that is refused leads to no layer.
    #[test]
    fn seeds_are_images() {
        for (number, seed) in seeds::oci_archive().iter().enumerate() {
            let is_image = archives::check(seed, "oci-archive", |file| {
                LayoutSource::archive(file, None)
            });
            assert!(is_image, "{number}");
        }
    }
}
