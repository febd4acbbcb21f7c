//! Hostile archives, as both readers of tar files read them: the one of layers, and the one of archives that hold images.
//! If both accept an archive, they find the same members: names, kinds, targets, sizes, contents and holes.
//!
//! They differ by intent where one of them refuses or ignores what the other reads. `differences` in the tests lists these
//! forms.

use std::io;

use hpcc_rootfs::layer::{self, Budget, Entry, EntryKind, Limits, Segment, Stream, TarReader};
use ociget::{DiffId, Digest};

use crate::hostile;
use crate::source::by_offset::ByOffset;
use crate::source::piece::Piece;
use crate::source::tar_headers::{Headers, Member};

/// Most headers of an archive.
const HEADERS: usize = 1_000;
/// Most bytes of all files with their holes.
const LOGICAL_BYTES: u64 = 1 << 20;

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    let mut archive = input.to_vec();
    hostile::repair(&mut archive);
    compare(&archive);
}

/// Returns the number of members if both readers accept the archive.
fn compare(archive: &[u8]) -> Option<usize> {
    let layer = as_layer(archive).ok()?;
    let outer = as_outer(archive).ok()?;
    assert_eq!(layer.len(), outer.len(), "{layer:?}\n{outer:?}");
    for (one, other) in layer.iter().zip(&outer) {
        // A name with `..` may lead out of an archive of images, and to a file of a layer.
        let is_name = other.name.is_none() || other.name == one.name;
        assert!(
            is_name && is_same(&one.what, &other.what),
            "{one:?}\n{other:?}"
        );
    }
    Some(layer.len())
}

/// A member, as a reader sees it.
#[derive(Debug)]
struct Seen {
    /// `None` for the root, and for a name that leads out.
    name: Option<String>,
    what: What,
}

#[derive(Debug, PartialEq)]
enum What {
    File(Vec<Part>),
    /// The name that a link leads to; `None` if that leads out.
    Link(Option<String>),
    Other,
}

/// A part of contents; neighbors of one kind are one.
#[derive(Debug, PartialEq)]
enum Part {
    Data(Vec<u8>),
    Hole(u64),
}

/// Whether two readers saw the same. A reader of images does not tell a link that leads out from a directory.
fn is_same(layer: &What, outer: &What) -> bool {
    match (layer, outer) {
        (What::Link(_), What::Other) => true,
        (layer, outer) => layer == outer,
    }
}

fn as_layer(archive: &[u8]) -> Result<Vec<Seen>, layer::Error> {
    let mut limits = Limits::default();
    limits.entries = HEADERS as u64;
    limits.logical_bytes = LOGICAL_BYTES;
    let mut budget = Budget::new(limits);
    let diff_id = DiffId(Digest::of(archive));
    let stream = Stream::open(archive, archive.len() as u64, diff_id, budget.limits())?;
    let mut tar = TarReader::new(stream, &mut budget);
    let (mut entry, mut all) = (Entry::default(), Vec::new());
    while tar.read_entry(&mut entry)? {
        let mut parts = Vec::new();
        while let Some(segment) = tar.segment()? {
            push(
                &mut parts,
                match segment {
                    Segment::Data(bytes) => Part::Data(bytes.to_vec()),
                    Segment::Hole(length) => Part::Hole(length),
                },
            );
        }
        let name = text(&entry.path);
        let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
        let what = match &entry.kind {
            EntryKind::File { .. } => What::File(parts),
            EntryKind::HardLink(target) => What::Link(target_from("", &text(target))),
            EntryKind::Symlink(target) => What::Link(target_from(directory, &text(target))),
            _ => What::Other,
        };
        let name = Some(name).filter(|name| !name.is_empty());
        all.push(Seen { name, what });
    }
    let _proof = tar.finish()?;
    Ok(all)
}

fn as_outer(archive: &[u8]) -> io::Result<Vec<Seen>> {
    let mut bytes = InMemory(archive);
    let mut headers = Headers::new(HEADERS);
    let mut all = Vec::new();
    while let Some(found) = headers.next(&mut bytes)? {
        let what = match found.member {
            Some(Member::File(pieces)) => What::File(parts(archive, &pieces)?),
            Some(Member::Link(target)) => {
                What::Link(Some(target).filter(|target| !target.starts_with('/')))
            }
            None => What::Other,
        };
        let name = found.name;
        all.push(Seen { name, what });
    }
    Ok(all)
}

fn parts(archive: &[u8], pieces: &[Piece]) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for piece in pieces {
        let part = match *piece {
            Piece::Zeros(length) => Part::Hole(length),
            Piece::Data { offset, length } => {
                let mut data = vec![0; usize::try_from(length).unwrap()];
                InMemory(archive).read_exact_at(&mut data, offset)?;
                Part::Data(data)
            }
        };
        push(&mut parts, part);
    }
    Ok(parts)
}

fn push(parts: &mut Vec<Part>, part: Part) {
    match (parts.last_mut(), part) {
        (_, Part::Hole(0)) => {}
        (_, Part::Data(data)) if data.is_empty() => {}
        (Some(Part::Data(all)), Part::Data(data)) => all.extend(data),
        (Some(Part::Hole(all)), Part::Hole(length)) => *all += length,
        (_, part) => parts.push(part),
    }
}

/// Returns the text that a reader of archives takes for a name.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns where a link in `directory` leads, step by step.
fn target_from(directory: &str, target: &str) -> Option<String> {
    let mut names: Vec<&str> = directory
        .split('/')
        .filter(|name| !name.is_empty())
        .collect();
    if target.starts_with('/') {
        return None;
    }
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()?),
            name => names.push(name),
        }
    }
    (!names.is_empty()).then(|| names.join("/"))
}

/// An archive in memory.
struct InMemory<'a>(&'a [u8]);

impl ByOffset for InMemory<'_> {
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let rest = self.0.get(offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn end(&self) -> u64 {
        self.0.len() as u64
    }

    fn is_wanted(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
