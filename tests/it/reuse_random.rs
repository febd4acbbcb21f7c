//! Generated images that share layers, pulled one after the other into one store: each is what a cold build makes, or
//! fails as that does.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use hpcc_rootfs::layer::Limits;
use hpcc_rootfs::{Agents, Compressor, Error, ErrorKind, Options, Store, build};
use ociget::Digest;
use test_support::image::{Compression, Entry, Image, Layer, Store as Content};

use crate::store_damage::noise;

/// Sequences of images; `REUSE_CASES=5000` makes it more of them.
const CASES: u64 = 300;

/// Images of a sequence.
const IMAGES: usize = 7;

/// SplitMix64, so that a case can be repeated by its number.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ word >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

fn name(random: &mut Random) -> String {
    let names = [
        "a", "b", "c", "d/x", "d/y", "d/e/z", "s/t", ".hpcc/f", "f", "tmp", "d",
    ];
    let name = names[random.below(names.len())];
    if random.once_in(3) {
        format!("{name}{}", random.below(6))
    } else {
        name.to_owned()
    }
}

/// Few different bodies, so that some of them are equal.
fn body(random: &mut Random) -> Vec<u8> {
    let seed = random.below(12) as u64;
    match random.below(8) {
        0 => Vec::new(),
        1 => vec![0; 5000],
        2 => noise(seed, 30_000),
        3 => [noise(seed, 4096), vec![0; 8192], noise(seed, 700)].concat(),
        4 => vec![b'x'; 9000 + random.below(3)],
        _ => noise(seed, 50 + random.below(900)),
    }
}

/// `files` has the paths of this layer's files so far. Links lead to them mostly, as one that leads nowhere is refused.
fn entry(random: &mut Random, files: &mut Vec<String>) -> Entry {
    let path = name(random);
    let entry = match random.below(16) {
        0 | 1 => Entry::dir(path),
        2 => Entry::symlink(format!("{path}-link"), name(random)),
        3 if random.once_in(30) => Entry::hardlink(path, name(random)),
        3 | 4 if !files.is_empty() => Entry::hardlink(path, &files[random.below(files.len())]),
        5 => {
            let (parent, name) = path.rsplit_once('/').unwrap_or((".", &path));
            Entry::file(format!("{parent}/.wh.{name}"), "")
        }
        6 => Entry::file(format!("{path}/.wh..wh..opq"), ""),
        7 => Entry::fifo(path),
        _ => {
            files.push(path.clone());
            Entry::file(path, body(random))
        }
    };
    let entry = entry.mode([0o644, 0o755, 0o4711][random.below(3)]);
    if random.once_in(8) {
        entry.xattr("user.note", body(random).get(..9).unwrap_or_default())
    } else {
        entry
    }
}

fn layer(random: &mut Random) -> Layer {
    let count = 1 + random.below(25);
    let mut files = Vec::new();
    let layer = (0..count).fold(Layer::new(), |layer, _| {
        layer.entry(entry(random, &mut files))
    });
    layer.compressed([Compression::Gzip, Compression::Zstd, Compression::None][random.below(3)])
}

fn options(random: &mut Random, agent: &Path) -> Options {
    let mut options = Options::default();
    options.platform = "linux/amd64".parse().unwrap();
    options.agents = Agents::default().with("amd64", agent);
    options.threads = NonZeroUsize::new(1 + random.below(2)).unwrap();
    options.image.block_size = [4096, 8192, 131_072][random.below(3)];
    options.image.tails = !random.once_in(4);
    options.image.compressor =
        [Compressor::Zstd { level: 3 }, Compressor::Gzip { level: 6 }][random.below(2)];
    options.store.min_free = 0;
    options
}

