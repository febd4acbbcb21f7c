//! The images that `cargo xtask test` boots.

mod agent;
mod drives;
mod fs_verity;
mod hostile;
mod namespaces;
pub(crate) mod sealed;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use hpcc_rootfs::Pulled;
use test_support::contract;
use test_support::image::{Entry, Image as Source, Layer, Store as Content};
use test_support::oracle::umoci;
use test_support::real_image::{self, RealImage};
use test_support::registry::Registry;
use tree_listing::Listing;

use crate::disk::Disk;
use crate::pull::pull;
use crate::tally::Tally;
use crate::verify::{VerifyOptions, verify_beside};
use crate::{command, guest, matrix};

/// An image to boot, the oracle's listing of what has to be in it, and disks of images that the guest reads as well.
struct Image {
    path: PathBuf,
    expected: Listing,
    disks: Vec<Disk>,
    options: VerifyOptions,
}

impl Image {
    fn alone(path: PathBuf, expected: Listing) -> Self {
        Self {
            path,
            expected,
            disks: Vec::new(),
            options: VerifyOptions::default(),
        }
    }
}

/// Makes an image and asks its oracle, in a directory that is empty and is removed afterwards.
type Make = fn(&Path) -> Result<Image>;

/// Each image by what it shows.
const IMAGES: [(&str, Make); 5] = [
    (
        "mksquashfs, which shows that guest and probe work",
        reference,
    ),
    ("three layers with every kind of entry", made),
    ("a real one, from Debian packages", real),
    ("mount points that lead into /.hpcc", hostile::images),
    (
        "the matrix: every codec, block size and special kind",
        matrix,
    ),
];

/// How long one image may take beside the building of other programs.
const PATIENCE: Duration = Duration::from_secs(1200);

/// Verifies every image, and boots every one of the example agent. One image is one test.
pub(crate) fn verify_all() -> Result<Tally> {
    let mut tally = Tally::default();
    for (name, make) in IMAGES {
        let directory = tempfile::tempdir()?;
        let verified = make(directory.path()).and_then(|image| {
            let Image {
                path,
                expected,
                disks,
                mut options,
            } = image;
            options.timeout = options.timeout.max(PATIENCE);
            let beside: usize = disks.iter().map(|disk| disk.images().len()).sum();
            let verified = verify_beside(&path, &expected, &disks, &options)?;
            Ok((verified, beside))
        });
        tally += match verified {
            Ok((verified, beside)) => {
                let entries = verified.report.listing.entries.len();
                println!(
                    "image ({name}): {entries} entries and {beside} more images equal, {:.1} s",
                    verified.took.as_secs_f32()
                );
                Tally::passed()
            }
            Err(error) => {
                let text = format!("image ({name}): FAILED: {error:?}");
                println!("{text}");
                Tally::failed(&text)
            }
        };
    }
    tally += agents()?;
    tally += match verify_sealed() {
        Ok(()) => Tally::passed(),
        Err(error) => {
            let text = format!("sealed image: FAILED: {error:?}");
            println!("{text}");
            Tally::failed(&text)
        }
    };
    Ok(tally)
}

/// Boots a sealed image, and boots it again after one bit was flipped, which its kernel has to refuse.
///
/// # Errors
///
/// The tree is not that of the image, or the kernel does not refuse the changed one.
pub fn verify_sealed() -> Result<()> {
    let directory = tempfile::tempdir()?;
    println!("sealed image: {}", sealed::verify(directory.path())?);
    Ok(())
}

/// Boots every image whose agent is the example.
///
/// # Errors
///
/// One of them is not as it should be; which, is on the screen.
pub fn verify_agent() -> Result<()> {
    let tally = agents()?;
    ensure!(tally.failed == 0, "{} images failed", tally.failed);
    Ok(())
}

fn agents() -> Result<Tally> {
    let mut tally = Tally::default();
    for (name, boot) in agent::CASES {
        let directory = tempfile::tempdir()?;
        tally += match boot(directory.path()) {
            Ok(ended) => {
                println!(
                    "agent ({name}): as it should be, {:.1} s",
                    ended.took.as_secs_f32()
                );
                Tally::passed()
            }
            Err(error) => {
                let text = format!("agent ({name}): FAILED: {error:?}");
                println!("{text}");
                Tally::failed(&text)
            }
        };
    }
    Ok(tally)
}

