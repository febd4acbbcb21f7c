//! umoci: the tree that applying the layers, oldest first, gives.

use std::path::Path;
use std::process::Command;

use super::{Tree, may_be_root};
use crate::Result;
use crate::command::run;

/// Unpacks a tag of an image layout as root, owners and devices included. `None`: we are not root,
/// which was printed.
///
/// Directories that no layer describes carry the time of unpacking.
pub fn unpack(layout: &Path, tag: &str) -> Result<Option<Tree>> {
    if !may_be_root("unpacking with umoci, owners and devices included,") {
        return Ok(None);
    }
    let tree = Tree::new("bundle/rootfs")?;
    run(Command::new("umoci")
        .args(["unpack", "--image"])
        .arg(image(layout, tag))
        .arg(tree.base().join("bundle")))?;
    Ok(Some(tree))
}

/// Returns a layout's tag as umoci spells it.
pub(crate) fn image(layout: &Path, tag: &str) -> String {
    format!("{}:{tag}", layout.display())
}
