//! The images that are pulled: ordinary ones, and hostile ones. What becomes of each is for the oracle to say.

use test_support::image::{Compression, Descriptor, Entry, Image, Layer, Store};

use super::random::Random;

/// An image by its name in the sequence.
pub(super) struct Served {
    pub(super) name: &'static str,
    pub(super) descriptor: Descriptor,
}

/// Makes every image and adds it to `store`. Contents depend on the seed.
pub(super) fn add(store: &mut Store, random: &mut Random) -> Vec<Served> {
    let images = [
        ("noise", noise(random)),
        ("layers", layers(random)),
        ("same-base", on_a_base(1)),
        ("same-base-again", on_a_base(2)),
        ("base-replaced", on_a_base(3).layer(replaces())),
        ("small-files", small_files()),
        ("holes", holes()),
        ("waiting-links", waiting_links()),
        ("reserved-names", reserved_names()),
        ("mount-points", mount_points()),
        ("foreign-xattrs", foreign_xattrs()),
        ("escapes", escapes()),
        ("bomb", bomb()),
        ("other-diff-id", other_diff_id()),
        ("damaged-gzip", damaged_gzip()),
        ("lone-link", lone_link()),
        ("sparse-giant", sparse_giant()),
    ];
    images
        .into_iter()
        .map(|(name, image)| Served {
            name,
            descriptor: image.add_to(store),
        })
        .collect()
}

fn noise(random: &mut Random) -> Image {
    let layer = Layer::new().file("noise", random.bytes(700_000));
    Image::new().layer(layer)
}

fn layers(random: &mut Random) -> Image {
    let base = Layer::new()
        .dir("usr")
        .dir("usr/lib")
        .symlink("lib", "usr/lib")
        .file("usr/lib/libc.so", random.bytes(150_000))
        .dir("gone")
        .file("gone/file", random.bytes(40_000));
    let middle = Layer::new()
        .file("lib/libm.so", random.bytes(90_000))
        .hardlink("second", "usr/lib/libc.so")
        .compressed(Compression::Zstd);
    let top = Layer::new()
        .whiteout("gone")
        .file("usr/lib/libc.so", random.bytes(10_000))
        .compressed(Compression::None);
    Image::new().layer(base).layer(middle).layer(top)
}

/// Layers that several images have, and one of its own.
fn on_a_base(seed: u64) -> Image {
    let mut random = Random::new(7);
    let mut base = Layer::new().dir("base");
    for n in 0..200 {
        let length = usize::try_from(random.below(3000)).unwrap_or(0);
        base = base.file(format!("base/{n}"), random.bytes(length));
    }
    let base = base.file("base/large", random.bytes(500_000));
    let own = Layer::new().file("own", Random::new(seed).bytes(20_000));
    Image::new().layer(base).layer(own)
}

fn replaces() -> Layer {
    let files = (0..200).step_by(9);
    files.fold(Layer::new(), |layer, n| {
        layer.file(format!("base/{n}"), b"replaced")
    })
}

fn small_files() -> Image {
    let entries = (0..3000).map(|n| Entry::file(format!("d{}/f{n}", n % 50), n.to_string()));
    Image::new().layer(entries.fold(Layer::new(), Layer::entry))
}

fn holes() -> Image {
    Image::new().layer(Layer::new().file("zeros", vec![0; 20 << 20]))
}

/// Each link waits for the one before it, which comes later.
fn waiting_links() -> Image {
    let mut layer = Layer::new();
    for n in (2..300).rev() {
        layer = layer.hardlink(format!("a{n}"), format!("a{}/t", n - 1));
    }
    let layer = layer
        .hardlink("a1", "z")
        .dir("d")
        .symlink("d/t", "z")
        .file("z", "z");
    Image::new().layer(layer)
}

fn reserved_names() -> Image {
    let layer = Layer::new()
        .dir(".hpcc")
        .file(".hpcc/agent", "another agent")
        .symlink("agent", ".hpcc/agent")
        .hardlink("linked", ".hpcc/agent");
    let top = Layer::new().whiteout(".hpcc").opaque("");
    Image::new().layer(layer).layer(top)
}

fn mount_points() -> Image {
    let layer = Layer::new()
        .dir("proc/1/root/.hpcc")
        .symlink("tmp", "proc/1/root/.hpcc")
        .symlink("run", "/.hpcc")
        .file("dev", "a file");
    Image::new().layer(layer)
}

fn foreign_xattrs() -> Image {
    let mut entry = Entry::file("file", "contents");
    for n in 0..200 {
        entry = entry.xattr(&format!("x{n}.name"), [1, 2]);
    }
    let entry = entry.xattr("user.kept", b"kept");
    Image::new().layer(Layer::new().entry(entry))
}

fn escapes() -> Image {
    let layer = Layer::new()
        .file("../../outside", "x")
        .file("/etc/absolute", "x")
        .symlink("up", "../../..")
        .file("up/through", "x");
    Image::new().layer(layer)
}

/// Some hundred KiB that unpack to some hundred MiB.
fn bomb() -> Image {
    let mut layer = Layer::new();
    for n in 0..8 {
        layer = layer.file(format!("zeros{n}"), vec![0; 24 << 20]);
    }
    Image::new().layer(layer)
}

fn other_diff_id() -> Image {
    let other = Layer::new().file("b", "b").diff_id();
    let rootfs = serde_json::json!({"type": "layers", "diff_ids": [other]});
    Image::new()
        .layer(Layer::new().file("a", "a"))
        .edit_config(|config| config["rootfs"] = rootfs)
}

fn damaged_gzip() -> Image {
    let mut blob = Layer::new().file("a", vec![b'a'; 100_000]).blob();
    let middle = blob.len() / 2;
    blob[middle] ^= 0xff;
    let layer = Layer::of_blob("application/vnd.oci.image.layer.v1.tar+gzip", blob);
    Image::new().layer(layer)
}

fn lone_link() -> Image {
    Image::new().layer(Layer::new().hardlink("a", "nowhere"))
}

/// Returns a header that announces more than all files may have.
fn sparse_giant() -> Image {
    let entry = Entry::file("giant", "")
        .pax("GNU.sparse.major", "0")
        .pax("GNU.sparse.minor", "1")
        .pax("GNU.sparse.size", "20000000000000")
        .pax("GNU.sparse.numblocks", "1")
        .pax("GNU.sparse.map", "20000000000000,0");
    Image::new().layer(Layer::new().entry(entry))
}
