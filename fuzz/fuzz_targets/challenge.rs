//! Hostile `WWW-Authenticate` headers.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ociget::Challenge;

fuzz_target!(|input: &str| {
    for challenge in Challenge::parse(input) {
        assert!(!challenge.scheme.is_empty());
        assert_eq!(challenge.scheme, challenge.scheme.to_ascii_lowercase());
        for name in ["realm", "service", "scope", "error"] {
            assert!(challenge.get(name).is_none_or(|value| !value.is_empty()));
        }
    }
});
