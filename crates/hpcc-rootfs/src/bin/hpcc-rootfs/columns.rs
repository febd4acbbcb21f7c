//! Text in the columns of a terminal: a letter takes none, one or two.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Returns the number of columns that printable text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// Returns the beginning of a text that takes at most that many columns.
pub(crate) fn cut(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, letter) in text.char_indices() {
        taken += letter.width().unwrap_or(0);
        if taken > columns {
            return text.get(..at).unwrap_or_default();
        }
    }
    text
}

/// Mark of a word that the next line continues: the one of a shell, so that a pasted path is one word again.
pub(crate) const CONTINUED: &str = "\\";

/// Returns the text in lines of at most that many columns, broken at spaces. A word that is wider than a line is
/// marked where it is broken.
pub(crate) fn fold(text: &str, columns: usize) -> Vec<String> {
    fold_after(text, columns, columns)
}

/// Returns the text in lines as [`fold`]: the first of at most `first` columns, and all others of at most `others`.
pub(crate) fn fold_after(text: &str, first: usize, others: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let columns = |lines: &[String]| if lines.is_empty() { first } else { others }.max(1);
    for word in text.split_inclusive(' ') {
        let is_begun = !line.trim().is_empty();
        if width(&line) + width(word.trim_end()) > columns(&lines) && is_begun {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
        }
        let mut rest = word;
        while width(&line) + width(rest.trim_end()) > columns(&lines) {
            let free = columns(&lines).saturating_sub(width(&line));
            // A window of two columns has no space for a mark.
            let mark = match columns(&lines) {
                0..=2 => "",
                _ => cut(CONTINUED, free),
            };
            let piece = cut(rest, free - width(mark));
            // A letter of two columns does not fit into one, and stays whole.
            let letter = rest.chars().next().map_or(0, char::len_utf8);
            let piece = match piece {
                "" if line.is_empty() => rest.get(..letter).unwrap_or(rest),
                piece => piece,
            };
            rest = rest.get(piece.len()..).unwrap_or_default();
            lines.push(std::mem::take(&mut line) + piece + mark);
        }
        line.push_str(rest);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// Returns a printable line in as many lines as it takes in a window of this width, those after the first indented.
pub(crate) fn fold_indented(line: &str, width: usize, indent: usize) -> Vec<String> {
    let indent = indent.min(width / 2);
    let mut lines = fold_after(line, width, width.saturating_sub(indent));
    for line in lines.iter_mut().skip(1) {
        line.insert_str(0, &" ".repeat(indent));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_letters_count_twice_and_marks_not_at_all() {
        for (text, columns) in [("abc", 3), ("日本", 4), ("e\u{301}", 1), ("", 0)] {
            assert_eq!(width(text), columns, "{text}");
        }
        assert_eq!(cut("日本語", 5), "日本");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn folded_lines_fit_and_lose_no_letter() {
        let text = "retry 2 in 3s: https://registry.example/v2/日本語日本語日本語/blobs 503";
        for columns in 1..80 {
            let lines = fold(text, columns);
            let fits = |line: &String| width(line) <= columns.max(2);
            assert!(lines.iter().all(fits), "{columns}: {lines:?}");
            let letters = |text: &str| text.replace([' ', '\\'], "");
            assert_eq!(letters(&lines.concat()), letters(text), "{columns}");
        }
        assert_eq!(fold("", 10), [""]);
    }

    #[test]
    fn broken_word_is_marked_and_leading_space_stays() {
        assert_eq!(fold("an abcdefghij", 6), ["an", "abcde\\", "fghij"]);
        assert_eq!(fold_after("  tip: one two", 9, 4), ["  tip:", "one", "two"]);
        assert_eq!(fold("      abcdefgh", 8), ["      a\\", "bcdefgh"]);
    }

    #[test]
    fn parts_of_a_long_word_have_no_space_between() {
        let digest = "sha256:".to_owned() + &"0123456789abcdef".repeat(4);
        let lines = fold_indented(&format!("removed {digest} of no use"), 60, 2);
        assert_eq!(lines[0], "removed");
        let rest = lines[1..].iter();
        let rest: String = rest
            .map(|line| line.trim_start().trim_end_matches(CONTINUED))
            .collect();
        assert!(rest.starts_with(&digest), "{lines:?}");
        assert!(lines.iter().all(|line| line.len() <= 60), "{lines:?}");
        assert_eq!(fold_indented("short", 60, 2), ["short"]);
    }
}
