//! Length of sentences: rule 2 of `docs/style.md`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{documents, prose, read};

/// Words that a sentence may have, as `docs/style.md` says.
const WORDS_MAX: usize = 25;

/// Returns the paragraphs and items of lists of a page with the number of their first line; tables and headings are none.
fn paragraphs(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    // What a program writes has its own style.
    let own = text.split("<!-- reference -->").next().unwrap_or_default();
    for (number, line) in prose(own).into_iter().enumerate() {
        let line = line.trim();
        let item = line.split_once(' ').filter(|(mark, _)| {
            let number = mark.strip_suffix('.').unwrap_or_default();
            let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
            ["-", "*"].contains(mark) || is_number
        });
        if line.is_empty() || line.starts_with(['#', '|', '<', '>', '!']) {
            open = false;
        } else if let Some((_, item)) = item {
            found.push((number + 1, item.to_owned()));
            open = true;
        } else if let (true, Some((_, last))) = (open, found.last_mut()) {
            last.push(' ');
            last.push_str(line);
        } else {
            found.push((number + 1, line.to_owned()));
            open = true;
        }
    }
    found
}

/// Returns a paragraph with one word for each code span, and without the targets of links.
fn plain(paragraph: &str) -> String {
    let code = paragraph.split('`').enumerate();
    let text: String = code
        .map(|(at, part)| if at % 2 == 0 { part } else { "code" })
        .collect();
    let mut parts = text.split("](");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
    }
    plain
}

/// Returns the sentences of a paragraph that are too long, each after the number of its words.
fn too_long(paragraph: &str) -> Vec<(usize, String)> {
    let plain = plain(paragraph);
    let marked = ["? ", "! ", ".* ", ".** ", ".) ", ".\" "]
        .iter()
        .fold(plain, |text, end| text.replace(end, ". "));
    let sentences = marked.split(". ").map(|sentence| {
        let words = sentence.split_whitespace();
        let words = words.filter(|word| word.contains(char::is_alphanumeric));
        (words.count(), sentence.to_owned())
    });
    sentences.filter(|(words, _)| *words > WORDS_MAX).collect()
}

#[test]
fn sentences_have_at_most_25_words() {
    assert!(read("docs/style.md").contains(&format!("at most {WORDS_MAX} words")));
    let (mut checked, mut wrong) = (0, BTreeMap::<PathBuf, Vec<String>>::new());
    for (path, text) in documents() {
        for (line, paragraph) in paragraphs(&text) {
            checked += 1;
            for (words, sentence) in too_long(&paragraph) {
                let found = format!("{line}: {words} words: {sentence}");
                wrong.entry(path.clone()).or_default().push(found);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked > 1000, "only {checked} paragraphs");
}

/// Otherwise the test above could agree with anything.
#[test]
fn long_sentences_are_found_in_paragraphs_and_lists() {
    let words = |count: usize| vec!["word"; count].join(" ");
    let page = format!(
        "# {}\n\n{}.\nAnd {}.\n\n- {}\n",
        words(30),
        words(25),
        words(25),
        words(26)
    );
    let found: Vec<_> = paragraphs(&page)
        .iter()
        .flat_map(|(line, text)| {
            too_long(text)
                .into_iter()
                .map(move |(count, _)| (*line, count))
        })
        .collect();
    assert_eq!(found, [(3, 26), (6, 26)]);
    assert_eq!(plain("a [b c](d.md#e) `f g h` i"), "a [b c code i");
}
