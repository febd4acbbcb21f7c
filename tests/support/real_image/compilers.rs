//! What a build worker pulls all day: compilers, in gzip layers of three sizes.

use std::path::Path;

use super::base::{self, install};
use super::bundle::Bundle;
use crate::Result;

pub(super) fn build(work: &Path) -> Result<()> {
    let bundle = Bundle::new(work)?;
    bundle.add_layer(&base::tar()?)?;
    bundle.unpack()?;
    install(&bundle.root(), &["build-essential", "git", "python3"])?;
    bundle.repack()?;
    install(&bundle.root(), &["clang", "cmake"])?;
    bundle.repack()?;
    bundle.finish("/usr/bin/clang")
}
