//! Hard links whose target does not exist yet.
//!
//! Only a link whose target does not exist waits. If something has the target's name, the link refers to that, even if
//! the same layer puts something else there later. Writers of archives put the file before its links, so few links
//! wait; but an image can make all of its entries wait, each for another one.
//!
//! At the end of the layer the links are made as if all of them were tried in turn, again and again. During that time
//! names are only added, and a link can only be made once one of the names is filled that were empty when it was tried
//! before. So each link is registered under these names, and is tried again, in its turn, only when one of them is
//! filled.

use std::collections::{BTreeSet, HashMap, TryReserveError};

use sqfs_writer::NodeId;

use super::resolve::Spot;
use crate::growth::Growth as _;

/// A waiting link. Its name is empty in the meantime. If an entry takes the name, or its directory is removed, the link
/// is replaced like any other file.
#[derive(Debug)]
pub(super) struct WaitingLink {
    pub(super) path: Box<[u8]>,
    pub(super) target: Box<[u8]>,
    pub(super) directory: NodeId,
    pub(super) name: Box<[u8]>,
}

/// The waiting links of one layer, in its order. Of two with the same name, only the last is kept.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    links: Vec<Option<WaitingLink>>,
    by_name: HashMap<Spot, usize>,
}

impl Waiting {
    pub(super) fn push(&mut self, link: WaitingLink) -> Result<(), TryReserveError> {
        let name = (link.directory, link.name.clone());
        let index = self.links.len();
        self.by_name.try_reserve(1)?;
        self.links.try_push(Some(link))?;
        if let Some(old) = self.by_name.insert(name, index)
            && let Some(slot) = self.links.get_mut(old)
        {
            *slot = None;
        }
        Ok(())
    }

    /// Returns all of them, each to be tried once.
    pub(super) fn into_rounds(self) -> Rounds {
        let mut this = BTreeSet::new();
        // Collected, they would be in a list of their own before.
        (0..self.links.len()).for_each(|link| {
            this.insert(link);
        });
        Rounds {
            this,
            next: BTreeSet::new(),
            turn: 0,
            links: self.links,
            waits_for: HashMap::new(),
        }
    }
}

/// Rounds through the waiting links of a layer. Only links that may be made get a turn.
#[derive(Debug)]
pub(super) struct Rounds {
    /// The links; `None` for each that is settled.
    links: Vec<Option<WaitingLink>>,
    /// The links that may be made once this name is filled.
    waits_for: HashMap<Spot, Vec<usize>>,
    /// Indexes of the links that have a turn in this round, and in the next one.
    this: BTreeSet<usize>,
    next: BTreeSet<usize>,
    /// Index of the link whose turn it is.
    turn: usize,
}

impl Rounds {
    /// Takes out the next link that may be made, and returns it with its position in the order.
    pub(super) fn next(&mut self) -> Option<(usize, WaitingLink)> {
        loop {
            let Some(turn) = self.this.pop_first() else {
                if self.next.is_empty() {
                    return None;
                }
                std::mem::swap(&mut self.this, &mut self.next);
                continue;
            };
            self.turn = turn;
            if let Some(link) = self.links.get_mut(turn).and_then(Option::take) {
                return Some((turn, link));
            }
        }
    }

    /// Puts a link back that was tried in vain, until one of the names that were empty is filled.
    pub(super) fn put_back(
        &mut self,
        turn: usize,
        link: WaitingLink,
        absent: Vec<Spot>,
    ) -> Result<(), TryReserveError> {
        for spot in absent {
            self.waits_for.try_reserve(1)?;
            self.waits_for.entry(spot).or_default().try_push(turn)?;
        }
        if let Some(slot) = self.links.get_mut(turn) {
            *slot = Some(link);
        }
        Ok(())
    }

    /// Wakes the links that wait for a name, which was filled, or whose own link was dropped. Links further on have
    /// their turn in this round, those before in the next one.
    pub(super) fn wake(&mut self, spot: Spot) {
        for waits in self.waits_for.remove(&spot).unwrap_or_default() {
            let round = if waits > self.turn {
                &mut self.this
            } else {
                &mut self.next
            };
            round.insert(waits);
        }
    }

    /// Returns the first link that was not made, once no link has a turn any more.
    pub(super) fn into_first(self) -> Option<WaitingLink> {
        self.links.into_iter().flatten().next()
    }
}
