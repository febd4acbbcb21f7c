//! What earlier builds left, damaged in every place: a build that copies from it makes the bytes of a cold one.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use hpcc_rootfs::{Agents, Compressor, Digest, Options, Pulled, Store};
use tempfile::TempDir;
use test_support::image::{Entry, Layer, Store as Content};
use test_support::registry::Registry;
use tokio::runtime::Runtime;

use crate::cli::{Outcome, Place, outcome, program};
use crate::reuse_place::{Stores, add, side_of};
use crate::store_damage::noise;

/// A registry with images, and a store that pulls them in this process.
struct Small {
    directory: TempDir,
    registry: Registry,
    references: Vec<String>,
    runtime: Runtime,
}

impl Small {
    fn new(images: &[&[&Layer]]) -> Self {
        let mut content = Content::new();
        let digests = add(images, &mut content);
        let registry = Registry::serve(content).unwrap();
        let reference = |digest: &Digest| format!("{}/image@{digest}", registry.addr());
        let directory = tempfile::tempdir().unwrap();
        for agent in ["agent", "another agent"] {
            fs::write(directory.path().join(agent), agent).unwrap();
        }
        Self {
            references: digests.iter().map(reference).collect(),
            directory,
            registry,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Pulls an image into the store of that name.
    fn pull(&self, store: &str, image: usize, agent: &str) -> Pulled {
        let mut options = Options::default();
        options.platform = "linux/amd64".parse().unwrap();
        options.agents = Agents::default().with("amd64", self.directory(agent));
        options.image.block_size = 4096;
        options.image.compressor = Compressor::Zstd { level: 3 };
        options.threads = std::num::NonZeroUsize::MIN;
        options.store.min_free = 0;
        let store = Store::open(self.directory(store), options).unwrap();
        let pulled = store.pull_image(&self.references[image], None);
        self.runtime.block_on(pulled).unwrap()
    }

    /// Returns the bytes of a build in an empty store.
    fn cold(&self, image: usize, agent: &str) -> Vec<u8> {
        let store = format!("cold {image} {agent}");
        let pulled = self.pull(&store, image, agent);
        assert_eq!(pulled.built.unwrap().reuse.layers, 0);
        fs::read(pulled.path).unwrap()
    }
}

/// SplitMix64, so that a sample can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((word ^ word >> 31) % end as u64).unwrap()
    }
}

/// `REUSE_SEED=7` takes the sample of that seed again; else each run has one of its own.
fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    std::env::var("REUSE_SEED").map_or_else(
        |_| u64::from(now.unwrap().subsec_nanos()),
        |seed| seed.parse().unwrap(),
    )
}

/// A part of a file, with a name for messages.
type Region = (&'static str, std::ops::Range<usize>);

/// Takes bits of each region: its first and its last one, and one at random in each of as many equal parts as `count`
/// says. `REUSE_BITS=1` takes all of them, with `REUSE_FROM=N` those from byte N on.
fn sample(regions: &[Region], count: usize, seed: u64) -> Vec<(&'static str, usize, u8)> {
    let every = std::env::var_os("REUSE_BITS").is_some();
    let from = std::env::var("REUSE_FROM").map_or(0, |from| from.parse().unwrap());
    let mut random = Random(seed);
    let mut bits = Vec::new();
    for (name, region) in regions {
        assert!(!region.is_empty(), "{name} is empty: {region:?}");
        if every {
            let all = region
                .clone()
                .filter(|at| *at >= from)
                .flat_map(|at| (0..8).map(move |bit| (at, bit)));
            bits.extend(all.map(|(at, bit)| (*name, at, bit)));
            continue;
        }
        bits.extend([(*name, region.start, 0), (*name, region.end - 1, 7)]);
        for part in 0..count {
            let at = |part: usize| region.start + region.len() * part / count;
            let (start, end) = (at(part), at(part + 1).max(at(part) + 1));
            let place = start + random.below(end - start);
            bits.push((
                *name,
                place.min(region.end - 1),
                u8::try_from(random.below(8)).unwrap(),
            ));
        }
    }
    bits
}

fn word(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_le_bytes(*bytes[at..].first_chunk().unwrap())).unwrap()
}