/// Returns a tree of our own, packed by the reference writer: what fails here is not the writer's fault.
fn reference(directory: &Path) -> Result<Image> {
    let tree = directory.join("tree");
    fs::create_dir_all(tree.join("etc"))?;
    fs::write(tree.join("etc/hostname"), "reference\n")?;
    fs::hard_link(tree.join("etc/hostname"), tree.join("etc/mailname"))?;
    fs::create_dir(tree.join("tmp"))?;
    fs::set_permissions(tree.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    for (point, _) in contract::MOUNT_POINTS
        .into_iter()
        .filter(|(point, _)| *point != "/tmp")
    {
        fs::create_dir(tree.join(point.trim_start_matches('/')))?;
    }
    fs::create_dir(tree.join(".hpcc"))?;
    fs::copy(guest::build()?.probe, tree.join(".hpcc/agent"))
        .context("cannot install the probe")?;
    let path = directory.join("image.sqsh");
    let pack = ["-noappend", "-no-progress", "-all-root"];
    command::output(Command::new("mksquashfs").arg(&tree).arg(&path).args(pack))?;
    let mut expected = Listing::walk(&tree)?;
    for entry in expected.entries.values_mut() {
        (entry.uid, entry.gid) = (0, 0);
    }
    Ok(Image::alone(path, expected))
}

/// What no ordinary image has all of.
fn made(directory: &Path) -> Result<Image> {
    let content = special(directory)?;
    let (pulled, expected) = pulled(directory, &directory.join("layout"), content)?;
    Ok(Image::alone(pulled.path, expected))
}

/// Makes a layout of devices, pipes, capabilities, names that are no text, links across layers, and what layers do to
/// each other.
fn special(directory: &Path) -> Result<Content> {
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let base = Layer::new()
        .dir(".")
        .dir("usr")
        .dir("usr/lib")
        .symlink("lib", "usr/lib")
        .file("usr/lib/libc.so", vec![7; 300_000])
        .entry(
            Entry::file("su", "#!")
                .mode(0o4755)
                .owner(0, 7)
                .mtime(1_234_567_890),
        )
        .entry(Entry::file("ping", "#!").xattr("security.capability", capability))
        .entry(Entry::char_device("null", 1, 3).mode(0o666))
        .entry(Entry::block_device("disk", 259, 70_000).mode(0o660))
        .entry(Entry::fifo("pipe").mode(0o600))
        .file(b"caf\xE9", "not UTF-8")
        .file("sparse", vec![0; 1 << 20])
        .dir("gone")
        .file("gone/file", "hidden")
        .file("linked", "old content");
    let middle = Layer::new()
        .file("lib/libm.so", "through the link")
        .hardlink("second", "linked");
    let top = Layer::new().whiteout("gone").file("linked", "new content");
    let mut content = Content::new();
    let image = Source::new()
        .layer(base)
        .layer(middle)
        .layer(top)
        .add_to(&mut content);
    content.tag(RealImage::TAG, &image);
    content
        .write_layout(&directory.join("layout"))
        .map_err(Error::msg)?;
    Ok(content)
}

fn real(directory: &Path) -> Result<Image> {
    let image = real_image::big()
        .map_err(Error::msg)?
        .context("this user cannot build real images")?;
    let content = image.store().map_err(Error::msg)?;
    let (pulled, expected) = pulled(directory, image.layout(), content)?;
    Ok(Image::alone(pulled.path, expected))
}

fn matrix(directory: &Path) -> Result<Image> {
    let path = directory.join("root.sqsh");
    let mut image = Image::alone(path.clone(), matrix::root(&path)?);
    image.disks = matrix::disks()?;
    image.options.timeout = matrix::TIMEOUT;
    Ok(image)
}

/// Pulls what a layout holds from a registry, and lets umoci unpack the layout itself.
fn pulled(directory: &Path, layout: &Path, content: Content) -> Result<(Pulled, Listing)> {
    let registry = Registry::serve(content)?;
    let reference = format!("{}/image:{}", registry.addr(), RealImage::TAG);
    let pulled = pull(&reference, None, &directory.join("store"))?;
    let unpacked = umoci::unpack(layout, RealImage::TAG)
        .map_err(Error::msg)?
        .context("umoci needs root to unpack owners and devices")?;
    let expected = Listing::walk(&unpacked.root())?;
    Ok((pulled, expected))
}
