//! Images in a layout, and stores that pull them in this process: what tests of reuse take thousands of times.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use hpcc_rootfs::{Agents, Compressor, Error, Options, Pulled, Store};
use ociget::Digest;
use tempfile::TempDir;
use test_support::image::{Image, Layer, Store as Content};
use tokio::runtime::Runtime;

/// Adds images of layers, oldest first, to what a registry or a layout holds. Returns their digests.
pub(crate) fn add(images: &[&[&Layer]], content: &mut Content) -> Vec<Digest> {
    let digests = images.iter().map(|layers| {
        let layers = layers.iter();
        let image = layers.fold(Image::new(), |image, layer| image.layer((*layer).clone()));
        image.add_to(content).digest.parse().unwrap()
    });
    digests.collect()
}

pub(crate) struct Stores {
    directory: TempDir,
    source: String,
    pub(crate) digests: Vec<Digest>,
    runtime: Runtime,
}

impl Stores {
    /// Makes images of layers, oldest first.
    pub(crate) fn new(images: &[&[&Layer]]) -> Self {
        // In memory, where that is to be had: each of hundreds of builds waits for its disk.
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("reuse-");
        let directory = builder.tempdir_in("/dev/shm");
        let directory = directory.or_else(|_| builder.tempdir()).unwrap();
        let mut content = Content::new();
        let digests = add(images, &mut content);
        let layout = directory.path().join("layout");
        content.write_layout(&layout).unwrap();
        for agent in ["agent", "another agent"] {
            fs::write(directory.path().join(agent), format!("#!/{agent}\n")).unwrap();
        }
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Self {
            source: format!("oci:{}", layout.display()),
            directory,
            digests,
            runtime: runtime.enable_all().build().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns options with small blocks and one thread.
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::default();
        options.platform = "linux/amd64".parse().unwrap();
        options.agents = Agents::default().with("amd64", self.path("agent"));
        options.image.block_size = 4096;
        options.image.compressor = Compressor::Zstd { level: 3 };
        options.threads = NonZeroUsize::MIN;
        options.store.min_free = 0;
        options
    }

    /// Opens the store of that name.
    pub(crate) fn open(&self, store: &str, options: &Options) -> Store {
        Store::open(self.path(store), options.clone()).unwrap()
    }

    /// Removes an image from a store.
    pub(crate) fn remove(&self, store: &str, image: usize, options: &Options) {
        let store = self.open(store, options);
        store.untag_image(&self.digests[image]).unwrap();
    }

    /// Pulls an image into a store.
    pub(crate) fn try_pull(
        &self,
        store: &str,
        image: usize,
        options: &Options,
    ) -> Result<Pulled, Error> {
        let store = self.open(store, options);
        let pull = store.pull_image(&self.source, Some(&self.digests[image]));
        self.runtime.block_on(pull)
    }

    pub(crate) fn pull(&self, store: &str, image: usize, options: &Options) -> Pulled {
        self.try_pull(store, image, options).unwrap()
    }

    /// Pulls several images into one store concurrently, each on a thread of its own, while `meanwhile` runs.
    pub(crate) fn pull_together(
        &self,
        store: &str,
        images: &[usize],
        options: &Options,
        meanwhile: impl Fn(&Store),
    ) -> Vec<Pulled> {
        let store = &self.open(store, options);
        std::thread::scope(|scope| {
            let pull = |image: usize| {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = runtime.enable_all().build().unwrap();
                let pull = store.pull_image(&self.source, Some(&self.digests[image]));
                runtime.block_on(pull).unwrap()
            };
            let pulls = images.iter().map(|image| scope.spawn(move || pull(*image)));
            let pulls: Vec<_> = pulls.collect();
            while pulls.iter().any(|pull| !pull.is_finished()) {
                meanwhile(store);
            }
            pulls.into_iter().map(|pull| pull.join().unwrap()).collect()
        })
    }

    /// Returns the bytes of a build that copies nothing.
    pub(crate) fn cold(&self, image: usize, options: &Options) -> Vec<u8> {
        let mut options = options.clone();
        options.store.reuse = false;
        options.store.seeds.clear();
        let pulled = self.pull("cold", image, &options);
        let bytes = fs::read(&pulled.path).unwrap();
        fs::remove_dir_all(self.path("cold")).unwrap();
        bytes
    }

    /// Pulls an image, asserts that its bytes are those of a cold build, and returns how many layers were copied.
    pub(crate) fn equals_cold(&self, store: &str, image: usize, options: &Options) -> usize {
        let pulled = self.pull(store, image, options);
        let same = fs::read(&pulled.path).unwrap() == self.cold(image, options);
        assert!(
            same,
            "{store}: image {image} is not what a cold build makes"
        );
        pulled.built.map_or(0, |built| built.reuse.layers)
    }
}

/// Returns the path of the file beside an artifact that begins so.
pub(crate) fn beside(artifact: &Path, prefix: &str) -> PathBuf {
    let name = artifact.file_name().unwrap().to_str().unwrap();
    artifact.with_file_name(format!("{prefix}{}", name.trim_end_matches(".sqsh")))
}

/// Returns the path of what the build of an artifact left for later ones.
pub(crate) fn side_of(artifact: &Path) -> PathBuf {
    beside(artifact, ".recall-")
}
