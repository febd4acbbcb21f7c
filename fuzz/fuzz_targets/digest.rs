//! Hostile digests: what parses is safe as a file name and prints as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ociget::Digest;

fuzz_target!(|input: &str| {
    if let Ok(digest) = input.parse::<Digest>() {
        assert_eq!(digest.to_string(), input);
        assert_eq!(digest.hex().len(), digest.algorithm().hex_len());
        assert!(
            digest
                .hex()
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        );
    }
});
