//! User and group ids, each stored once, in order of their first use.

use std::collections::{HashMap, TryReserveError};

use crate::format::IdIndex;
use crate::growth::Growth as _;

#[derive(Default)]
pub(crate) struct Ids {
    ids: Vec<u32>,
    indexes: HashMap<u32, IdIndex>,
}

impl Ids {
    /// The superblock counts them in 16 bits.
    pub(crate) const MAX: u16 = u16::MAX;

    /// Returns the index of an id, or `None` if it is new and the table is full.
    pub(crate) fn index(&mut self, id: u32) -> Result<Option<IdIndex>, TryReserveError> {
        if let Some(&index) = self.indexes.get(&id) {
            return Ok(Some(index));
        }
        let index = u16::try_from(self.ids.len())
            .ok()
            .filter(|&index| index < Self::MAX)
            .map(IdIndex);
        if let Some(index) = index {
            self.indexes.try_reserve(1)?;
            self.ids.try_push(id)?;
            self.indexes.insert(id, index);
        }
        Ok(index)
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
            let index = IdIndex(u16::try_from(id).unwrap());
            assert_eq!(ids.index(id * 7).unwrap(), Some(index));
        }
        assert_eq!(ids.index(3).unwrap(), None);
        assert_eq!(ids.index(7 * 65_534).unwrap(), Some(IdIndex(65_534)));
    }
}
