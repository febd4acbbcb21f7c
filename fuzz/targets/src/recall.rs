//! Hostile files beside an artifact, with what an earlier build left: lists of entries, places, fragments and documents.
//! Every pull succeeds, and unless the file was forged with checksums that fit, the bytes are those of a cold build.
//!
//! The first byte chooses what the rest is: the file itself, or its sections before they are compressed, each behind its
//! length, for which the body writes a file with checksums that fit. What is missing is what a build writes.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use hpcc_rootfs::{Agents, Options, Store};
use ociget::Digest;
use tempfile::TempDir;

use crate::archive::{Item, What, layer, tar};

/// Of the end of the file: magic, 8 bytes; version, 4; length of the directory, 4; checksum, 32.
const FOOTER: usize = 48;
/// Of the beginning: magic, 8 bytes; version, 4; number of layers, 4; rules, 8. Then there are 8 bytes for each layer.
const HEAD: usize = 24;
const CHECKSUM: usize = 32;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    let Some((&how, bytes)) = input.split_first() else {
        return;
    };
    let first = first();
    let (file, forged) = match how & 1 {
        0 => (bytes.to_vec(), false),
        _ => (assemble(&first.side, bytes), true),
    };
    for (image, agent) in [(1, "agent"), (0, "another agent")] {
        let place = Place::new(agent);
        fs::write(place.store().join(&first.name), &first.artifact).unwrap();
        fs::write(place.store().join(first.side_name()), &file).unwrap();
        let found = place.pull(image);
        if !forged {
            let cold = if image == 1 {
                &first.other
            } else {
                &first.again
            };
            assert!(found == *cold, "the bytes differ");
        }
    }
}

/// What a build of the first image leaves, and what cold builds make.
struct First {
    name: String,
    artifact: Vec<u8>,
    side: Vec<u8>,
    /// The second image.
    other: Vec<u8>,
    /// The first one with another agent.
    again: Vec<u8>,
}

impl First {
    fn side_name(&self) -> String {
        format!(".recall-{}", self.name.trim_end_matches(".sqsh"))
    }
}

fn first() -> &'static First {
    static FIRST: OnceLock<First> = OnceLock::new();
    FIRST.get_or_init(|| {
        let place = Place::new("agent");
        let artifact = place.pull(0);
        let name = place.artifact(0);
        let name = name.file_name().unwrap().to_str().unwrap().to_owned();
        let mut first = First {
            name,
            artifact,
            side: Vec::new(),
            other: Place::new("agent").pull(1),
            again: Place::new("another agent").pull(0),
        };
        first.side = fs::read(place.store().join(first.side_name())).unwrap();
        first
    })
}

