//! Any stack of layers against the naive model. The checks and the model are those of the tests.

use crate::fuzzed;

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    fuzzed::check(input);
}
