//! Generated tar headers, read by this project and by three independent readers.
//!
//! If the readers disagree, this project reports an error, or the table in `docs/flattening.md` has a row.

mod generate;
mod listing;
mod sparse;

use std::collections::BTreeSet;
use std::fmt::{Debug, Write as _};

use generate::{Case, case};
use listing::{Line, Program, listed, ours, python};

const DOCUMENT: &str = include_str!("../../docs/flattening.md");

/// How many archives are generated.
const CASES: u64 = 5000;

/// How many archives a program lists at a time, as one.
const GROUP: usize = 48;

/// What is odd about a generated archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Odd {
    Blanks,
    DeviceOfFile,
    FarTime,
    LeadingNuls,
    Garbage,
    SlashFile,
    OldDirectory,
    Magic,
    Prefix,
    GnuPrefix,
    GnuTimes,
    SizeWithoutContents,
    EmptyRecord,
    BadRecord,
    TwoHeaders,
    TwoNames,
    Global,
    WrongMap,
    Padding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reader {
    Python,
    GnuTar,
    Bsdtar,
}

/// A row of the table: its first cell, the readers that differ, and what is odd about the archives.
struct Rule(&'static str, &'static [Reader], Odd);

const RULES: &[Rule] = &[
    Rule(
        "NULs before the digits of a number",
        &[Reader::Python, Reader::GnuTar, Reader::Bsdtar],
        Odd::LeadingNuls,
    ),
    Rule(
        "a number field of blanks alone",
        &[Reader::GnuTar],
        Odd::Blanks,
    ),
    Rule(
        "bytes that are no number where a file has no device number",
        &[Reader::Python],
        Odd::DeviceOfFile,
    ),
    Rule(
        "a regular file (type `0`) named `d/`",
        &[Reader::GnuTar, Reader::Bsdtar],
        Odd::SlashFile,
    ),
    Rule(
        "a prefix in GNU's format",
        &[Reader::GnuTar, Reader::Bsdtar],
        Odd::GnuPrefix,
    ),
    Rule(
        "access and change times in GNU's format",
        &[Reader::Python],
        Odd::GnuTimes,
    ),
    Rule(
        "bytes where ustar has a prefix, without its magic",
        &[Reader::Python],
        Odd::Prefix,
    ),
    Rule(
        "a PAX record without a value",
        &[Reader::Python, Reader::GnuTar, Reader::Bsdtar],
        Odd::EmptyRecord,
    ),
    Rule(
        "a PAX global header",
        &[Reader::Python, Reader::GnuTar],
        Odd::Global,
    ),
    Rule(
        "two equal extended headers for one file",
        &[Reader::Bsdtar],
        Odd::TwoHeaders,
    ),
    Rule(
        "a hard link with a size and no contents",
        &[Reader::Bsdtar],
        Odd::SizeWithoutContents,
    ),
    Rule(
        "contents without padding at the end",
        &[Reader::Python, Reader::GnuTar, Reader::Bsdtar],
        Odd::Padding,
    ),
    Rule(
        "a time beyond 64 bits",
        &[Reader::GnuTar, Reader::Bsdtar],
        Odd::FarTime,
    ),
];

/// An archive that we read.
struct Accepted {
    case: Case,
    archive: Vec<u8>,
    ours: Vec<Line>,
}

