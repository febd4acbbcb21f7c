//! Hostile notes beside an artifact: nothing panics, and the listing shows the artifact whatever the note says.

use std::fs;

use hpcc_rootfs::{Options, Store};
use ociget::Digest;

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    if let Some(source) = source(input) {
        assert!(source.len() <= input.len());
    }
}

/// Returns the source that the listing shows with this note.
fn source(note: &[u8]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let digest = Digest::of(b"an image");
    let name = format!("sha256-{}", digest.hex());
    fs::write(directory.path().join(format!("{name}.sqsh")), b"").unwrap();
    fs::write(directory.path().join(format!(".note-{name}")), note).unwrap();
    let store = Store::open(directory.path(), Options::default()).unwrap();
    let artifacts = store.artifacts().unwrap();
    let [artifact] = &artifacts[..] else {
        panic!("{artifacts:?}");
    };
    assert_eq!(artifact.digest, digest);
    artifact.source.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds;

    #[test]
    fn the_first_seed_is_a_note_with_a_source() {
        let source = source(&seeds::note()[0]);
        assert_eq!(source.as_deref(), Some("docker.io/library/alpine:3"));
    }
}