/// Every kind of part of an artifact, in order.
fn parts_of(artifact: &[u8], pulled: &Pulled) -> Vec<Region> {
    let [used, ids, xattrs, inodes, directories, fragments, exports] =
        [40, 48, 56, 64, 72, 80, 88].map(|at| word(artifact, at));
    let image = usize::try_from(pulled.record.image_length).unwrap();
    let record = image + usize::try_from(pulled.record.tree_length()).unwrap();
    let facts = record + 32 * image.div_ceil(hpcc_rootfs::CHUNK);
    let footer = artifact.len() - 64;
    let zeros = 1 + artifact[..footer]
        .iter()
        .rposition(|byte| *byte != 0)
        .unwrap();
    let mut parts = vec![
        ("superblock", 0..96),
        ("data and fragments", 96..inodes),
        ("inodes", inodes..directories),
        ("directories", directories..fragments),
        ("fragment table", fragments..exports),
        ("export table", exports..ids),
        ("ids", ids..xattrs),
        ("attributes", xattrs..used),
        ("padding", used..image),
        ("chunk digests", record..facts),
        ("facts", facts..zeros),
        ("zeros", zeros..footer),
        ("magic and version", footer..footer + 12),
        ("lengths", footer + 12..footer + 32),
        ("checksum", footer + 32..artifact.len()),
    ];
    if record > image {
        parts.push(("superblock of the hash tree", image..image + 4096));
        parts.push(("hash tree", image + 4096..record));
    }
    parts
}

/// Every kind of part of what a build leaves for later ones.
fn parts_of_side(side: &[u8]) -> Vec<Region> {
    let footer = side.len() - 48;
    let length = u32::from_le_bytes(*side[footer + 12..].first_chunk().unwrap());
    let directory = footer - usize::try_from(length).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&side[directory..footer]).unwrap();
    let section = |section: &serde_json::Value| {
        let number = |name: &str| usize::try_from(section[name].as_u64().unwrap()).unwrap();
        number("offset")..number("offset") + number("length")
    };
    let names = 24 + 8 * json["layers"].as_array().unwrap().len();
    let mut parts = vec![
        ("magic of the head", 0..8),
        ("version of the head", 8..12),
        ("number of layers", 12..16),
        ("rules of the blocks", 16..24),
        ("names of layers", 24..names),
    ];
    for layer in json["layers"].as_array().unwrap() {
        parts.push(("entries", section(&layer["list"])));
        parts.push(("places", section(&layer["places"])));
        parts.push(("recovered", section(&layer["recovered"])));
    }
    parts.extend([
        ("fragments", section(&json["fragments"])),
        ("documents", section(&json["documents"])),
        ("directory", directory..footer),
        ("magic", footer..footer + 8),
        ("version", footer + 8..footer + 12),
        ("length", footer + 12..footer + 16),
        ("checksum", footer + 16..side.len()),
    ]);
    // A layer without any has none.
    parts.retain(|(_, part)| !part.is_empty());
    parts
}

fn layers() -> [Layer; 3] {
    let noted = Entry::file("usr/noted", noise(2, 70)).xattr("user.note", "a note");
    [
        Layer::new()
            .dir("usr")
            .file("usr/text", "text ".repeat(1200))
            .file("usr/short", noise(1, 60))
            // Enough for a hash tree of more than its superblock.
            .file("usr/noise", noise(3, 9000))
            .entry(noted),
        Layer::new().file("one", "1"),
        Layer::new().file("two", "2"),
    ]
}

/// That every bit counts is shown where stored bytes are read; here it is what a build makes of it.
#[test]
fn flipped_bit_of_a_source_costs_time_and_no_byte() {
    let [base, one, two] = layers();
    let stores = Stores::new(&[&[&base, &one], &[&base, &two]]);
    let (seed, plain) = (seed(), stores.options());
    let expected = stores.cold(1, &plain);
    for (store, verity) in [("plain", false), ("sealed", true)] {
        let mut options = plain.clone();
        options.image.verity = verity;
        let first = stores.pull(store, 0, &options);
        let (sound, side) = (
            fs::read(&first.path).unwrap(),
            fs::read(side_of(&first.path)).unwrap(),
        );
        let second = |copied: &mut usize| {
            let second = stores.pull(store, 1, &plain);
            let same = fs::read(&second.path).unwrap() == expected;
            *copied += second.built.unwrap().reuse.layers;
            fs::remove_file(&second.path).unwrap();
            fs::remove_file(side_of(&second.path)).unwrap();
            same
        };
        let mut parts = parts_of(&sound, &first);
        if verity {
            // The other ones are the same.
            parts.drain(..parts.len() - 2);
        }
        for (part, at, bit) in sample(&parts, 12, seed) {
            let mut spoiled = sound.clone();
            spoiled[at] ^= 1 << bit;
            fs::write(&first.path, &spoiled).unwrap();
            fs::write(side_of(&first.path), &side).unwrap();
            let mut copied = 0;
            let case = format!("{store}: bit {bit} of byte {at}, {part} (REUSE_SEED={seed})");
            assert!(second(&mut copied), "{case}: the bytes differ");
            // One chunk covers the image, so no flip goes unnoticed. The tree is for the guest, and is not read.
            assert_eq!(copied, usize::from(verity), "{case}");
            // What could be read to its end is set aside, and never copied from again.
            let is_kept = first.path.exists();
            let is_of_the_image = at < usize::try_from(first.record.image_length).unwrap();
            let is_set_aside = is_of_the_image && at >= 96;
            assert!(!is_set_aside || !is_kept, "{case}: it was not set aside");
        }
        fs::write(&first.path, &sound).unwrap();
        fs::write(side_of(&first.path), &side).unwrap();
        let mut copied = 0;
        assert!(second(&mut copied));
        assert_eq!(copied, 1);
    }
}

