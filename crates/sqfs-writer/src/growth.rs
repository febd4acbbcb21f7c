//! Lists whose length an image chooses. Where memory is missing they return an error, which would otherwise end the process.

use std::collections::TryReserveError;

use crate::error::Error;

/// Growth of a list by as much as an image asks for.
pub(crate) trait Growth<T> {
    /// Appends a value.
    fn try_push(&mut self, value: T) -> Result<(), TryReserveError>;
}

impl<T> Growth<T> for Vec<T> {
    fn try_push(&mut self, value: T) -> Result<(), TryReserveError> {
        self.try_reserve(1)?;
        self.push(value);
        Ok(())
    }
}

/// Returns an empty list that holds `count` values without growing.
pub(crate) fn with_capacity<T>(count: usize) -> Result<Vec<T>, TryReserveError> {
    let mut list = Vec::new();
    list.try_reserve_exact(count)?;
    Ok(list)
}

impl From<TryReserveError> for Error {
    fn from(error: TryReserveError) -> Self {
        Self::shortage("the tree and the tables of the image", error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_beyond_any_memory_is_an_error() {
        let list = with_capacity::<u64>(usize::MAX);
        let Err(Error::Shortage { source, .. }) = list.map_err(Error::from) else {
            panic!("no machine has this memory");
        };
        assert_eq!(source.kind(), std::io::ErrorKind::OutOfMemory);
        let mut list = with_capacity(1).unwrap();
        list.try_push(1).unwrap();
        list.try_push(2).unwrap();
        assert_eq!(list, [1, 2]);
    }
}
