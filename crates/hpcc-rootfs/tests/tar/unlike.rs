//! Archives that this project lists, and other readers list otherwise.

use crate::by_hand::{Parts, global, write};
use crate::listing::{as_gnu_tar_says, gnu_tar, ours, python};
use crate::raw::{file, pax};

/// Who lists it otherwise.
#[derive(Debug, PartialEq, Eq)]
enum Other {
    Python,
    GnuTar,
}

/// On purpose; why is in docs/flattening.md.
fn unlike() -> Vec<(&'static str, Parts, &'static [Other])> {
    vec![
        (
            "a file with a slash",
            vec![file(b"d/", b"")],
            &[Other::GnuTar],
        ),
        (
            "a global owner",
            vec![global(&[("uid", b"7")]), file(b"f", b"1")],
            &[Other::Python, Other::GnuTar],
        ),
        (
            "records taken back",
            vec![
                pax(&[("path", b""), ("uid", b""), ("mtime", b"")]),
                file(b"f", b"1"),
            ],
            &[Other::Python, Other::GnuTar],
        ),
    ]
}

#[test]
fn listed_disagreements_of_readers_are_known() {
    let directory = tempfile::tempdir().unwrap();
    let cases = unlike();
    let paths = write(
        directory.path(),
        cases.iter().map(|(_, parts, _)| parts),
        1024,
    );
    for (((name, _, others), path), python) in cases.iter().zip(&paths).zip(python(&paths)) {
        let (ours, _) = ours(&std::fs::read(path).unwrap()).unwrap();
        assert!(!others.is_empty(), "{name}");
        let mut found = Vec::new();
        if python.as_ref() != Ok(&ours) {
            found.push(Other::Python);
        }
        if gnu_tar(path) != Ok(as_gnu_tar_says(&ours)) {
            found.push(Other::GnuTar);
        }
        assert_eq!(
            found,
            *others,
            "{name}: {ours}{python:?} {:?}",
            gnu_tar(path)
        );
    }
}
