//! Hard links whose target is not there yet.
//!
//! Only a link whose target nothing has waits: if something has the name, that is what is meant,
//! also when the same layer puts something else there later. Writers of archives put the file
//! before its links, so there are few of these; but an image can make all of its entries wait, each
//! for another one.
//!
//! At the end of the layer the links are made as if all of them were tried in turn, again and again.
//! While that happens names are only added, and a link can only be made once one of the names is
//! filled that were empty when it was tried before. So each link is registered under these names,
//! and only tried again, in its turn, when one of them is filled.

use std::collections::{BTreeSet, HashMap};

use sqfs_writer::NodeId;

use super::resolve::Spot;

/// A link that waits. Its name is empty in the meantime; if something comes there, or its directory
/// goes away, it is replaced like any other file.
#[derive(Debug)]
pub(super) struct WaitingLink {
    pub(super) path: Box<[u8]>,
    pub(super) target: Box<[u8]>,
    pub(super) directory: NodeId,
    pub(super) name: Box<[u8]>,
}

/// The waiting links of one layer, in its order; of two with the same name, the last.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    links: Vec<Option<WaitingLink>>,
    by_name: HashMap<Spot, usize>,
}

impl Waiting {
    pub(super) fn push(&mut self, link: WaitingLink) {
        let name = (link.directory, link.name.clone());
        let index = self.links.len();
        self.links.push(Some(link));
        if let Some(old) = self.by_name.insert(name, index)
            && let Some(slot) = self.links.get_mut(old)
        {
            *slot = None;
        }
    }

    /// All of them, each to be tried once.
    pub(super) fn into_rounds(self) -> Rounds {
        Rounds {
            this: (0..self.links.len()).collect(),
            next: BTreeSet::new(),
            turn: 0,
            links: self.links,
            waits_for: HashMap::new(),
        }
    }
}

/// Rounds through the waiting links of a layer, of which only those get a turn that may be made.
#[derive(Debug)]
pub(super) struct Rounds {
    /// `None` for what is settled.
    links: Vec<Option<WaitingLink>>,
    /// The links that may be made once this name is filled.
    waits_for: HashMap<Spot, Vec<usize>>,
    /// Who has a turn in this round, and in the next one.
    this: BTreeSet<usize>,
    next: BTreeSet<usize>,
    /// Whose turn it is.
    turn: usize,
}

impl Rounds {
    /// The next link that may be made, taken out, and its place in the order.
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
    pub(super) fn put_back(&mut self, turn: usize, link: WaitingLink, absent: Vec<Spot>) {
        for spot in absent {
            self.waits_for.entry(spot).or_default().push(turn);
        }
        if let Some(slot) = self.links.get_mut(turn) {
            *slot = Some(link);
        }
    }

    /// A name was filled, or a link left out that would have had it. Links further on have their
    /// turn in this round, those before in the next one.
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

    /// The first link that was not made, once no one has a turn any more.
    pub(super) fn into_first(self) -> Option<WaitingLink> {
        self.links.into_iter().flatten().next()
    }
}
