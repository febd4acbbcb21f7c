//! Bytes that are mostly text, for people.

use std::fmt;

/// Shows bytes in quotes, those that are not printable escaped.
pub(crate) struct Text<'t>(pub(crate) &'t [u8]);

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}
