//! Numbers in decimal digits, as PAX records and sparse maps have them.

use crate::layer::error::Malformed;

/// Reads decimal digits; anything else is an error.
pub(super) fn decimal(text: &[u8], what: &'static str) -> Result<u64, Malformed> {
    if text.is_empty() {
        return Err(Malformed::Number(what));
    }
    text.iter().try_fold(0u64, |value, digit| {
        if !digit.is_ascii_digit() {
            return Err(Malformed::Number(what));
        }
        value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(digit - b'0')))
            .ok_or(Malformed::Number(what))
    })
}
