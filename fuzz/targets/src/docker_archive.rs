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

    #[test]
    fn the_first_seed_is_an_image() {
        let seed = &seeds::docker_archive()[0];
        assert!(archives::check(seed, "docker-archive", |file| {
            DockerArchiveSource::new(file, None)
        }));
    }
}
