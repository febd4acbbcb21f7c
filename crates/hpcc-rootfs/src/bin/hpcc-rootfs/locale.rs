//! Characters beyond ASCII that the program itself prints, and whether the locale has them.

use std::ffi::OsString;
use std::sync::OnceLock;

/// Returns the replacement for the part of a text that does not fit.
pub(crate) fn cut_mark() -> &'static str {
    static MARK: OnceLock<&str> = OnceLock::new();
    MARK.get_or_init(|| cut_mark_of(|name| std::env::var_os(name)))
}

fn cut_mark_of(variable: impl Fn(&str) -> Option<OsString>) -> &'static str {
    if is_utf8(variable) { "…" } else { "..." }
}

/// Returns whether text is UTF-8 in the locale of the environment. The first of the three variables that is not empty
/// decides, as POSIX has it; `C`, `POSIX` and no variable are ASCII.
fn is_utf8(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let values = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().map(variable);
    let mut set = values.flatten().filter(|value| !value.is_empty());
    let name = set.next().unwrap_or_default();
    let name = name.to_string_lossy().to_ascii_lowercase();
    // `de_DE.UTF-8@euro`
    let codeset = name.split_once('.').map_or("", |(_, rest)| rest);
    let codeset = codeset.split('@').next().unwrap_or_default();
    matches!(codeset, "utf-8" | "utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_mark_is_ascii_unless_the_locale_is_utf8() {
        for (all, ctype, lang, mark) in [
            ("", "", "", "..."),
            ("", "", "C", "..."),
            ("", "", "POSIX", "..."),
            ("", "", "C.UTF-8", "…"),
            ("", "", "en_US.utf8", "…"),
            ("", "", "de_DE.UTF-8@euro", "…"),
            ("", "", "de_DE", "..."),
            ("", "", "de_DE.ISO-8859-1", "..."),
            ("", "C", "en_US.UTF-8", "..."),
            ("", "C.UTF-8", "C", "…"),
            ("C", "C.UTF-8", "C.UTF-8", "..."),
            ("C.UTF-8", "C", "C", "…"),
        ] {
            let found = cut_mark_of(|name| match name {
                "LC_ALL" => Some(all.into()),
                "LC_CTYPE" => Some(ctype.into()),
                "LANG" => Some(lang.into()),
                _ => None,
            });
            assert_eq!(found, mark, "{all:?} {ctype:?} {lang:?}");
        }
        assert_eq!(cut_mark_of(|_| None), "...");
    }
}