/// A store, an agent, and a layout with two images that share layers.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new(agent: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("agent"), agent).unwrap();
        fs::create_dir(at("store")).unwrap();
        fs::create_dir_all(at("layout/blobs/sha256")).unwrap();
        fs::write(at("layout/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let put = |bytes: &[u8]| {
            let digest = Digest::of(bytes);
            fs::write(at("layout/blobs/sha256").join(digest.hex()), bytes).unwrap();
            format!(r#""digest":"{digest}","size":{}"#, bytes.len())
        };
        let mut images = Vec::new();
        for layers in images_of_layers() {
            let layers: Vec<Vec<u8>> = layers.iter().map(|text| tar(&items(text))).collect();
            let diff_ids: Vec<_> = layers
                .iter()
                .map(|layer| format!(r#""{}""#, Digest::of(layer)))
                .collect();
            let config = put(
                format!(
                    r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
                    diff_ids.join(",")
                )
                .as_bytes(),
            );
            let layers: Vec<_> = layers
                .iter()
                .map(|layer| format!(r#"{{"mediaType":"{LAYER}",{}}}"#, put(layer)))
                .collect();
            let manifest = put(
                format!(
                    r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json",{config}}},"layers":[{}]}}"#,
                    layers.join(",")
                )
                .as_bytes(),
            );
            images.push(manifest);
        }
        let manifests: Vec<_> = images
            .iter()
            .enumerate()
            .map(|(n, image)| {
                format!(
                    r#"{{"mediaType":"{MANIFEST}",{image},"annotations":{{"org.opencontainers.image.ref.name":"{n}"}}}}"#
                )
            })
            .collect();
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            manifests.join(",")
        );
        fs::write(at("layout/index.json"), index).unwrap();
        Self { directory }
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    fn source(&self, image: usize) -> String {
        format!(
            "oci:{}:{image}",
            self.directory.path().join("layout").display()
        )
    }

    fn open(&self) -> Store {
        let mut options = Options::default();
        options.platform = "linux/amd64".parse().unwrap();
        options.agents = Agents::default().with("amd64", self.directory.path().join("agent"));
        options.image.block_size = 4096;
        options.threads = std::num::NonZeroUsize::MIN;
        options.store.min_free = 0;
        Store::open(self.store(), options).unwrap()
    }

    fn pulled(&self, image: usize) -> hpcc_rootfs::Pulled {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (store, source) = (self.open(), self.source(image));
        match runtime.block_on(store.pull_image(&source, None)) {
            Ok(pulled) => pulled,
            Err(error) => panic!("a file beside an artifact made a pull fail: {error}"),
        }
    }

    /// Pulls an image and returns its artifact.
    fn pull(&self, image: usize) -> Vec<u8> {
        fs::read(self.pulled(image).path).unwrap()
    }

    /// Returns where the artifact of an image is that was pulled.
    fn artifact(&self, image: usize) -> PathBuf {
        self.pulled(image).path
    }
}

/// Files of all kinds: some that the newest layer hides and an older link keeps, and some that are equal, larger than a block,
/// or holes.
fn images_of_layers() -> [Vec<&'static str>; 2] {
    let base = "./ a/ a/b=text c->a d==a/b a/e=kept a/f=x*9000 a/g=x*9000 a/h=0*9000 a/i=y*8192 \
                a/j=z*5000 a/k=z*5000 l=0*4096 m=w*9000";
    [
        vec![base, "g==a/e n==m o==a/k", "a/e=new m=new a/k=new"],
        vec![base, "h=other i=x*9000 j=0*9000 k=v*4097"],
    ]
}

/// Returns a layer in which `x*9000` stands for contents of 9000 bytes, and `0` for zeros.
fn items(text: &str) -> Vec<Item> {
    let mut items = layer(text);
    for item in &mut items {
        if let What::File(text) = &mut item.what
            && let Some((letter, count)) = text.split_once('*')
        {
            let letter = if letter == "0" { "\0" } else { letter };
            *text = letter.repeat(count.parse().unwrap());
        }
    }
    items
}

/// Splits what the template has, and takes what the input has instead.
fn assemble(template: &[u8], mut input: &[u8]) -> Vec<u8> {
    let end = template.len() - FOOTER;
    let length = u32::from_le_bytes(*template[end + 12..].first_chunk().unwrap());
    let start = end - usize::try_from(length).unwrap();
    let mut directory = String::from_utf8(template[start..end].to_vec()).unwrap();
    let layers = u32::from_le_bytes(*template[12..].first_chunk().unwrap());
    let mut file = template[..HEAD + 8 * usize::try_from(layers).unwrap()].to_vec();
    let mut rebuilt = String::new();
    // In the directory as `"offset":N,"length":N,"checksum":"HEX"`.
    while let Some(at) = directory.find("\"offset\":") {
        let rest = directory.split_off(at);
        rebuilt += &directory;
        let close = rest.find('}').unwrap();
        let numbers: Vec<usize> = rest[..close]
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .take(2)
            .collect();
        let stored = &template[numbers[0]..numbers[0] + numbers[1]];
        let section = match take(&mut input) {
            Some(plain) => zstd::encode_all(plain, 1).unwrap(),
            None => stored.to_vec(),
        };
        rebuilt += &format!(
            r#""offset":{},"length":{},"checksum":"{}""#,
            file.len(),
            section.len(),
            blake3::hash(&section).to_hex()
        );
        file.extend_from_slice(&section);
        directory = rest[close..].to_owned();
    }
    rebuilt += &directory;
    let mut footer = template[end..end + FOOTER - CHECKSUM].to_vec();
    footer[12..16].copy_from_slice(&u32::try_from(rebuilt.len()).unwrap().to_le_bytes());
    let checksum = blake3::hash(&[rebuilt.as_bytes(), &footer].concat());
    file.extend_from_slice(rebuilt.as_bytes());
    file.extend_from_slice(&footer);
    file.extend_from_slice(checksum.as_bytes());
    file
}

/// Takes a section: its length in two bytes, of which the largest says that the template's is used, and its bytes.
fn take<'i>(input: &mut &'i [u8]) -> Option<&'i [u8]> {
    let (length, rest) = input.split_first_chunk()?;
    *input = rest;
    let length = usize::from(u16::from_le_bytes(*length));
    if length == usize::from(u16::MAX) {
        return None;
    }
    let (section, rest) = input.split_at(length.min(input.len()));
    *input = rest;
    Some(section)
}

/// Returns the file that a build leaves, and its sections.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let side = &first().side;
    let mut sections = vec![1];
    let end = side.len() - FOOTER;
    let length = u32::from_le_bytes(*side[end + 12..].first_chunk().unwrap());
    let directory = &side[end - usize::try_from(length).unwrap()..end];
    let directory = std::str::from_utf8(directory).unwrap();
    for section in directory.split("\"offset\":").skip(1) {
        let numbers: Vec<usize> = section
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .take(2)
            .collect();
        let plain = zstd::decode_all(&side[numbers[0]..numbers[0] + numbers[1]]).unwrap();
        sections.extend(u16::try_from(plain.len()).unwrap().to_le_bytes());
        sections.extend(plain);
    }
    vec![[&[0][..], side].concat(), sections, vec![0], vec![1]]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pulls with this file, and returns how many layers were not fetched.
    fn reused(file: &[u8], image: usize, agent: &str) -> usize {
        let first = first();
        let place = Place::new(agent);
        fs::write(place.store().join(&first.name), &first.artifact).unwrap();
        fs::write(place.store().join(first.side_name()), file).unwrap();
        place.pulled(image).built.unwrap().reuse.layers
    }

    #[test]
    fn the_first_seeds_are_used_in_both_forms() {
        let seeds = seeds();
        check(&seeds[0]);
        check(&seeds[1]);
        let assembled = assemble(&first().side, &seeds[1][1..]);
        for file in [&seeds[0][1..], &assembled] {
            assert_eq!(reused(file, 1, "agent"), 1);
            assert_eq!(reused(file, 0, "another agent"), 3);
        }
        assert_eq!(reused(b"", 1, "agent"), 0);
    }
}