#[test]
fn any_spoiled_side_file_costs_time_and_no_byte() {
    let [base, one, two] = layers();
    let other = Layer::new().file("other", noise(5, 5000));
    let stores = Stores::new(&[&[&base, &one], &[&base, &two], &[&other, &base]]);
    let (seed, options) = (seed(), stores.options());
    let expected = stores.cold(1, &options);
    let first = stores.pull("store", 0, &options).path;
    let side = side_of(&first);
    let good = fs::read(&side).unwrap();
    let foreign = stores.pull("elsewhere", 2, &options).path;
    let mut another = options.clone();
    another.agents = Agents::default().with("amd64", stores.path("another agent"));
    let stale = stores.pull("stale", 0, &another).path;
    let again = |what: &str| {
        let second = stores.pull("store", 1, &options);
        assert!(
            fs::read(&second.path).unwrap() == expected,
            "{what}: the bytes differ"
        );
        assert!(first.exists(), "{what}: a sound source was lost");
        fs::remove_file(&second.path).unwrap();
        fs::remove_file(side_of(&second.path)).unwrap();
        second.built.unwrap().reuse.layers
    };
    assert_eq!(again("sound"), 1);
    for (part, at, bit) in sample(&parts_of_side(&good), 10, seed) {
        let mut spoiled = good.clone();
        spoiled[at] ^= 1 << bit;
        fs::write(&side, &spoiled).unwrap();
        again(&format!(
            "bit {bit} of byte {at}, {part} (REUSE_SEED={seed})"
        ));
    }
    let mut random = Random(seed);
    let cuts = [0, 1, 47, 48, 49, good.len() / 2, good.len() - 1];
    let cuts = cuts
        .into_iter()
        .chain((0..12).map(|_| random.below(good.len())));
    for length in cuts {
        fs::write(&side, &good[..length]).unwrap();
        let case = format!("cut at {length} (REUSE_SEED={seed})");
        assert_eq!(again(&case), 0, "{case}");
    }
    for (what, bytes) in [
        ("of another image", fs::read(side_of(&foreign)).unwrap()),
        (
            "of the image with another agent",
            fs::read(side_of(&stale)).unwrap(),
        ),
        ("the artifact itself", fs::read(&first).unwrap()),
        ("with more at its end", [&good[..], b"x"].concat()),
        ("noise", noise(9, good.len())),
        (
            "noise before its footer",
            [noise(9, good.len() - 48), good[good.len() - 48..].to_vec()].concat(),
        ),
        ("zeros", vec![0; good.len()]),
    ] {
        fs::write(&side, bytes).unwrap();
        assert_eq!(again(what), 0, "{what}");
    }
    // Offsets count from the beginning, where the same sections are.
    fs::write(&side, [good.clone(), good.clone()].concat()).unwrap();
    assert_eq!(again("twice"), 1);
    fs::remove_file(&side).unwrap();
    assert_eq!(again("gone"), 0);
    fs::create_dir(&side).unwrap();
    assert_eq!(again("a directory"), 0);
    fs::remove_dir(&side).unwrap();
    fs::write(&side, &good).unwrap();
    assert_eq!(again("sound again"), 1);
}

#[test]
fn recovered_bodies_are_copied_without_a_request() {
    // A newer layer replaces the names that were read first, and older links keep the files.
    let base = Layer::new()
        .dir("a")
        .file("a/kept", noise(3, 20_000))
        .file("a/short", noise(4, 99))
        .file("a/gone", noise(5, 5000))
        .hardlink("first", "a/kept")
        .hardlink("second", "a/short");
    let hides = Layer::new()
        .file("a/kept", "new")
        .file("a/short", "newer")
        .whiteout("a/gone");
    let app = Layer::new().file("app", noise(6, 100)).whiteout("a/gone");
    let small = Small::new(&[&[&base, &hides], &[&base, &app]]);
    let first = small.pull("store", 0, "agent");
    let summary = first.built.unwrap();
    assert_eq!(summary.flattened.layers_read_again, [0]);
    for agent in ["another agent", "agent"] {
        small.registry.clear_requests();
        let again = small.pull("store", 0, agent);
        assert!(
            small.registry.requests().is_empty(),
            "{:?}",
            small.registry.requests()
        );
        assert_eq!(again.built.unwrap().reuse.layers, 2);
        assert!(
            fs::read(again.path).unwrap() == small.cold(0, agent),
            "the bytes differ"
        );
        fs::remove_dir_all(small.directory(&format!("cold 0 {agent}"))).unwrap();
    }
    // They are as good as any other body for another image.
    let second = small.pull("store", 1, "agent");
    assert_eq!(second.built.unwrap().reuse.layers, 1);
    assert!(
        fs::read(second.path).unwrap() == small.cold(1, "agent"),
        "the bytes differ"
    );
}

