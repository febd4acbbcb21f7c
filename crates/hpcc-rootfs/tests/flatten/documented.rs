//! The cases of `docs/flattening.md`, taken from that file: it cannot say what is not so.

use std::collections::BTreeMap;

use hpcc_rootfs::layer::Limits;

use crate::archive::layer;
use crate::listing::{listing, notation};
use crate::run::{chain, flatten_items};

const DOCUMENT: &str = include_str!("../../../../docs/flattening.md");

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) layers: Vec<String>,
    pub(crate) expected: Expected,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Tree(String),
    /// The layer counted from one, the entry, and words of the message.
    Error(Vec<String>),
}

/// Rows of the tables: `| name | code, then code | code |`, or `| … | error: code, code |`.
pub(crate) fn cases() -> Vec<Case> {
    let rows = DOCUMENT
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'));
    // The tables of mount points and of other tools have no layers in them.
    let rows = rows.filter(|row| {
        let layers = row.split(" | ").nth(1);
        row.split(" | ").count() == 3 && layers.is_some_and(|cell| cell.contains('`'))
    });
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, layers, result] = cells[..] else {
            panic!("not three cells: {row}");
        };
        Case {
            name: name.into(),
            layers: code(layers),
            expected: match result.starts_with("error") {
                true => Expected::Error(code(result)),
                false => Expected::Tree(code(result).join(" ")),
            },
        }
    })
    .collect()
}

fn code(cell: &str) -> Vec<String> {
    let spans = cell.split('`').skip(1).step_by(2);
    spans.map(|span| span.trim().to_string()).collect()
}

#[test]
fn every_documented_case_is_what_happens() {
    let cases = cases();
    assert!(cases.len() >= 50, "the tables were not found");
    let mut wrong = String::new();
    for case in &cases {
        assert!(!case.layers.is_empty(), "{}", case.name);
        let layers: Vec<_> = case.layers.iter().map(|text| layer(text)).collect();
        let result = flatten_items(&layers);
        let right = match (&result, &case.expected) {
            (Ok(flattened), Expected::Tree(tree)) => notation(&listing(flattened)) == *tree,
            (Err(error), Expected::Error(words)) => {
                let message = chain(error);
                !words.is_empty() && words.iter().all(|word| message.contains(word))
            }
            _ => false,
        };
        if !right {
            let got = match &result {
                Ok(flattened) => notation(&listing(flattened)),
                Err(error) => format!("error: {}", chain(error)),
            };
            let Case {
                name,
                layers,
                expected,
            } = case;
            wrong += &format!(
                "{name}\n  layers   {layers:?}\n  expected {expected:?}\n  got      {got}\n"
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_limit_is_documented_with_its_default() {
    let section = DOCUMENT.split("\n## Limits\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeMap<String, String> = rows
        .map(|row| {
            let mut cells = row
                .split('|')
                .skip(1)
                .map(|cell| cell.replace([' ', '`'], ""));
            (cells.next().unwrap(), cells.next().unwrap())
        })
        .collect();
    let defaults = format!("{:?}", Limits::default());
    let fields = defaults
        .trim_start_matches("Limits {")
        .trim_end_matches('}');
    let defaults: BTreeMap<String, String> = fields
        .split(',')
        .filter_map(|field| field.split_once(':'))
        .map(|(name, value)| (name.trim().into(), value.trim().into()))
        .collect();
    assert!(defaults.len() > 10, "{defaults:?}");
    assert_eq!(documented, defaults);
}
