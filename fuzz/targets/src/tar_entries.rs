//! Hostile bytes as a layer. The checks are those of the tests.

use crate::hostile;

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    hostile::check(input);
}
