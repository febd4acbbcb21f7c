//! Bytes that compress to about a third, as those of programs do.

/// Returns `length` of these bytes, the same every time.
#[must_use]
pub fn text(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 16);
    let mut state = 1_u64;
    while bytes.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // Two draws, of which the smaller counts: words near 0 are frequent.
        let [.., a, b, c, d] = state.to_be_bytes().map(u64::from);
        let word = (a << 5 | b >> 3).min(c << 5 | d >> 3);
        let spread = word.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
        let length = 3 + usize::from(spread[0] % 9);
        bytes.extend(spread.iter().cycle().skip(1).take(length));
    }
    bytes.truncate(length);
    bytes
}
