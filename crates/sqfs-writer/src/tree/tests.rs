use super::*;

fn file(tree: &mut Tree<u8>, directory: NodeId, name: &[u8]) -> NodeId {
    tree.insert(directory, name, Metadata::new(0o644), Kind::File(0))
        .unwrap()
}

fn directory(tree: &mut Tree<u8>, parent: NodeId, name: &[u8]) -> NodeId {
    tree.insert(parent, name, Metadata::new(0o755), Kind::directory())
        .unwrap()
}

#[test]
fn removing_a_directory_removes_contents_and_keeps_outside_links() {
    let mut tree = Tree::new(Metadata::new(0o755));
    let a = directory(&mut tree, NodeId::ROOT, b"a");
    let inner = file(&mut tree, a, b"inner");
    let shared = file(&mut tree, a, b"shared");
    tree.link(NodeId::ROOT, b"outside", shared).unwrap();
    assert!(tree.remove(NodeId::ROOT, b"a").unwrap());
    assert!(tree.get(a).is_none());
    assert!(tree.get(inner).is_none());
    assert_eq!(tree.get(shared).map(Node::links), Some(1));
    assert_eq!(tree.len(), 2);
}

#[test]
fn linking_a_name_to_its_own_node_changes_nothing() {
    let mut tree = Tree::new(Metadata::new(0o755));
    let node = file(&mut tree, NodeId::ROOT, b"f");
    tree.link(NodeId::ROOT, b"f", node).unwrap();
    assert_eq!(tree.get(node).map(Node::links), Some(1));
}

#[test]
fn a_stale_directory_takes_no_children() {
    let mut tree = Tree::new(Metadata::new(0o755));
    let gone = directory(&mut tree, NodeId::ROOT, b"d");
    file(&mut tree, NodeId::ROOT, b"d");
    let result = tree.insert(gone, b"x", Metadata::new(0o644), Kind::File(1));
    assert!(matches!(
        result,
        Err(Error::Tree {
            reason: TreeError::Stale,
            ..
        })
    ));
    assert_eq!(tree.len(), 2);
}

#[test]
fn deepest_tree_of_images_is_removed_without_recursion() {
    let mut tree = Tree::new(Metadata::new(0o755));
    let mut at = NodeId::ROOT;
    for _ in 0..200_000 {
        at = directory(&mut tree, at, b"d");
    }
    assert!(tree.remove(NodeId::ROOT, b"d").unwrap());
    assert_eq!(tree.len(), 1);
}

#[test]
fn names_that_no_directory_can_hold_are_refused() {
    let mut tree = Tree::new(Metadata::new(0o755));
    let long = [b'x'; NAME_MAX + 1];
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &long] {
        let result = tree.insert(NodeId::ROOT, name, Metadata::new(0), Kind::File(0));
        assert!(matches!(result, Err(Error::Name { .. })), "{name:?}");
    }
    file(&mut tree, NodeId::ROOT, &long[1..]);
}
