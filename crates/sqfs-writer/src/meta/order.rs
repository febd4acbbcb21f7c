//! The order of directories, and the numbers of inodes.
//!
//! Directories come in post-order: each after everything below it, because its listing needs the
//! places of the inodes, and an inode of a directory needs the place of its listing. Where a
//! directory has its turn, the inodes of all its children are written one behind the other, and
//! numbered one after the other. A stat of a whole directory then touches few metadata blocks, and
//! its listing needs few headers. The root comes last and has the highest number.

use crate::cancel::Cancel;
use crate::error::{Error, TreeError};
use crate::format::InodeNumber;
use crate::growth::{self, Growth as _};
use crate::tree::{Node, NodeId, Tree};

/// Returns all directories, each after those below it. It does not recurse, because images choose the depth.
pub(crate) fn post_order<B>(tree: &Tree<B>, cancel: &mut Cancel) -> Result<Vec<NodeId>, Error> {
    let mut order = Vec::new();
    let mut pending = vec![NodeId::ROOT];
    // Parents before children, and the last child first; the reverse of that is what is wanted.
    while let Some(id) = pending.pop() {
        order.try_push(id)?;
        let directory = tree.get(id).and_then(Node::as_directory);
        for (_, id) in directory.into_iter().flat_map(|directory| directory.iter()) {
            cancel.tick()?;
            if tree.get(id).and_then(Node::as_directory).is_some() {
                pending.try_push(id)?;
            }
        }
    }
    order.reverse();
    Ok(order)
}

/// The number of each inode.
pub(crate) struct Numbers {
    /// By index of the node; 0 for what is not in the tree.
    numbers: Vec<u32>,
    count: u32,
}

impl Numbers {
    /// Numbers all inodes in the order in which they will be written. [`TreeError::Stale`] if a
    /// `u32` is not enough, which a tree of `u32` nodes rules out.
    pub(crate) fn new<B>(
        tree: &Tree<B>,
        order: &[NodeId],
        cancel: &mut Cancel,
    ) -> Result<Self, Error> {
        let mut list = growth::with_capacity(tree.slots())?;
        list.resize(tree.slots(), 0);
        let mut numbers = Self {
            numbers: list,
            count: 0,
        };
        for &id in order {
            let directory = tree.get(id).and_then(Node::as_directory);
            for (_, child) in directory.ok_or(TreeError::Stale)?.iter() {
                cancel.tick()?;
                numbers.add(child).ok_or(TreeError::Stale)?;
            }
        }
        numbers.add(NodeId::ROOT).ok_or(TreeError::Stale)?;
        Ok(numbers)
    }

    fn add(&mut self, id: NodeId) -> Option<()> {
        let number = self.numbers.get_mut(id.index())?;
        if *number == 0 {
            self.count = self.count.checked_add(1)?;
            *number = self.count;
        }
        Some(())
    }

    /// Returns their number, which is that of the root too.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<InodeNumber> {
        let number = *self.numbers.get(id.index())?;
        (number != 0).then_some(InodeNumber(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Metadata};

    #[test]
    fn children_are_numbered_together_and_before_their_parent() {
        let mut tree: Tree<()> = Tree::new(Metadata::new(0o755));
        let mut directory = |parent, name: &[u8]| {
            tree.insert(parent, name, Metadata::new(0o755), Kind::directory())
                .unwrap()
        };
        let b = directory(NodeId::ROOT, b"b");
        let a = directory(NodeId::ROOT, b"a");
        let inner = directory(a, b"inner");
        let shared = tree
            .insert(a, b"z", Metadata::new(0o644), Kind::Fifo)
            .unwrap();
        tree.link(b, b"z", shared).unwrap();
        let mut cancel = Cancel::default();
        let order = post_order(&tree, &mut cancel).unwrap();
        assert_eq!(order, [inner, a, b, NodeId::ROOT]);
        let numbers = Numbers::new(&tree, &order, &mut cancel).unwrap();
        let expected = [(inner, 1), (shared, 2), (a, 3), (b, 4), (NodeId::ROOT, 5)];
        for (id, number) in expected {
            assert_eq!(numbers.get(id), Some(InodeNumber(number)));
        }
        assert_eq!(numbers.count(), 5);
    }
}
