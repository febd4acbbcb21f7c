//! Hard links whose target is not there yet.
//!
//! Only a link whose target nothing has waits: if something has the name, that is what is meant,
//! also when the same layer puts something else there later. Writers of archives put the file
//! before its links, so there are few of these.

use std::collections::HashMap;

use sqfs_writer::NodeId;

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
    by_name: HashMap<(NodeId, Box<[u8]>), usize>,
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

    pub(super) fn into_links(self) -> Vec<WaitingLink> {
        self.links.into_iter().flatten().collect()
    }
}
