//! Hostile `WWW-Authenticate` headers.

use ociget::Challenge;

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    let Ok(input) = str::from_utf8(input) else {
        return;
    };
    for challenge in Challenge::parse(input) {
        assert!(!challenge.scheme.is_empty());
        assert_eq!(challenge.scheme, challenge.scheme.to_ascii_lowercase());
        for name in ["realm", "service", "scope", "error"] {
            assert!(challenge.get(name).is_none_or(|value| !value.is_empty()));
        }
    }
}