#[test]
fn generated_headers_are_read_as_others_read_them() {
    let mut accepted = Vec::new();
    for seed in 0..CASES {
        let case = case(seed);
        let archive = case.archive();
        if let Ok(ours) = ours(&archive) {
            accepted.push(Accepted {
                case,
                archive,
                ours,
            });
        }
    }
    let share = accepted.len() * 100 / usize::try_from(CASES).unwrap();
    assert!(
        (50..95).contains(&share),
        "{share} % of the archives are read"
    );

    let mut differences = Differences::default();
    let directory = tempfile::tempdir().unwrap();
    let archives: Vec<_> = accepted.iter().map(|one| one.archive.clone()).collect();
    for (one, theirs) in accepted.iter().zip(python(directory.path(), &archives)) {
        if theirs.as_ref() != Some(&one.ours) {
            differences.add(Reader::Python, one, &theirs);
        }
    }
    for (program, reader) in [
        (Program::GnuTar, Reader::GnuTar),
        (Program::Bsdtar, Reader::Bsdtar),
    ] {
        let (known, others): (Vec<_>, Vec<_>) = accepted
            .iter()
            .partition(|one| rule(reader, &one.case).is_some());
        // Those that cannot stand among others: the end decides, or they change what follows.
        let (alone, others): (Vec<_>, Vec<_>) = others
            .into_iter()
            .partition(|one| one.case.end.len() < 1024 || one.case.odd.contains(&Odd::Global));
        for group in others.chunks(GROUP).chain(alone.chunks(1)) {
            check(program, group, &mut |one, theirs| {
                differences.add(reader, one, &theirs);
            });
        }
        for one in known {
            if !differences.knows(reader, one) {
                check(program, &[one], &mut |one, theirs| {
                    differences.add(reader, one, &theirs);
                });
            }
        }
    }
    let Differences { used, unknown } = differences;
    assert!(unknown.is_empty(), "{unknown}");
    for (index, Rule(name, readers, _)) in RULES.iter().enumerate() {
        let row = format!("\n| {name} | ");
        assert!(
            DOCUMENT.contains(&row),
            "docs/flattening.md has no row: {name}"
        );
        for reader in *readers {
            let occurs = used.contains(&(index, *reader));
            assert!(occurs, "{reader:?} never differs: {name}");
        }
    }
}

/// Returns the row that says why a reader may read an archive differently.
fn rule(reader: Reader, case: &Case) -> Option<usize> {
    RULES
        .iter()
        .position(|Rule(_, readers, odd)| readers.contains(&reader) && case.odd.contains(odd))
}

/// What was read differently.
#[derive(Default)]
struct Differences {
    /// Rows of the table that were seen, by reader.
    used: BTreeSet<(usize, Reader)>,
    /// Differences that no row has.
    unknown: String,
}

impl Differences {
    fn add(&mut self, reader: Reader, one: &Accepted, theirs: &dyn Debug) {
        match rule(reader, &one.case) {
            Some(rule) => drop(self.used.insert((rule, reader))),
            None => writeln!(
                self.unknown,
                "{reader:?} {:?}\n  case   {}\n  ours   {:?}\n  theirs {theirs:?}",
                one.case.odd, one.case.seed, one.ours
            )
            .unwrap(),
        }
    }

    /// Returns whether the row of this archive was already seen.
    fn knows(&self, reader: Reader, one: &Accepted) -> bool {
        rule(reader, &one.case).is_some_and(|rule| self.used.contains(&(rule, reader)))
    }
}

/// Compares a program's listing of archives with this project's: of all of them as one archive and, if that differs, of
/// the halves.
fn check(
    program: Program,
    group: &[&Accepted],
    differs: &mut dyn FnMut(&Accepted, Option<Vec<String>>),
) {
    let (archive, ours) = match group {
        [] => return,
        [one] => (one.archive.clone(), shown(&one.ours)),
        _ => {
            let mut archive = Vec::new();
            let mut lines = Vec::new();
            for one in group {
                archive.extend(&one.case.entries);
                lines.extend(shown(&one.ours[1..one.ours.len() - 1]));
            }
            archive.extend([0; 1024]);
            (archive, lines)
        }
    };
    let theirs = listed(program, &archive);
    if theirs.as_ref() == Some(&ours) {
        return;
    }
    match group {
        [one] => differs(one, theirs),
        _ => {
            let (first, second) = group.split_at(group.len() / 2);
            check(program, first, differs);
            check(program, second, differs);
        }
    }
}

fn shown(lines: &[Line]) -> Vec<String> {
    lines.iter().map(|line| line.shown.clone()).collect()
}
