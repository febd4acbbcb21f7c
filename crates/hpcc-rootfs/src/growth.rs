//! Lists and buffers whose length an image chooses. Where memory is missing they return an error, which would otherwise
//! end the process.

use std::collections::TryReserveError;
use std::hint::black_box;

/// Growth of a list by as much as an image asks for.
pub(crate) trait Growth<T> {
    /// Appends a value.
    fn try_push(&mut self, value: T) -> Result<(), TryReserveError>;

    /// Appends copies of all values.
    fn try_append(&mut self, values: &[T]) -> Result<(), TryReserveError>
    where
        T: Clone;

    /// Frees what was allocated for more values, unless that takes memory which is missing.
    fn try_shrink(&mut self);
}

impl<T> Growth<T> for Vec<T> {
    fn try_push(&mut self, value: T) -> Result<(), TryReserveError> {
        self.try_reserve(1)?;
        self.push(value);
        Ok(())
    }

    fn try_append(&mut self, values: &[T]) -> Result<(), TryReserveError>
    where
        T: Clone,
    {
        self.try_reserve(values.len())?;
        self.extend_from_slice(values);
        Ok(())
    }

    fn try_shrink(&mut self) {
        if self.len() < self.capacity()
            && let Ok(mut exact) = with_capacity(self.len())
        {
            exact.append(self);
            *self = exact;
        }
    }
}

/// Returns an empty list that holds `count` values without growing.
pub(crate) fn with_capacity<T>(count: usize) -> Result<Vec<T>, TryReserveError> {
    let mut list = Vec::new();
    list.try_reserve_exact(count)?;
    Ok(list)
}

/// Takes memory and gives it back, before code that ends the process or panics without it.
pub(crate) fn probe(bytes: usize) -> Result<(), TryReserveError> {
    let memory: Vec<u8> = with_capacity(bytes)?;
    // An allocation that is not used would be left out.
    black_box(memory);
    Ok(())
}

/// Returns a copy of these bytes.
pub(crate) fn copy_of(bytes: &[u8]) -> Result<Box<[u8]>, TryReserveError> {
    let mut copy = with_capacity(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_beyond_any_memory_is_an_error() {
        assert!(with_capacity::<u64>(usize::MAX).is_err());
        assert!(probe(usize::MAX).is_err() && probe(1 << 16).is_ok());
        let mut list = with_capacity(9).unwrap();
        list.try_push(1).unwrap();
        list.try_append(&[2, 3]).unwrap();
        list.try_shrink();
        assert_eq!((&list[..], list.capacity()), (&[1, 2, 3][..], 3));
    }

    #[test]
    fn copy_of_bytes_equals_them() {
        assert_eq!(*copy_of(b"bytes").unwrap(), *b"bytes");
    }
}
