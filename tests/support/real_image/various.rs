//! Images without a whole Debian below them, each of one extreme: what registries of packages
//! hold, packed by umoci or by buildah.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bundle::Bundle;
use super::container::Container;
use crate::Result;
use crate::command::run;

/// Many small files, packed by buildah: an npm package with all it needs; then some are replaced,
/// removed and moved.
pub(super) fn node(work: &Path) -> Result<()> {
    let mut container = Container::new(work)?;
    npm(&container.root()?.join("app"), "express@4.18.2")?;
    container.commit()?;
    let app = container.root()?.join("app");
    npm(&app, "express@4.19.2")?;
    fs::remove_dir_all(app.join("node_modules/qs/test"))?;
    fs::rename(app.join("node_modules/mime"), app.join("mime"))?;
    symlink("../mime", app.join("node_modules/mime"))?;
    container.commit()?;
    let modules = container.root()?.join("app/node_modules");
    fs::remove_dir_all(modules.join("debug"))?;
    fs::write(modules.join("debug"), "now a file\n")?;
    container.finish()
}

/// Thousands of files, packed by umoci: a PyPI package, and a newer version of it on top.
pub(super) fn python(work: &Path) -> Result<()> {
    let bundle = Bundle::new(work)?;
    bundle.unpack()?;
    for version in ["4.2.1", "4.2.16"] {
        let site = bundle.root().join("usr/lib/python3/dist-packages");
        if site.exists() {
            fs::remove_dir_all(&site)?;
        }
        run(Command::new("pip3")
            .args([
                "install",
                "--quiet",
                "--no-compile",
                "--no-deps",
                "--target",
            ])
            .arg(&site)
            .arg(format!("django=={version}")))?;
        bundle.repack()?;
    }
    bundle.finish("/usr/bin/python3")
}

/// Files of many names, packed by buildah: git twice over by hard links, of which the next layer
/// replaces some, removes some, and adds names.
pub(super) fn hard_links(work: &Path) -> Result<()> {
    let mut container = Container::new(work)?;
    let root = container.root()?;
    unpack(work, &root, &["git"])?;
    shell(
        &root,
        "cp -al usr/lib/git-core usr/lib/again && cp -al usr/lib/again usr/lib/third \
         && for i in 1 2 3 4 5 6 7 8 9; do ln usr/bin/git usr/bin/git-$i; done",
    )?;
    container.commit()?;
    let root = container.root()?;
    shell(
        &root,
        "rm usr/lib/again/git-add && echo new > usr/lib/again/git-add \
         && rm -r usr/lib/third && ln usr/bin/git-1 usr/bin/git-10 && rm usr/bin/git \
         && chmod 0700 usr/lib/git-core/git-sh-setup && mkdir opt && ln usr/bin/git-2 opt/git",
    )?;
    container.finish()
}

/// A merged `/usr`, packed by umoci: the C library in `usr/lib`, `lib` a link to it, and then files
/// that come through the link, replaced ones among them.
pub(super) fn merged_usr(work: &Path) -> Result<()> {
    let bundle = Bundle::new(work)?;
    bundle.unpack()?;
    let root = bundle.root();
    shell(
        &root,
        "mkdir -p usr/lib usr/lib64 usr/bin usr/sbin \
         && for d in lib lib64 bin sbin; do ln -s usr/$d $d; done",
    )?;
    unpack(work, &root, &["libc6", "libc-bin", "dash", "coreutils"])?;
    bundle.repack()?;
    // No difference of trees has a name below a link; a tar written elsewhere has.
    let other = work.join("other");
    fs::create_dir(&other)?;
    unpack(work, &other, &["libc6", "busybox-static"])?;
    let tar = work.join("layer.tar");
    run(Command::new("tar")
        .args(["--numeric-owner", "--no-recursion", "-C"])
        .arg(&other)
        .args(["--files-from=-", "-cf"])
        .arg(&tar)
        .stdin(list_of_files(&other, work)?))?;
    bundle.add_layer(&tar)?;
    fs::remove_file(tar)?;
    fs::remove_dir_all(other)?;
    bundle.finish("/usr/bin/dash")
}

