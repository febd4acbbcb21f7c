//! The shadow index: which bodies of a layer look dead, judged by the names of the newer layers.
//!
//! A hint that is right for images as tools build them. It is never used to decide what the tree holds, only whether a
//! body is worth writing now. A body wrongly kept is dead weight in the image. A body wrongly skipped costs a second
//! pass over its layer. Neither changes the tree.

use std::collections::{HashSet, TryReserveError};

use sqfs_writer::Kind;

use super::change::{Action, Changes};
use super::cost;
use super::error::{Halt, Problem};
use super::marker::is_link_target;
use super::steps::Ticks;
use crate::growth::Growth as _;

/// Names of newer layers, as hashes of their paths. Two names with the same hash cost no more than a wrong hint, and
/// hashes of a million names take megabytes instead of hundreds of them.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    /// A newer layer put something exactly here, or removed it from here.
    replaced: HashSet<u64>,
    /// Nothing older is left below here: the name is not a directory any more, or was emptied.
    covered: HashSet<u64>,
    /// A newer layer links to this name and had not put anything there itself by then.
    linked: HashSet<u64>,
}

impl Shadow {
    /// Returns whether a file at this path of the next older layer is most likely gone in the end.
    pub(super) fn is_dead(&self, path: &[u8]) -> bool {
        let mut hash = PathHash::ROOT;
        let mut covered = self.covered.contains(&hash.0);
        for byte in path {
            if *byte == b'/' {
                covered |= self.covered.contains(&hash.0);
            }
            hash.push(*byte);
        }
        (covered || self.replaced.contains(&hash.0)) && !self.linked.contains(&hash.0)
    }

    /// Adds a layer that is newer than all layers added later. `charge` is called with the cost of what is added before
    /// more is added. An error of `charge` or of `ticks` ends that.
    pub(super) fn add<H>(
        &mut self,
        changes: &Changes<H>,
        mut charge: impl FnMut(u64) -> Result<(), Halt>,
        ticks: &mut Ticks<'_>,
    ) -> Result<(), Problem> {
        let mut placed = HashSet::new();
        let mut linked = Vec::new();
        changes.visit(|path, action| {
            ticks
                .tick()
                .map_err(|stopped| Halt::Stopped(stopped).of(path))?;
            // The name is removed at the end of its own layer, and proves nothing about others.
            if is_link_target(path) {
                return Ok(());
            }
            let lacks = |error: TryReserveError| Halt::from(error).of(path);
            let hash = PathHash::of(path).0;
            let mut added = 0;
            match action {
                Action::Place(_, Kind::Directory(_)) => {
                    added += self.parents(path).map_err(lacks)?;
                    added += insert(&mut self.replaced, hash).map_err(lacks)?;
                }
                Action::Place(..) | Action::Link(_) => {
                    added += self.parents(path).map_err(lacks)?;
                    added += insert(&mut self.replaced, hash).map_err(lacks)?;
                    added += insert(&mut self.covered, hash).map_err(lacks)?;
                    added += insert(&mut placed, hash).map_err(lacks)?;
                }
                Action::Whiteout => {
                    added += insert(&mut self.replaced, hash).map_err(lacks)?;
                    added += insert(&mut self.covered, hash).map_err(lacks)?;
                    // A link of a newer layer cannot reach past this change.
                    self.linked.remove(&hash);
                }
                Action::Opaque => {
                    added += insert(&mut self.covered, hash).map_err(lacks)?;
                }
            }
            if let Action::Link(target) = action {
                let target = PathHash::of(target).0;
                if !placed.contains(&target) {
                    // Once in this list, and once in the set afterwards.
                    added += 2;
                    linked.try_push(target).map_err(lacks)?;
                }
            }
            charge(added * cost::SHADOW).map_err(|problem| problem.of(path))
        })?;
        for hash in &placed {
            self.linked.remove(hash);
        }
        let reserved = self.linked.try_reserve(linked.len());
        reserved.map_err(|error| Halt::from(error).of(b""))?;
        self.linked.extend(linked);
        Ok(())
    }

    /// Marks the parents of a path, which are directories from this layer on. Returns how many of them are new.
    fn parents(&mut self, path: &[u8]) -> Result<u64, TryReserveError> {
        let mut hash = PathHash::ROOT;
        let mut added = 0;
        for byte in path {
            if *byte == b'/' {
                added += insert(&mut self.replaced, hash.0)?;
            }
            hash.push(*byte);
        }
        Ok(added)
    }
}

/// Adds a hash, and returns how many are new: one or none.
fn insert(hashes: &mut HashSet<u64>, hash: u64) -> Result<u64, TryReserveError> {
    hashes.try_reserve(1)?;
    Ok(hashes.insert(hash).into())
}

/// FNV-1a over 64 bits. The hash of a path is a continuation of the hashes of its parents. The image's bytes depend on
/// it, so it is not a hash that a new compiler may change.
struct PathHash(u64);

impl PathHash {
    const ROOT: Self = Self(0xCBF2_9CE4_8422_2325);

    fn of(path: &[u8]) -> Self {
        let mut hash = Self::ROOT;
        for byte in path {
            hash.push(*byte);
        }
        hash
    }

    fn push(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that the authors of FNV publish for the variant 1a of 64 bits.
    #[test]
    fn paths_are_hashed_by_fnv_1a() {
        for (path, hash) in [
            (&b""[..], 0xCBF2_9CE4_8422_2325),
            (b"a", 0xAF63_DC4C_8601_EC8C),
            (b"foobar", 0x8594_4171_F739_67E8),
        ] {
            assert_eq!(PathHash::of(path).0, hash, "{}", path.escape_ascii());
        }
    }
}
