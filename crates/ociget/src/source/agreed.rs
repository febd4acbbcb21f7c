//! Two digests that one image must have.

use crate::digest::Digest;
use crate::error::{Error, conflicting_digests};

/// Returns the digest that both sides ask for.
///
/// # Errors
/// Returns [`Error::Usage`] if they ask for different ones.
pub(crate) fn agreed<'a>(
    own: Option<&'a Digest>,
    expected: Option<&'a Digest>,
) -> Result<Option<&'a Digest>, Error> {
    match (own, expected) {
        (Some(own), Some(expected)) if own != expected => Err(conflicting_digests(own, expected)),
        (own, expected) => Ok(own.or(expected)),
    }
}
