//! The changes of one layer to a tree, in few bytes.
//!
//! The lists of all layers are in memory at the same time, and later the tree as well. So a path is stored as the bytes
//! that it does not share with the path before (tar archives are walks of a tree, so most of a path is shared), and the
//! list is freed piece by piece while it is applied.

use std::collections::{TryReserveError, VecDeque};

use sqfs_writer::{Kind, Metadata};

use crate::growth::Growth as _;

/// Number of changes in one piece of a list.
const CHUNK: usize = 4096;

/// Bytes of paths at which a piece is full as well. While it grows, it takes up to three times as much.
const PATHS: usize = 256 << 10;

/// Bytes that a number takes at most, see [`push_number`].
const NUMBER_MAX: usize = 10;

/// The contents that a regular file's inode refers to, before it is known whether the inode survives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content<H> {
    /// The contents were written.
    Written {
        handle: H,
        /// Number of their bytes, holes left out.
        data: u64,
    },
    /// The contents looked replaced and were skipped. That layer has them, in the entry with this ordinal, counted from
    /// 0.
    Skipped { layer: usize, ordinal: u64 },
}

/// The change at a path.
#[derive(Debug)]
pub(super) enum Action<H> {
    /// Put this entry there. A directory over a directory only changes the metadata.
    Place(Metadata, Kind<Content<H>>),
    /// Put a second name there for the inode of this path.
    Link(Box<[u8]>),
    /// Remove what is older than the layer.
    Whiteout,
    /// Remove everything in the directory that is older than the layer.
    Opaque,
}

/// The changes of one layer, in the layer's order.
#[derive(Debug)]
pub(super) struct Changes<H> {
    chunks: VecDeque<Chunk<H>>,
    last: Vec<u8>,
}

#[derive(Debug)]
struct Chunk<H> {
    /// For each action: the number of bytes shared with the path before, the number of bytes that follow, and those
    /// bytes. The first path of a chunk shares nothing.
    paths: Vec<u8>,
    actions: Vec<Action<H>>,
}

impl<H> Changes<H> {
    pub(super) fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            last: Vec::new(),
        }
    }

    /// Returns how many bytes of that path would be stored, except for the first change of a new piece.
    pub(super) fn suffix(&self, path: &[u8]) -> usize {
        path.len() - shared(&self.last, path)
    }

    pub(super) fn push(&mut self, path: &[u8], action: Action<H>) -> Result<(), TryReserveError> {
        let full = |chunk: &Chunk<H>| chunk.actions.len() == CHUNK || chunk.paths.len() >= PATHS;
        if self.chunks.back().is_none_or(full) {
            if let Some(full) = self.chunks.back_mut() {
                full.paths.try_shrink();
                full.actions.try_shrink();
            }
            self.last.clear();
            self.chunks.try_reserve(1)?;
            self.chunks.push_back(Chunk {
                paths: Vec::new(),
                actions: Vec::new(),
            });
        }
        let Some(chunk) = self.chunks.back_mut() else {
            return Ok(());
        };
        let shared = shared(&self.last, path);
        let suffix = path.len() - shared;
        chunk.paths.try_reserve(suffix + 2 * NUMBER_MAX)?;
        chunk.actions.try_reserve(1)?;
        self.last.try_reserve(suffix)?;
        push_number(&mut chunk.paths, shared);
        push_number(&mut chunk.paths, suffix);
        chunk.paths.extend_from_slice(&path[shared..]);
        chunk.actions.push(action);
        self.last.truncate(shared);
        self.last.extend_from_slice(&path[shared..]);
        Ok(())
    }

    /// Finishes the list, to which nothing is added any more.
    pub(super) fn finish(mut self) -> Self {
        if let Some(last) = self.chunks.back_mut() {
            last.paths.try_shrink();
            last.actions.try_shrink();
        }
        self.last = Vec::new();
        self
    }

    /// Calls `visit` for every change, in order, up to the first error.
    pub(super) fn visit<E>(
        &self,
        mut visit: impl FnMut(&[u8], &Action<H>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut path = Vec::new();
        for chunk in &self.chunks {
            let mut paths = Paths::new(&chunk.paths);
            for action in &chunk.actions {
                paths.next(&mut path);
                visit(&path, action)?;
            }
        }
        Ok(())
    }

    /// Calls `visit` for every change, in order, and frees each piece after it.
    pub(super) fn consume<E>(
        self,
        mut visit: impl FnMut(&[u8], Action<H>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut path = Vec::new();
        for chunk in self.chunks {
            let mut paths = Paths::new(&chunk.paths);
            for action in chunk.actions {
                paths.next(&mut path);
                visit(&path, action)?;
            }
        }
        Ok(())
    }
}

/// Returns the number of leading bytes that both have in common.
fn shared(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

struct Paths<'a>(&'a [u8]);

impl<'a> Paths<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Turns the previous path into the next one.
    fn next(&mut self, path: &mut Vec<u8>) {
        let shared = self.number();
        let length = self.number();
        let (suffix, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        path.truncate(shared);
        path.extend_from_slice(suffix);
    }

    fn number(&mut self) -> usize {
        let mut value = 0;
        let mut shift = 0;
        while let Some((byte, rest)) = self.0.split_first() {
            self.0 = rest;
            value |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
}

/// Appends a number: seven bits per byte, low ones first; the top bit means that more follow.
fn push_number(bytes: &mut Vec<u8>, mut value: usize) {
    while value > 0x7F {
        bytes.push(0x80 | (value & 0x7F).to_le_bytes()[0]);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_comes_back_in_order_across_pieces() {
        let long = [b'x'; 300];
        let paths: Vec<Vec<u8>> = (0..3 * CHUNK)
            .map(|i| match i % 3 {
                0 => format!("usr/lib/{i}").into_bytes(),
                1 => Vec::new(),
                _ => [&long[..], b"/", i.to_string().as_bytes()].concat(),
            })
            .collect();
        let mut changes = Changes::<()>::new();
        for path in &paths {
            changes.push(path, Action::Whiteout).unwrap();
        }
        let changes = changes.finish();
        let mut visited = Vec::new();
        let result: Result<(), ()> = changes.visit(|path, _| {
            visited.push(path.to_vec());
            Ok(())
        });
        result.unwrap();
        assert!(visited == paths);
        let mut consumed = Vec::new();
        let result: Result<(), ()> = changes.consume(|path, _| {
            consumed.push(path.to_vec());
            Ok(())
        });
        result.unwrap();
        assert!(consumed == paths);
    }

    /// A list is freed piece by piece, so no piece may hold most of it.
    #[test]
    fn pieces_hold_a_bounded_number_of_changes_and_bytes() {
        let mut changes = Changes::<()>::new();
        for number in 0..2 * CHUNK + 1 {
            let path = number.to_string();
            changes.push(path.as_bytes(), Action::Opaque).unwrap();
        }
        let lengths: Vec<_> = changes
            .chunks
            .iter()
            .map(|chunk| chunk.actions.len())
            .collect();
        assert_eq!(lengths, [CHUNK, CHUNK, 1]);
        let mut changes = Changes::<()>::new();
        for number in 0..2048 {
            let path = format!("{number}{}", "x".repeat(1000));
            changes.push(path.as_bytes(), Action::Opaque).unwrap();
        }
        assert!(changes.chunks.len() > 4);
        assert!(
            changes
                .chunks
                .iter()
                .all(|chunk| chunk.paths.len() < PATHS + 1100)
        );
    }
}
