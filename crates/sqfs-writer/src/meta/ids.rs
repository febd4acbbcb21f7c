//! User and group ids, each stored once, in order of their first use.

use std::collections::HashMap;

use crate::format::IdIndex;

#[derive(Default)]
pub(crate) struct Ids {
    ids: Vec<u32>,
    indexes: HashMap<u32, IdIndex>,
}

impl Ids {
    /// The superblock counts them in 16 bits.
    pub(crate) const MAX: u16 = u16::MAX;

    /// Returns the index of an id, or `None` if it is new and the table is full.
    pub(crate) fn index(&mut self, id: u32) -> Option<IdIndex> {
        if let Some(&index) = self.indexes.get(&id) {
            return Some(index);
        }
        let index = u16::try_from(self.ids.len())
            .ok()
            .filter(|&index| index < Self::MAX)
            .map(IdIndex)?;
        self.ids.push(id);
        self.indexes.insert(id, index);
        Some(index)
    }

    pub(crate) fn into_vec(self) -> Vec<u32> {
        self.ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_number_65536_is_refused_and_known_ones_still_found() {
        let mut ids = Ids::default();
        for id in 0..65_535 {
            assert_eq!(ids.index(id * 7), Some(IdIndex(u16::try_from(id).unwrap())));
        }
        assert_eq!(ids.index(3), None);
        assert_eq!(ids.index(7 * 65_534), Some(IdIndex(65_534)));
    }
}
