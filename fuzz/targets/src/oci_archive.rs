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

    #[test]
    fn the_first_seed_is_an_image() {
        let seed = &seeds::oci_archive()[0];
        assert!(archives::check(seed, "oci-archive", |file| {
            LayoutSource::archive(file, None)
        }));
    }
}
