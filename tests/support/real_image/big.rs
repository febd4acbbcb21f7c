//! The big image.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::base::{self, install};
use super::bundle::Bundle;
use crate::Result;

pub(super) fn build(work: &Path) -> Result<()> {
    let bundle = Bundle::new(work)?;
    // mmdebstrap's own tar, not umoci's rewriting of it.
    bundle.add_layer(&base::tar()?)?;
    bundle.unpack()?;
    install(&bundle.root(), &["git", "python3", "gcc", "libc6-dev"])?;
    bundle.repack()?;
    install(&bundle.root(), &["g++", "cmake"])?;
    change(&bundle.root())?;
    bundle.repack()?;
    bundle.finish("/usr/bin/python3")
}

/// What an image's last steps do: trim, move, replace.
fn change(root: &Path) -> Result<()> {
    let at = |name: &str| root.join(name);
    fs::remove_dir_all(at("usr/share/man"))?;
    fs::remove_dir_all(at("usr/share/doc/git"))?;
    fs::remove_file(at("etc/motd"))?;
    fs::rename(at("usr/share/perl5"), at("usr/lib/perl5-moved"))?;
    symlink("../lib/perl5-moved", at("usr/share/perl5"))?;
    fs::create_dir_all(at("srv/jobs"))?;
    fs::copy(at("usr/bin/git"), at("srv/jobs/git"))?;
    fs::hard_link(at("srv/jobs/git"), at("srv/jobs/git-again"))?;
    let mut settings = fs::read_to_string(at("etc/bash.bashrc"))?;
    settings.push_str("umask 027\n");
    fs::write(at("etc/bash.bashrc"), settings)?;
    Ok(())
}