/// Lowers a limit to about what these images take of it.
fn lower(random: &mut Random, limits: &mut Limits) {
    match random.below(14) {
        0 => limits.entries = random.below(80) as u64,
        1 => limits.logical_bytes = random.below(200_000) as u64,
        2 => limits.layer_bytes = 1024 + random.below(100_000) as u64,
        3 => limits.unpacked_bytes = 1024 + random.below(200_000) as u64,
        4 => {
            limits.ratio_floor = random.below(5000) as u64;
            limits.ratio = 1 + random.below(20) as u64;
        }
        5 => limits.zstd_window = 1024 << random.below(10),
        6 => limits.path = 1 + random.below(12),
        7 => limits.name = 1 + random.below(9),
        8 => limits.depth = 1 + random.below(4),
        9 => limits.xattr_bytes = random.below(30),
        10 => limits.xattrs = random.below(2),
        11 => limits.metadata_bytes = random.below(40_000) as u64,
        12 => limits.layers = random.below(5),
        _ => limits.link_steps = random.below(150) as u64,
    }
}

fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[test]
fn generated_images_that_share_layers_equal_cold_builds() {
    let cases = std::env::var("REUSE_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // In memory, where that is to be had: each of thousands of builds waits for its disk.
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("reuse-");
    let (mut pairs, mut reused, mut failed, mut lowered) = (0, 0, 0, 0);
    for case in 0..cases {
        let place = builder
            .tempdir_in(memory)
            .or_else(|_| builder.tempdir())
            .unwrap();
        let at = |name: &str| place.path().join(name);
        let mut random = Random(case);
        let layers: Vec<_> = (0..5).map(|_| layer(&mut random)).collect();
        let mut content = Content::new();
        let images: Vec<Digest> = (0..IMAGES)
            .map(|_| {
                let count = 1 + random.below(4);
                let image = (0..count).fold(Image::new(), |image, _| {
                    image.layer(layers[random.below(layers.len())].clone())
                });
                image.add_to(&mut content).digest.parse().unwrap()
            })
            .collect();
        content.write_layout(&at("layout")).unwrap();
        let source = format!("oci:{}", at("layout").display());
        fs::write(at("agent"), "#!/agent\n").unwrap();
        let mut options = options(&mut random, &at("agent"));
        for digest in &images {
            if random.once_in(4) {
                options.image.verity = !options.image.verity;
            }
            let mut options = options.clone();
            if random.once_in(6) {
                lower(&mut random, &mut options.limits);
            }
            let store = Store::open(at("store"), options.clone()).unwrap();
            if options.limits != Limits::default() {
                // An artifact that exists is found whatever the limits are.
                store.untag_image(digest).unwrap();
            }
            match random.below(8) {
                0 => fs::write(at("agent"), format!("#!/agent {}\n", random.below(9))).unwrap(),
                1 => {
                    let other = &images[random.below(images.len())];
                    store.untag_image(other).unwrap();
                }
                _ => {}
            }
            let warm = runtime.block_on(store.pull_image(&source, Some(digest)));
            let cold = runtime.block_on(build(&source, Some(digest), at("cold"), &options));
            pairs += 1;
            match (warm, cold) {
                (Ok(warm), Ok(_)) => {
                    reused += usize::from(warm.built.is_some_and(|built| built.reuse.layers > 0));
                    let same = fs::read(warm.path).unwrap() == fs::read(at("cold")).unwrap();
                    assert!(same, "case {case}: {digest} is not what a cold build makes");
                }
                (Err(warm), Err(cold)) => {
                    failed += 1;
                    lowered += usize::from(warm.kind() == ErrorKind::Limit);
                    assert_eq!(text(&warm), text(&cold), "case {case}: {digest}");
                }
                (warm, cold) => panic!(
                    "case {case}: {digest}: {:?}, and cold {:?}",
                    warm.map_err(|error| text(&error))
                        .map(|pulled| pulled.digest),
                    cold.map_err(|error| text(&error)).map(|built| built.digest),
                ),
            }
        }
    }
    println!("{pairs} images, {reused} of them with layers of others, {failed} refused");
    assert!(pairs >= 2000, "{pairs}");
    assert!(reused * 4 > pairs, "{reused} of {pairs}");
    assert!(lowered > 20, "{lowered} lowered limits were exceeded");
}
