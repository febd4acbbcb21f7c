//! Positions of bodies and fragments in an image.

use std::fmt;

use super::handle::FileData;
use super::lists::Lists;
use super::recipe::Run;
use crate::format::FragmentEntry;
use crate::known::Fingerprint;
use crate::pieces::Pieces;

/// Positions of bodies and fragments in a finished image, for the [`Recipe`](super::Recipe)s of later ones. See
/// [`DataWriter::keep_places`](crate::DataWriter::keep_places).
pub struct Places {
    lists: Lists,
    fragments: Pieces<FragmentEntry>,
    tails: Pieces<Option<Fingerprint>>,
}

/// Place of a body. Positions count from the beginning of the image, the superblock included.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BodyPlace<I> {
    /// Position of its first stored block; the others follow without a gap. 0 without one.
    pub start: u64,
    /// Its blocks in order.
    pub blocks: I,
    /// The index of the fragment that holds its tail, and the offset in it, uncompressed.
    pub tail: Option<(u32, u32)>,
}

/// Place and content of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FragmentPlace {
    /// Position in the image.
    pub start: u64,
    /// Number of stored bytes.
    pub len: u32,
    /// Whether they are not compressed.
    pub raw: bool,
    /// Fingerprint of the tails in it, in order. `None` if one of them had none, or if it was not kept.
    pub tails: Option<Fingerprint>,
}

impl Places {
    pub(crate) fn new(
        lists: Lists,
        fragments: Pieces<FragmentEntry>,
        tails: Pieces<Option<Fingerprint>>,
    ) -> Self {
        Self {
            lists,
            fragments,
            tails,
        }
    }

    /// Returns the place of a body of this image, or `None` for a body that is recognizably of another writer.
    #[must_use]
    pub fn body(
        &self,
        data: FileData,
    ) -> Option<BodyPlace<impl Iterator<Item = Run> + Clone + use<'_>>> {
        let (content, runs) = self.lists.content(data).ok()?;
        let tail = data
            .has_tail()
            .then_some((content.fragment.0, content.offset));
        Some(BodyPlace {
            start: content.start,
            blocks: runs.map(|(word, count)| Run::of(word, count)),
            tail,
        })
    }

    /// Returns the fragments in the order of their indexes.
    pub fn fragments(&self) -> impl Iterator<Item = FragmentPlace> + '_ {
        let unknown = std::iter::repeat(None);
        let tails = self.tails.iter_from(0).copied().chain(unknown);
        let both = self.fragments.iter_from(0).zip(tails);
        both.map(|(entry, tails)| FragmentPlace {
            start: entry.start_block,
            len: entry.size.stored(),
            raw: entry.size.is_raw(),
            tails,
        })
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places")
            .field("fragments", &self.fragments.len())
            .finish_non_exhaustive()
    }
}
