//! Sealed artifacts: a dm-verity hash tree behind the image, held against `veritysetup` and the kernel's driver.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use test_support::Result;
use test_support::image::{Image, Layer, Store};
use test_support::oracle::{Mount, veritysetup};
use test_support::registry::Registry;
use tree_listing::{DiffOptions, Listing, diff};

use crate::cli::{Outcome, Place};
use crate::store_damage::{noise, serve};

/// A sealed artifact in a store.
struct Sealed {
    path: PathBuf,
    record: Value,
}

impl Sealed {
    fn pull(place: &Place, reference: &str, more: &[&str]) -> (Self, Outcome) {
        let more = [&["--verity", "--json"][..], more].concat();
        let outcome = place.pull(reference, &more);
        let json = outcome.json();
        let sealed = Self {
            path: json["path"].as_str().unwrap().into(),
            record: json["record"].clone(),
        };
        (sealed, outcome)
    }

    fn hash_offset(&self) -> u64 {
        self.record["verity"]["hash_offset"].as_u64().unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    /// What `veritysetup verify` says.
    fn is_accepted(&self) -> Result<bool> {
        let root = self.record["verity"]["root"].as_str().unwrap();
        veritysetup::accepts(&self.path, self.hash_offset(), root)
    }
}

/// Flips one bit, which is undone when this is dropped.
struct Flipped(fs::File, u64);

impl Flipped {
    fn at(path: &Path, offset: u64) -> Self {
        let file = fs::File::options().read(true).write(true).open(path);
        let flipped = Self(file.unwrap(), offset);
        flipped.flip();
        flipped
    }

