//! Buffers whose length a file or an image chooses.

use std::io;

/// Returns that many zeros.
///
/// # Errors
/// Returns an error of the kind `OutOfMemory` if the system has no memory for them, which would otherwise end the process.
pub(crate) fn zeroed(length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length)?;
    bytes.resize(length, 0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_beyond_any_memory_is_an_error() {
        assert_eq!(zeroed(3).unwrap(), [0; 3]);
        for length in [isize::MAX.unsigned_abs(), usize::MAX] {
            let error = zeroed(length).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        }
    }
}
