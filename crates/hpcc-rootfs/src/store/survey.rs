//! A look at the recall files of stores: which layers of an image each claims to know. It is bounded, however many there are.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ociget::Digest;
use rustix::fs::OFlags;

use super::name::{self, Beside};
use super::trials::Excluded;
use super::trust::Trust;
use crate::recall::{Known, Wanted, disk_error};
use crate::regular_file;

/// Number of recall files whose names are read: about 20 ms.
const NAMES: usize = 1 << 14;

/// Number of recall files that are opened, the newest first: about 20 ms.
const HEADS: usize = 1 << 12;

/// Bytes of heads that are read: about 50 ms.
const BYTES: u64 = 8 << 20;

/// An artifact that claims to know layers of an image.
pub(super) struct Candidate {
    pub(super) artifact: Excluded,
    pub(super) known: Known,
}

/// The recall files that were not looked at yet, the newest last.
pub(super) struct Survey<'w> {
    wanted: &'w Wanted,
    trust: Trust,
    files: Vec<(SystemTime, Excluded)>,
    heads: usize,
    bytes: u64,
    /// The first artifact at whose recall file the disk failed, with its error; one is enough to tell.
    pub(super) unreadable: Option<(Excluded, String)>,
}

impl<'w> Survey<'w> {
    /// Lists the recall files in these directories, other than those of the artifacts that are excluded.
    pub(super) fn new(
        directories: &[PathBuf],
        without: &[Excluded],
        wanted: &'w Wanted,
        trust: Trust,
    ) -> Self {
        let mut files = Vec::new();
        for directory in directories {
            list(directory, without, &mut files);
        }
        if files.len() >= NAMES {
            tracing::info!(
                most = NAMES,
                "artifacts beyond that number are not copied from"
            );
        }
        // Of equally old ones the same comes first in each run.
        files.sort_unstable();
        Self {
            wanted,
            trust,
            files,
            heads: HEADS,
            bytes: BYTES,
            unreadable: None,
        }
    }

    /// Returns the next artifact that claims to know layers.
    pub(super) fn next(&mut self) -> Option<Candidate> {
        while let Some((_, artifact)) = self.files.pop() {
            if self.heads == 0 || self.bytes == 0 {
                let left_out = self.files.len() + 1;
                tracing::info!(
                    left_out,
                    "the oldest artifacts are not looked at for layers"
                );
                self.files.clear();
                return None;
            }
            self.heads -= 1;
            let claimed = open(&artifact.0, &artifact.1, self.trust)
                .and_then(|file| self.wanted.claimed(&file));
            let (known, read) = match claimed {
                Ok(claimed) => claimed,
                Err(error) => {
                    if let (None, Some(text)) = (&self.unreadable, disk_error(&error)) {
                        self.unreadable = Some((artifact, text));
                    }
                    continue;
                }
            };
            self.bytes = self.bytes.saturating_sub(read);
            if known.any.count() > 0 {
                return Some(Candidate { artifact, known });
            }
        }
        None
    }
}

/// Opens the recall file of an artifact.
pub(super) fn open(directory: &Path, digest: &Digest, trust: Trust) -> io::Result<File> {
    let path = directory.join(name::recall(digest));
    let file = regular_file::open(&path, OFlags::NOFOLLOW)?;
    let trusted = trust.file(&file, &path);
    trusted.map_err(|_| io::Error::from(io::ErrorKind::PermissionDenied))?;
    Ok(file)
}

/// Appends the recall files of a directory with their times, up to [`NAMES`] in all.
fn list(directory: &Path, without: &[Excluded], files: &mut Vec<(SystemTime, Excluded)>) {
    // A directory that cannot be listed is like an empty one.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if files.len() == NAMES {
            return;
        }
        let beside = entry.file_name().to_str().and_then(name::classify);
        let Some(Beside::Recall(digest)) = beside else {
            continue;
        };
        let artifact = (directory.to_owned(), digest);
        let metadata = entry.metadata().and_then(|metadata| metadata.modified());
        if let (Ok(time), false) = (metadata, without.contains(&artifact)) {
            files.push((time, artifact));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Makes recall files that consist of heads, the first one the newest. Returns those that the survey finds.
    fn found(count: usize, knows: impl Fn(usize) -> bool) -> Vec<usize> {
        let directory = tempfile::tempdir().unwrap();
        let (wanted, knowing, other) = Wanted::with_heads();
        let digest = |n: usize| Digest::of(n.to_string().as_bytes());
        for n in 0..count {
            let path = directory.path().join(name::recall(&digest(n)));
            fs::write(&path, if knows(n) { &knowing } else { &other }).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs((count - n) as u64);
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(time).unwrap();
        }
        let directories = [directory.path().to_owned()];
        let mut survey = Survey::new(&directories, &[], &wanted, Trust::Everyone);
        let candidates = std::iter::from_fn(|| survey.next());
        let digests: Vec<_> = candidates.map(|candidate| candidate.artifact.1).collect();
        let number = |found: &Digest| (0..count).find(|n| digest(*n) == *found).unwrap();
        digests.iter().map(number).collect()
    }

    #[test]
    fn newest_files_come_first_and_the_oldest_are_left_out() {
        assert_eq!(found(5, |n| n != 1), [0, 2, 3, 4]);
        let knows = |n| [3, HEADS - 1, HEADS].contains(&n);
        assert_eq!(found(HEADS + 2, knows), [3, HEADS - 1]);
    }

    #[test]
    fn excluded_artifacts_are_not_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let (wanted, knowing, _) = Wanted::with_heads();
        let [one, two] = [b"1", b"2"].map(|name| Digest::of(name));
        for digest in [&one, &two] {
            fs::write(directory.path().join(name::recall(digest)), &knowing).unwrap();
        }
        let directories = [directory.path().to_owned()];
        let without = [(directory.path().to_owned(), one)];
        let mut survey = Survey::new(&directories, &without, &wanted, Trust::Everyone);
        assert_eq!(survey.next().unwrap().artifact.1, two);
        assert!(survey.next().is_none());
    }
}
