//! Programs for images that no test executes.

/// Returns the smallest ELF program for amd64 that a kernel takes: a header, and a segment to load.
#[must_use]
pub fn static_program() -> Vec<u8> {
    let mut bytes = b"\x7FELF\x02\x01\x01".to_vec();
    bytes.resize(64 + 56, 0);
    let mut put = |at: usize, value: u8| {
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
    };
    // Type, machine, table of segments, size and number of its entries, type of the first one.
    for (at, value) in [(16, 2), (18, 62), (32, 64), (54, 56), (56, 1), (64, 1)] {
        put(at, value);
    }
    bytes
}
