//! Hostile `Content-Range` headers: a range that is taken lies within its total.

use ociget::ContentRange;

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    let Ok(input) = str::from_utf8(input) else {
        return;
    };
    if let Some(range) = ContentRange::parse(input) {
        assert!(range.first <= range.last);
        assert!(range.total.is_none_or(|total| range.last < total));
        for (offset, size) in [(0, 1), (5, 10), (range.first, range.last.saturating_add(1))] {
            if range.continues(offset, size) {
                assert!(offset == range.first && range.last < size);
            }
        }
    }
}