/// Owners, modes and file capabilities, packed by buildah.
pub(super) fn owners(work: &Path) -> Result<()> {
    let mut container = Container::new(work)?;
    let root = container.root()?;
    unpack(work, &root, &["iputils-ping", "passwd", "openssh-client"])?;
    shell(
        &root,
        "setcap cap_net_raw+ep bin/ping && cp --preserve=all bin/ping usr/bin/ping-too \
         && mkdir -m 0750 home && for i in 1 2 3 4 5; do \
              cp -r etc home/$i && chown -R 100$i:200$i home/$i && chmod -R g+w home/$i; done \
         && chown -R 4000000000:4000000001 home/5 && chmod 4755 usr/bin/passwd \
         && setfattr -n user.origin -v here home/1 && chmod 1777 home/2",
    )?;
    container.commit()?;
    shell(
        &container.root()?,
        "chown -R 7:8 home/1 && setcap cap_net_bind_service,cap_net_raw+ep bin/ping \
         && rm usr/bin/passwd && chmod 0000 home/3 && setfattr -x user.origin home/1 \
         && cp -a home/4 home/six && rm -r home/4",
    )?;
    container.finish()
}

/// Deep trees, packed by umoci: real files 150 directories down, and the next layer replaces a
/// directory half way.
pub(super) fn deep(work: &Path) -> Result<()> {
    let bundle = Bundle::new(work)?;
    bundle.unpack()?;
    let root = bundle.root();
    let bottom: PathBuf = (0..150).map(|level| format!("level-{level}")).collect();
    fs::create_dir_all(root.join(&bottom))?;
    unpack(work, &root.join(&bottom), &["dash", "hostname"])?;
    bundle.repack()?;
    let middle: PathBuf = bottom.iter().take(75).collect();
    fs::rename(root.join(&bottom).join("bin"), root.join("bin"))?;
    fs::set_permissions(root.join(&middle), Permissions::from_mode(0o711))?;
    symlink(&middle, root.join("shortcut"))?;
    bundle.repack()?;
    fs::remove_dir_all(root.join(&middle).join("level-75/level-76/level-77"))?;
    fs::write(
        root.join(&middle).join("level-75/level-76/level-77"),
        "end\n",
    )?;
    bundle.repack()?;
    bundle.finish("/bin/dash")
}

/// The files of Debian packages, without their scripts.
fn unpack(work: &Path, root: &Path, packages: &[&str]) -> Result<()> {
    let downloads = work.join("downloads");
    fs::create_dir_all(&downloads)?;
    // apt's own user could not write here.
    run(Command::new("apt-get")
        .args(["--quiet", "-o", "APT::Sandbox::User=root", "download"])
        .args(packages)
        .current_dir(&downloads))?;
    for package in fs::read_dir(&downloads)? {
        let files = work.join("files.tar");
        let package = package?.path();
        run(Command::new("sh")
            .args(["-c", "dpkg-deb --fsys-tarfile \"$1\" > \"$2\"", "sh"])
            .args([&package, &files]))?;
        // Unlike dpkg-deb -x, this follows a link that is a directory in the package.
        run(Command::new("tar")
            .args(["--keep-directory-symlink", "--numeric-owner", "-xpf"])
            .arg(&files)
            .arg("-C")
            .arg(root))?;
        fs::remove_file(files)?;
    }
    fs::remove_dir_all(downloads)?;
    Ok(())
}

fn npm(app: &Path, package: &str) -> Result<()> {
    run(Command::new("npm")
        .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
        .arg(app)
        .arg(package))?;
    Ok(())
}

/// Returns a file that names all but the directories below `root`.
fn list_of_files(root: &Path, work: &Path) -> Result<fs::File> {
    let list = work.join("list");
    let names = run(Command::new("find")
        .args([".", "!", "-type", "d"])
        .current_dir(root))?;
    fs::write(&list, names)?;
    let file = fs::File::open(&list)?;
    fs::remove_file(list)?;
    Ok(file)
}

fn shell(root: &Path, script: &str) -> Result<()> {
    run(Command::new("sh").args(["-ec", script]).current_dir(root))?;
    Ok(())
}
