//! Hostile digests: what parses is safe as a file name and prints as it was.

use ociget::Digest;

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    let Ok(input) = str::from_utf8(input) else {
        return;
    };
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
}