    fn flip(&self) {
        let mut byte = [0];
        self.0.read_exact_at(&mut byte, self.1).unwrap();
        self.0.write_all_at(&[byte[0] ^ 8], self.1).unwrap();
    }
}

impl Drop for Flipped {
    fn drop(&mut self) {
        self.flip();
    }
}

#[test]
fn sealed_artifact_convinces_veritysetup_until_a_bit_flips() -> Result<()> {
    let (_registry, reference, digest) = serve(300);
    let place = Place::new();
    let (sealed, _) = Sealed::pull(&place, &reference, &[]);
    assert!(sealed.is_accepted()?);
    let path = sealed.path.to_str().unwrap();
    assert_eq!(place.run(["verify", path]).status, Some(0));
    assert_eq!(place.run(["verify"]).status, Some(0));

    let verity = &sealed.record["verity"];
    let length = sealed.record["image_length"].as_u64().unwrap();
    assert_eq!(sealed.hash_offset(), length);
    assert_eq!(verity["data_blocks"], length / 4096);
    assert_eq!(sealed.record["key"]["verity"], true);
    let inspected = place.run(["inspect", &digest]);
    for name in ["root", "salt", "uuid"] {
        let line = format!("verity {name} {}", verity[name].as_str().unwrap());
        assert!(inspected.stdout.contains(&line), "{inspected:#?}");
    }

    // 769 data blocks and more: superblock, one block at the top, seven with their digests.
    for (offset, part, veritysetup_reads_it) in [
        (100, "data", true),
        (1_500_000, "data", true),
        (length - 1, "padding", true),
        (length + 70, "verity superblock", true),
        (length + 4000, "verity superblock", false),
        (length + 4096, "hash tree", true),
        (length + 8192, "hash tree", true),
        (length + 8192 + 9000, "hash tree", true),
    ] {
        let _flipped = Flipped::at(&sealed.path, offset);
        if veritysetup_reads_it {
            assert!(!sealed.is_accepted()?, "{offset}");
        }
        let outcome = place.run(["verify", path, "--json"]);
        assert_eq!(outcome.status, Some(1), "{offset}");
        let said: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let damage = said[0]["damage"].as_array().unwrap();
        assert_eq!(damage.len(), 1, "{offset}: {said}");
        let parts = damage[0]["parts"].as_array().unwrap();
        assert!(parts.contains(&json!(part)), "{offset}: {said}");
        let (start, end) = (&damage[0]["start"], &damage[0]["end"]);
        let range = start.as_u64().unwrap()..end.as_u64().unwrap();
        assert!(range.contains(&offset), "{offset}: {said}");
    }
    assert!(sealed.is_accepted()?);

    // In the store it is set aside, and the next pull makes the same bytes.
    let good = sealed.bytes();
    std::mem::forget(Flipped::at(&sealed.path, length + 9000));
    let outcome = place.run(["verify", &digest]);
    assert_eq!(outcome.status, Some(1));
    assert!(outcome.stdout.contains("hash tree"), "{outcome:#?}");
    assert!(place.cached()[0].starts_with(".bad-"));
    let (rebuilt, _) = Sealed::pull(&place, &reference, &[]);
    assert!(rebuilt.bytes() == good);
    Ok(())
}

#[test]
fn sealed_artifact_holds_the_same_image_and_mounts_as_squashfs() -> Result<()> {
    let (_registry, reference, _) = serve(301);
    let (place, plain_place) = (Place::new(), Place::new());
    let (sealed, _) = Sealed::pull(&place, &reference, &[]);
    let plain = plain_place.pull(&reference, &["--json"]).json();
    let plain_path = plain["path"].as_str().unwrap();
    assert!(plain["record"]["verity"].is_null());
    assert!(plain["record"]["key"].get("verity").is_none());
    let length = usize::try_from(sealed.hash_offset()).unwrap();
    let (bytes, plain_bytes) = (sealed.bytes(), fs::read(plain_path).unwrap());
    assert!(bytes[..length] == plain_bytes[..length]);
    assert_eq!(bytes.len() % 4096, 0);

    // Other threads and `build` write the same bytes.
    let other = Place::new();
    let agent = other.agent();
    let source = format!("docker://{reference}");
    let built = other.run([
        "build",
        &source,
        "--verity",
        "--threads",
        "1",
        "--agent",
        agent.to_str().unwrap(),
        "-o",
        "out.sqsh",
    ]);
    assert_eq!(built.status, Some(0), "{built:#?}");
    assert!(fs::read(other.path("out.sqsh")).unwrap() == bytes);

    if let (Some(one), Some(two)) = (
        Mount::squashfs(&sealed.path)?,
        Mount::squashfs(Path::new(plain_path))?,
    ) {
        let (one, two) = (Listing::walk(one.root())?, Listing::walk(two.root())?);
        assert_eq!(diff(&one, &two, &DiffOptions::default()), []);
    }
    Ok(())
}

#[test]
fn sealing_changes_the_key_and_reuses_what_the_store_holds() -> Result<()> {
    let mut store = Store::new();
    let base = Layer::new().file("base", noise(310, 2 << 20));
    let images = [1, 2].map(|seed| {
        Image::new()
            .layer(base.clone())
            .layer(Layer::new().file("app", noise(seed, 300_000)))
            .add_to(&mut store)
    });
    let registry = Registry::serve(store)?;
    let [first, second] = images.map(|image| format!("{}/image@{}", registry.addr(), image.digest));
    let place = Place::new();
    let reuse = |outcome: &Outcome| outcome.json()["built"]["reuse"]["layers"].clone();

    let plain = fs::read(place.pull(&first, &[]).line()).unwrap();
    // Sealing an artifact downloads nothing.
    let (sealed, outcome) = Sealed::pull(&place, &first, &[]);
    assert!(outcome.stderr.contains("another hash tree"), "{outcome:#?}");
    assert_eq!(reuse(&outcome), 2);
    assert!(sealed.is_accepted()?);
    let cold = Sealed::pull(&Place::new(), &first, &[]).0.bytes();
    assert!(sealed.bytes() == cold);
    let (_, again) = Sealed::pull(&place, &first, &[]);
    assert!(again.json()["built"].is_null());

    // A sealed artifact is a source for another image, sealed or not.
    let (other, outcome) = Sealed::pull(&place, &second, &[]);
    assert_eq!(reuse(&outcome), 1);
    assert!(other.is_accepted()?);
    assert_ne!(
        other.record["verity"]["salt"],
        sealed.record["verity"]["salt"]
    );
    let unsealed = place.pull(&first, &["--json"]);
    assert_eq!(reuse(&unsealed), 2);
    assert!(fs::read(&sealed.path).unwrap() == plain);

    // Another agent keeps salt and UUID, and gets another root.
    fs::write(place.agent(), "#!/another agent\n").unwrap();
    let (resealed, outcome) = Sealed::pull(&place, &first, &[]);
    assert_eq!(reuse(&outcome), 2);
    assert!(resealed.is_accepted()?);
    let (old, new) = (&sealed.record["verity"], &resealed.record["verity"]);
    assert_eq!(old["salt"], new["salt"]);
    assert_eq!(old["uuid"], new["uuid"]);
    assert_ne!(old["root"], new["root"]);

    let listed = place.run(["list", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    assert_eq!(place.run(["verify"]).status, Some(0));
    assert_eq!(place.run(["gc", "--max-size", "0"]).status, Some(0));
    assert!(place.cached().is_empty());
    Ok(())
}
