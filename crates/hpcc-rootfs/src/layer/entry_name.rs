//! The name of an entry, for errors.

use std::fmt;
use std::ops::Deref;

/// The bytes of an entry's name or path. Its `Debug` form is text, with what is not printable ASCII escaped.
///
/// ```
/// let name = hpcc_rootfs::layer::EntryName::from(b"etc/mot\xFF".as_slice());
/// assert_eq!(format!("{name:?}"), r#""etc/mot\xff""#);
/// assert_eq!(name.len(), 8);
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName(Box<[u8]>);

impl Deref for EntryName {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for EntryName {
    fn from(name: &[u8]) -> Self {
        Self(name.into())
    }
}

impl From<Box<[u8]>> for EntryName {
    fn from(name: Box<[u8]>) -> Self {
        Self(name)
    }
}

impl From<Vec<u8>> for EntryName {
    fn from(name: Vec<u8>) -> Self {
        Self(name.into())
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}
