//! Hostile references and sources: nothing panics, and the long form means the same.

use ociget::{Reference, SourceSpec};

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    let Ok(input) = str::from_utf8(input) else {
        return;
    };
    if let Ok(reference) = input.parse::<Reference>() {
        let long = reference.to_string();
        assert_eq!(long.parse::<Reference>().unwrap(), reference, "{long}");
        assert!(reference.tag().is_some() || reference.digest().is_some());
        let parts = reference.repository().split('/');
        assert!(
            parts
                .into_iter()
                .all(|part| !matches!(part, "" | "." | ".."))
        );
        assert!(!reference.registry().contains(['/', '@', '?', '#', ' ']));
    }
    // Paths and tags are shown escaped and without credentials. What shows neither means itself again.
    if let Ok(spec) = input.parse::<SourceSpec>() {
        let shown = spec.to_string();
        if !shown.contains("***") && !shown.contains('\\') {
            assert_eq!(shown.parse::<SourceSpec>().unwrap(), spec);
        }
    }
}
