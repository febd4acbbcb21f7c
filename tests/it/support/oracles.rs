//! The readers agree about an image that mksquashfs wrote, and refuse one that is broken.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use test_support::oracle::{Mount, backhand, sevenzip, sqfs2tar, unsquashfs};
use test_support::{Failure, Result};
use tree_listing::{DiffOptions, Listing, diff};

#[test]
fn every_reader_sees_the_tree_that_went_in() -> Result<()> {
    let (directory, image) = squashfs()?;
    let expected = Listing::walk(&directory.path().join("tree"))?;
    let same = |who: &str, listing: &Listing, options: &DiffOptions| {
        assert_eq!(diff(&expected, listing, options), [], "{who}");
    };
    let all = DiffOptions::default();
    if let Some(mount) = Mount::squashfs(&image)? {
        same("kernel", &Listing::walk(mount.root())?, &all);
    }
    same(
        "unsquashfs",
        &Listing::walk(&unsquashfs::extract(&image)?.root())?,
        &all,
    );
    let no_root = DiffOptions {
        ignore_mtime: [b"/".to_vec()].into(),
        ..DiffOptions::default()
    };
    same(
        "sqfs2tar",
        &Listing::walk(&sqfs2tar::extract(&image)?.root())?,
        &no_root,
    );
    let (seen, found) = (backhand::visible(&expected), backhand::list(&image)?);
    let no_links = DiffOptions {
        directory_links: tree_listing::DirectoryLinks::Ignore,
        ..DiffOptions::default()
    };
    assert_eq!(diff(&seen, &found, &no_links), [], "backhand");
    assert!(sevenzip::list(&image)?.contains("Path = dir/big"));
    assert!(sevenzip::test(&image)?.contains("Everything is Ok"));
    assert!(unsquashfs::list(&image)?.contains("dir/big"));
    assert!(unsquashfs::superblock(&image)?.contains("Block size 131072"));
    Ok(())
}

#[test]
fn flipped_byte_in_data_block_is_noticed_by_every_reader() -> Result<()> {
    let (_directory, image) = squashfs()?;
    let mut bytes = fs::read(&image)?;
    // The first data block starts behind the superblock of 96 bytes.
    for byte in &mut bytes[200..232] {
        *byte ^= 0xff;
    }
    fs::write(&image, bytes)?;
    if let Some(mount) = Mount::squashfs(&image)? {
        assert!(Listing::walk(mount.root()).is_err(), "kernel");
    }
    assert!(unsquashfs::extract(&image).is_err(), "unsquashfs");
    assert!(sqfs2tar::tar(&image).is_err(), "sqfs2tar");
    assert!(backhand::list(&image).is_err(), "backhand");
    assert!(sevenzip::test(&image).is_err(), "7z");
    Ok(())
}

#[test]
fn a_mount_is_gone_after_a_panic() -> Result<()> {
    let (_directory, image) = squashfs()?;
    let Some(mount) = Mount::squashfs(&image)? else {
        return Ok(());
    };
    let point = mount.root().to_owned();
    let panicked = std::panic::catch_unwind(move || {
        let _mount = mount;
        std::panic::resume_unwind(Box::new("a test fails"));
    });
    assert!(panicked.is_err());
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let path = point.to_string_lossy().into_owned();
    assert!(!mounts.contains(&path), "{path} is still mounted");
    assert!(!point.exists(), "{path} was not removed");
    Ok(())
}

fn squashfs() -> Result<(TempDir, PathBuf)> {
    let directory = tempfile::tempdir()?;
    let tree = directory.path().join("tree");
    fs::create_dir_all(tree.join("dir"))?;
    let words: Vec<u8> = (0..60_000_u32)
        .flat_map(|n| n.to_string().into_bytes())
        .collect();
    fs::write(tree.join("dir/big"), words)?;
    fs::write(tree.join("small"), "tail\n")?;
    fs::hard_link(tree.join("small"), tree.join("dir/other"))?;
    symlink("dir/big", tree.join("link"))?;
    let image = directory.path().join("image.sqsh");
    mksquashfs(&tree, &image)?;
    Ok((directory, image))
}

fn mksquashfs(tree: &Path, image: &Path) -> Result<()> {
    let output = Command::new("mksquashfs")
        .arg(tree)
        .arg(image)
        .arg("-quiet")
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::new(String::from_utf8_lossy(&output.stderr)))
}
