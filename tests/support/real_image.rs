//! Images made from Debian packages: what the tests pull when it has to be real.
//!
//! An image is built once, by whichever test needs it first, and kept in `target/test-images/` for the next run. Other
//! tests wait for it on a lock. Its directory is named after a digest of the recipe, so a changed recipe is a new
//! build. The versions of the packages depend on the machine's apt sources.
//! umoci computes the upper layers from what was changed in an unpacked tree, except those that no
//! difference of trees leads to: hard links to names of older layers, and opaque directories, come
//! in a tar written here and added as it is.

mod base;
mod big;
mod bundle;
mod compilers;
mod container;
mod small;
mod various;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::FlockOperation;

use crate::image::{Descriptor, Store, sha256};
use crate::oracle::may_be_root;
use crate::{Failure, Result};

/// An image in a layout on disk, which must not be changed.
#[derive(Clone, Debug)]
pub struct RealImage {
    layout: PathBuf,
}

impl RealImage {
    /// Returns the directory of the image layout; its only tag is [`RealImage::TAG`].
    #[must_use]
    pub fn layout(&self) -> &Path {
        &self.layout
    }

    /// The tag in the layout.
    pub const TAG: &str = "latest";

    /// Returns the content, served from its files. Blobs that lost their last reference are not in it.
    pub fn store(&self) -> Result<Store> {
        Store::open_layout(&self.layout)
    }

    /// Returns the image manifest.
    pub fn manifest(&self) -> Result<Descriptor> {
        let store = self.store()?;
        let manifest = store.tagged(Self::TAG).cloned();
        manifest.ok_or_else(|| Failure::new(format!("no tag in {}", self.layout.display())))
    }
}

/// Returns a minimal Debian, then a layer of everything that is easily lost (setuid, capabilities, owners, odd names, a
/// directory that becomes a symlink), then one of whiteouts, opaque directories and hard links across layers. About 120
/// MB, 43 MB compressed. `None`: we are not root, which was printed.
pub fn small() -> Result<Option<RealImage>> {
    image("small-real", small::build)
}

/// Returns a minimal Debian, a layer with git, Python and a C compiler, a layer with more, and changes to both. About
/// 600 MB in three layers, 240 MB compressed. `None`: we are not root, which was printed.
pub fn big() -> Result<Option<RealImage>> {
    image("big-real", big::build)
}

/// Returns a minimal Debian, a layer with a C compiler, git and Python, and a larger one with clang and CMake: what the
/// benches pull. About 850 MB in three layers, 310 MB compressed. `None`: we are not root, which was printed.
pub fn compilers() -> Result<Option<RealImage>> {
    image("compilers-real", compilers::build)
}

/// Names of the images of [`various`], each of another make.
pub const VARIOUS: [&str; 6] = [
    "node",
    "python",
    "hard-links",
    "merged-usr",
    "owners",
    "deep",
];

/// Returns an image of one extreme, by one of the names of [`VARIOUS`]: many small files, many names of one file, a
/// merged `/usr`, owners and capabilities, deep trees. From npm, PyPI and Debian packages, by umoci and by buildah;
/// each takes seconds. `None`: we are not root, which was printed.
///
/// # Panics
///
/// If there is no such name.
pub fn various(name: &str) -> Result<Option<RealImage>> {
    let build = match name {
        "node" => various::node,
        "python" => various::python,
        "hard-links" => various::hard_links,
        "merged-usr" => various::merged_usr,
        "owners" => various::owners,
        "deep" => various::deep,
        other => panic!("no image is called {other}"),
    };
    image(&format!("{name}-real"), build)
}

/// Builds the images that tests pull, where they are missing. [`compilers`] is for the benches, and is left out.
pub fn all() -> Result<()> {
    small()?;
    big()?;
    for name in VARIOUS {
        various(name)?;
    }
    Ok(())
}

fn image(name: &str, build: fn(work: &Path) -> Result<()>) -> Result<Option<RealImage>> {
    if !may_be_root("building an image from Debian packages") {
        return Ok(None);
    }
    let layout = once(name, build)?.join("layout");
    Ok(Some(RealImage { layout }))
}

/// The directory that `build` filled, now or before: complete, or not there.
fn once(name: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let directory = directory();
    fs::create_dir_all(&directory).map_err(Failure::when(directory.display()))?;
    let lock = File::create(directory.join(format!("{name}.lock")))?;
    // Held until the file is closed, by the end of this function or of the process.
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    let finished = directory.join(format!("{name}-{}", recipe()));
    if finished.exists() {
        return Ok(finished);
    }
    // Half-built ones, and those of other recipes.
    for entry in fs::read_dir(&directory)? {
        let entry = entry?;
        let found = entry.file_name();
        if found.to_string_lossy().starts_with(&format!("{name}-")) {
            fs::remove_dir_all(entry.path()).map_err(Failure::when(entry.path().display()))?;
        }
    }
    let work = directory.join(format!("{name}-unfinished"));
    fs::create_dir(&work)?;
    let start = Instant::now();
    build(&work)?;
    fs::rename(&work, &finished)?;
    eprintln!("built {} in {:.1?}", finished.display(), start.elapsed());
    Ok(finished)
}

fn directory() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    workspace.join(target).join("test-images")
}

/// Digest of the sources that decide what is in the images.
fn recipe() -> String {
    let sources = concat!(
        include_str!("real_image/base.rs"),
        include_str!("real_image/big.rs"),
        include_str!("real_image/bundle.rs"),
        include_str!("real_image/compilers.rs"),
        include_str!("real_image/container.rs"),
        include_str!("real_image/small.rs"),
        include_str!("real_image/various.rs"),
    );
    let digest = sha256(sources.as_bytes());
    digest["sha256:".len()..][..12].to_owned()
}