/// Runs `pull` with at most `descriptors` descriptors.
fn pull_with(place: &Place, reference: &str, descriptors: u32) -> Outcome {
    let mut command = place.command("sh");
    command
        .args(["-c", "ulimit -n \"$1\"; shift; exec \"$@\"", "sh"])
        .arg(descriptors.to_string())
        .arg(program())
        // A connection without a descriptor is tried again, and ones that are never free end the pull soon.
        .args(["pull", reference, "--retry-for", "5s", "--json", "--agent"])
        .arg(place.agent());
    outcome(&mut command)
}

#[test]
fn descriptors_that_suffice_for_a_cold_build_suffice_for_reuse() {
    const LAYERS: u64 = 24;
    let layers: Vec<_> = (0..LAYERS)
        .map(|n| Layer::new().file(format!("file {n}"), noise(n, 3000)))
        .collect();
    let all: Vec<&Layer> = layers.iter().collect();
    let single: Vec<[&Layer; 1]> = layers.iter().map(|layer| [layer]).collect();
    let mut images: Vec<&[&Layer]> = single.iter().map(|image| &image[..]).collect();
    images.push(&all);
    let small = Small::new(&images);
    let place = Place::new();
    for reference in &small.references[..images.len() - 1] {
        place.pull(reference, &[]).line();
    }
    let reference = small.references.last().unwrap();
    let before: BTreeSet<_> = place.cached().into_iter().collect();
    let (mut scarce, mut enough, mut copied) = (0, 0, None);
    // From too few for any build, one by one, to enough for all.
    for descriptors in (20..36).chain([40, 48, 64, 128]) {
        let empty = Place::new();
        let cold = pull_with(&empty, reference, descriptors);
        let warm = pull_with(&place, reference, descriptors);
        if cold.status != Some(0) {
            scarce += 1;
            continue;
        }
        enough += 1;
        let (cold, warm) = (cold.json(), warm.json());
        let [cold, path] = [&cold, &warm].map(|pulled| pulled["path"].as_str().unwrap());
        let same = fs::read(path).unwrap() == fs::read(cold).unwrap();
        assert!(same, "{descriptors} descriptors");
        copied = warm["built"]["reuse"]["layers"].as_u64();
        fs::remove_file(path).unwrap();
        let after: BTreeSet<_> = place.cached().into_iter().collect();
        assert_eq!(
            after, before,
            "{descriptors} descriptors: no source is lost"
        );
    }
    assert!(
        enough > 2,
        "{scarce} of the limits are too strict for any build"
    );
    assert_eq!(copied, Some(LAYERS), "the last limit is enough to copy");
}

#[test]
fn pull_reports_a_failing_disk_and_makes_the_same_bytes() {
    let shared = Layer::new().file("shared", noise(1, 7 << 20));
    let [one, other] = [2, 3].map(|seed| Layer::new().file("own", noise(seed, 3000)));
    let small = Small::new(&[&[&shared, &one], &[&shared, &other]]);
    let reference = &small.references[1];
    let cold = fs::read(Place::new().pull(reference, &[]).line()).unwrap();
    let place = Place::new();
    let artifact = place.pull(&small.references[0], &[]).line().to_owned();
    let side = side_of(artifact.as_ref()).to_str().unwrap().to_owned();
    // strace counts by thread. The sixth read of the artifact is one of its image, by the thread that copies.
    for (file, calls) in [(&artifact, [1, 6]), (&side, [1, 3])] {
        for call in calls {
            let inject = format!("inject=pread64:error=EIO:when={call}+");
            let mut command = place.command("strace");
            command
                .args(["-f", "-qq", "-o", "calls", "-P", file])
                .args(["-e", "trace=pread64", "-e", &inject])
                .arg(program())
                .args(["pull", reference, "--agent"])
                .arg(place.agent());
            let pulled = outcome(&mut command);
            let case = format!("{file} {call}: {pulled:#?}");
            assert_eq!(pulled.status, Some(0), "{case}");
            let path = pulled.stdout.trim();
            assert!(fs::read(path).unwrap() == cold, "{case}");
            let told = "cannot be read: Input/output error";
            assert!(pulled.stderr.contains(told), "{case}");
            assert!(!pulled.stderr.contains("damage"), "{case}");
            assert!(fs::exists(&artifact).unwrap(), "{case}");
            fs::remove_file(path).unwrap();
        }
    }
}
