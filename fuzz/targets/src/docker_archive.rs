//! Hostile archives of the kind that `docker save` writes.

use ociget::DockerArchiveSource;

use crate::archives;

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    archives::check(input, "docker-archive", |file| {
        DockerArchiveSource::new(file, None)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds;

    /// A seed that is refused leads to no layer.
    #[test]
    fn seeds_are_images() {
        for (number, seed) in seeds::docker_archive().iter().enumerate() {
            let is_image = archives::check(seed, "docker-archive", |file| {
                DockerArchiveSource::new(file, None)
            });
            assert!(is_image, "{number}");
        }
    }
}
