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

/// Returns the text in lines of at most that many columns, broken at spaces if there are some.
pub(crate) fn fold(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_inclusive(' ') {
        if width(&line) + width(word.trim_end()) > columns && !line.is_empty() {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
        }
        let mut rest = word;
        while width(rest.trim_end()) > columns {
            let piece = cut(rest, columns);
            // A letter of two columns does not fit into one, and stays whole.
            let letter = rest.chars().next().map_or(0, char::len_utf8);
            let piece = match piece {
                "" => rest.get(..letter).unwrap_or(rest),
                piece => piece,
            };
            lines.push(piece.to_owned());
            rest = rest.get(piece.len()..).unwrap_or_default();
        }
        line.push_str(rest);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line.trim_end().to_owned());
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
            let letters = |text: &str| text.replace(' ', "");
            assert_eq!(letters(&lines.concat()), letters(text), "{columns}");
        }
        assert_eq!(fold("", 10), [""]);
    }
}
