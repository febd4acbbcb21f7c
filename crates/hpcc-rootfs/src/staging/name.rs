//! Names of staged files.

/// Prefix of the names of staged files.
const STAGED: &str = ".staged-";

/// Returns a name for a staged file, unique as long as this process lives.
pub(super) fn staged_name(serial: u64) -> String {
    format!("{STAGED}{}-{serial}", std::process::id())
}

/// Returns whether a file has the name of a staged one.
pub(crate) fn is_staged(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let numbers = name
        .strip_prefix(STAGED)
        .and_then(|rest| rest.split_once('-'));
    numbers.is_some_and(|(process, serial)| number(process) && number(serial))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staged_names_are_recognized() {
        assert!(is_staged(&staged_name(7)));
        for name in ["", ".staged-", ".staged-1-", ".staged-1-2-3", ".staged-x-1"] {
            assert!(!is_staged(name), "{name}");
        }
    }
}
