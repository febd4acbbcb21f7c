//! Where two listings disagree.

use std::collections::BTreeSet;
use std::fmt;

use crate::escape::{escape, to_hex};
use crate::{Entry, Kind, Listing};

/// Parts that a comparison leaves out, because no tree of that origin could get it right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiffOptions {
    /// Paths that are not looked at on either side, with all that is below them.
    pub ignore: BTreeSet<Vec<u8>>,
    /// Paths that may be there though they are not expected, without what is below them.
    pub allow_extra: BTreeSet<Vec<u8>>,
    /// Paths whose times are not compared: directories that no layer describes get the time of unpacking.
    pub ignore_mtime: BTreeSet<Vec<u8>>,
    /// Names of extended attributes that are not looked at on either side.
    pub ignore_xattrs: BTreeSet<Vec<u8>>,
    /// Judgement of link counts of directories.
    pub directory_links: DirectoryLinks,
    /// Compare sizes of directories too. That makes sense between two trees on the same kind of file system alone.
    pub directory_sizes: bool,
}

/// Judgement of link counts of directories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DirectoryLinks {
    /// The found count must be 2 and one more for each directory in it, whatever the expected tree says: btrfs says 1
    /// for all, overlayfs what its layers say, and only the found tree knows the directories that were added to it.
    #[default]
    FromSubdirectories,
    /// The found count must be the expected one.
    AsExpected,
    /// Any count will do.
    Ignore,
}

/// One disagreement. Shown as `/usr/bin/sudo: mode 4755 expected, 0755 found`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The entry.
    pub path: Vec<u8>,
    /// In what it differs: a field of [`Entry`] or of its [`Kind`], `xattr NAME`, `type`, or `entry` when it is
    /// missing or extra.
    pub field: String,
    /// Expected value.
    pub expected: String,
    /// Value that was found.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            field,
            expected,
            found,
        } = self;
        write!(
            f,
            "{}: {field} {expected} expected, {found} found",
            escape(path)
        )
    }
}

/// Returns all differences between the tree that should be there and the one that is, in order of their paths.
pub fn diff(expected: &Listing, found: &Listing, options: &DiffOptions) -> Vec<Difference> {
    let subdirectories = found.subdirectories();
    let paths: BTreeSet<&[u8]> = expected
        .entries
        .keys()
        .chain(found.entries.keys())
        .map(Vec::as_slice)
        .collect();
    let mut differences = Vec::new();
    for path in paths.into_iter().filter(|path| !options.ignores(path)) {
        let mut report = Report {
            path,
            differences: &mut differences,
        };
        match (expected.entries.get(path), found.entries.get(path)) {
            (Some(expected), Some(found)) => {
                compare(expected, found, options, &mut report);
                let counted = 2 + subdirectories.get(path).copied().unwrap_or(0);
                compare_links(expected, found, counted, options, &mut report);
            }
            (Some(expected), None) => report.differs("entry", expected.kind.name(), "nothing"),
            (None, Some(found)) if !options.allow_extra.contains(path) => {
                report.differs("entry", "nothing", found.kind.name());
            }
            _ => {}
        }
    }
    differences
}

impl DiffOptions {
    fn ignores(&self, path: &[u8]) -> bool {
        let prefixes = path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(end, _)| path.get(..end));
        prefixes
            .flatten()
            .chain([path])
            .any(|prefix| self.ignore.contains(prefix))
    }
}

struct Report<'a> {
    path: &'a [u8],
    differences: &'a mut Vec<Difference>,
}

impl Report<'_> {
    fn differs(&mut self, field: &str, expected: impl Into<String>, found: impl Into<String>) {
        self.differences.push(Difference {
            path: self.path.to_vec(),
            field: field.to_owned(),
            expected: expected.into(),
            found: found.into(),
        });
    }

    fn check<T: PartialEq>(
        &mut self,
        field: &str,
        expected: &T,
        found: &T,
        show: impl Fn(&T) -> String,
    ) {
        if expected != found {
            self.differs(field, show(expected), show(found));
        }
    }
}

fn compare(expected: &Entry, found: &Entry, options: &DiffOptions, report: &mut Report<'_>) {
    let same_type = expected.kind.name() == found.kind.name();
    let directory = matches!(found.kind, Kind::Directory);
    if !same_type {
        report.differs("type", expected.kind.name(), found.kind.name());
    }
    report.check("mode", &expected.mode, &found.mode, |mode| {
        format!("{mode:04o}")
    });
    report.check("uid", &expected.uid, &found.uid, u32::to_string);
    report.check("gid", &expected.gid, &found.gid, u32::to_string);
    if same_type && (!directory || options.directory_sizes) {
        report.check("size", &expected.size, &found.size, u64::to_string);
    }
    if !options.ignore_mtime.contains(report.path) {
        report.check("mtime", &expected.mtime, &found.mtime, i64::to_string);
    }
    match (&expected.kind, &found.kind) {
        (Kind::File { sha256: expected }, Kind::File { sha256: found }) => {
            report.check("sha256", expected, found, |digest| to_hex(digest));
        }
        (Kind::Symlink { target: expected }, Kind::Symlink { target: found }) => {
            report.check("target", expected, found, |target| escape(target));
        }
        (
            Kind::CharDevice { major: a, minor: b } | Kind::BlockDevice { major: a, minor: b },
            Kind::CharDevice { major: c, minor: d } | Kind::BlockDevice { major: c, minor: d },
        ) => report.check("device", &(a, b), &(c, d), |(major, minor)| {
            format!("{major}:{minor}")
        }),
        _ => {}
    }
    report.check(
        "shared",
        &expected.shared,
        &found.shared,
        |shared| match shared {
            None => "with no other name".to_owned(),
            Some(first) => format!("with {}", escape(first)),
        },
    );
    let names: BTreeSet<_> = expected.xattrs.keys().chain(found.xattrs.keys()).collect();
    for name in names
        .into_iter()
        .filter(|name| !options.ignore_xattrs.contains(*name))
    {
        let field = format!("xattr {}", escape(name));
        report.check(
            &field,
            &expected.xattrs.get(name),
            &found.xattrs.get(name),
            |value| value.map_or("none".to_owned(), |value| format!("0x{}", to_hex(value))),
        );
    }
}

fn compare_links(
    expected: &Entry,
    found: &Entry,
    counted: u64,
    options: &DiffOptions,
    report: &mut Report<'_>,
) {
    let expected = match (&found.kind, options.directory_links) {
        (Kind::Directory, DirectoryLinks::Ignore) => return,
        (Kind::Directory, DirectoryLinks::FromSubdirectories) => counted,
        _ => expected.links,
    };
    report.check("links", &expected, &found.links, u64::to_string);
}

#[cfg(test)]
mod tests;
