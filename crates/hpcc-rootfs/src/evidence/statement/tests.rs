//! Statements about generated records.

use proptest::prelude::*;
use sqfs_writer::Compressor;

use super::*;
use crate::artifact::{Digests, ImageOptions, Injected, MountPoint};

/// What a statement is made from. All digests in it are different.
#[derive(Clone, Debug)]
struct Facts {
    key: Key,
    /// SHA-256 of the file.
    sha256: String,
    chunks: Vec<[u8; 32]>,
    config: Option<String>,
    /// Digests of blob and archive, oldest first.
    layers: Vec<(Digest, Digest)>,
}

impl Facts {
    fn record(&self) -> Record {
        let length = self.chunks.len() as u64 * 4096;
        let record = Record::new(self.key.clone(), length, &[7; 96], &self.chunks);
        if !self.key.verity {
            return record;
        }
        let manifest = &self.key.manifest;
        let hex = |name: &str| {
            Digest::of(format!("{name} {manifest}").as_bytes())
                .hex()
                .to_owned()
        };
        let verity = json!({
            "root": hex("root"),
            "salt": hex("salt"),
            "uuid": "12345678-1234-8234-8234-123456789abc",
            "data_blocks": length / 4096,
            "hash_offset": length,
        });
        record.sealed(serde_json::from_value(verity).unwrap())
    }

    fn description(&self) -> Description {
        let layers = self.layers.iter().map(
            |(blob, diff_id)| json!({ "digest": blob.to_string(), "diff_id": diff_id.to_string() }),
        );
        let image = json!({
            "identity": self.key.identity.to_string(),
            "manifest": self.key.manifest.to_string(),
            "layers": layers.collect::<Vec<_>>(),
            "config": {},
        });
        let config = self.config.as_deref().map(str::as_bytes);
        let description = Description::parse(image.to_string().as_bytes(), config).unwrap();
        assert!(description.is_of(&self.key.identity, &self.key.manifest));
        description
    }

    fn statement(&self) -> Value {
        statement(&self.record(), &self.sha256, &self.description()).unwrap()
    }

    /// Names of what the artifact was made from, each with its digest, in order.
    fn dependencies(&self) -> Vec<(String, Digest)> {
        let Key {
            identity,
            manifest,
            agent,
            injected,
            ..
        } = &self.key;
        let mut all = vec![
            ("image".to_owned(), identity.clone()),
            ("manifest".to_owned(), manifest.clone()),
        ];
        let config = self.config.iter();
        all.extend(config.map(|config| ("config".to_owned(), Digest::of(config.as_bytes()))));
        let layers = self.layers.iter().zip(1..);
        all.extend(layers.map(|((blob, _), number)| (format!("layer {number}"), blob.clone())));
        let agent = agent.iter();
        all.extend(agent.map(|agent| ("/.hpcc/agent".to_owned(), agent.clone())));
        let injected = injected.iter();
        all.extend(injected.map(|file| (format!("/.hpcc/{}", file.path), file.digest.clone())));
        all
    }

    /// Changes one of the options in the key, or a file that is put into the image.
    fn changed(&self, field: usize) -> Self {
        let mut changed = self.clone();
        let key = &mut changed.key;
        let other = Digest::of(b"another");
        match field {
            0 => key.format += 1,
            1 => key.platform.push_str("/v9"),
            2 => key.agent = key.agent.is_none().then_some(other),
            3 => key.agent = Some(other),
            4 => key.compressor.push('9'),
            5 => key.block_size *= 2,
            6 => key.tails = !key.tails,
            7 => key.time ^= 1,
            8 => key.verity = !key.verity,
            9 => key.mount_points.push("/another".into()),
            10 => key.injected.push(Injected {
                path: "another".into(),
                digest: other,
                mode: 0o644,
            }),
            11 => match key.injected.first_mut() {
                Some(file) => file.mode ^= 1,
                None => key.time ^= 1,
            },
            12 => key.identity = other,
            _ => key.manifest = other,
        }
        changed
    }
}

/// Fields that [`Facts::changed`] changes.
const FIELDS: usize = 14;

fn facts() -> impl Strategy<Value = Facts> {
    let counts = (0..6usize, 0..4usize, 1..4u8);
    let flags = any::<[bool; 6]>();
    (any::<u32>(), counts, flags, any::<u32>()).prop_map(
        |(seed, (layers, injected, chunks), flags, time)| {
            let digest = |name: &str| Digest::of(format!("{seed} {name}").as_bytes());
            let [is_long, is_index, has_agent, has_config, tails, verity] = flags;
            let identity = match is_long {
                true => format!("sha512:{}{}", digest("a").hex(), digest("b").hex()).parse(),
                false => digest("identity").to_string().parse(),
            };
            let identity: Digest = identity.unwrap();
            let manifest = match is_index {
                true => digest("manifest"),
                false => identity.clone(),
            };
            let file = |n| Injected {
                path: format!("dir \"{n}\"\n"),
                digest: digest(&format!("injected {n}")),
                mode: 0o600,
            };
            let digests = Digests {
                agent: has_agent.then(|| digest("agent")),
                injected: (0..injected).map(file).collect(),
            };
            let options = ImageOptions {
                compressor: Compressor::Zstd { level: 3 },
                tails,
                time,
                verity,
                mount_points: vec![MountPoint::new("/data", false).unwrap()],
                ..ImageOptions::default()
            };
            let platform = "linux/arm64".into();
            let layer = |n| (digest(&format!("blob {n}")), digest(&format!("tar {n}")));
            Facts {
                key: Key::new(identity, manifest, platform, digests, &options),
                sha256: digest("file").hex().to_owned(),
                chunks: (0..chunks).map(|n| [n; 32]).collect(),
                config: has_config.then(|| format!("{{\"seed\":{seed}}}")),
                layers: (0..layers).map(layer).collect(),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 256 } else { 2048 }))]

    #[test]
    fn statement_names_every_digest_where_it_belongs(facts in facts()) {
        let (statement, record) = (facts.statement(), facts.record());
        let text = statement.to_string();
        prop_assert!(!text.contains('\n'));
        prop_assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), &statement);

        let subject = &statement["subject"][0];
        prop_assert_eq!(&subject["digest"], &json!({ "sha256": &facts.sha256 }));
        prop_assert_eq!(&subject["annotations"]["blake3-root"], &json!(record.root()));
        let definition = &statement["predicate"]["buildDefinition"];
        prop_assert_eq!(
            &definition["externalParameters"]["image"],
            &json!(facts.key.identity.to_string())
        );
        let found = definition["resolvedDependencies"].as_array().unwrap();
        let expected = facts.dependencies();
        prop_assert_eq!(found.len(), expected.len());
        for (found, (name, digest)) in found.iter().zip(&expected) {
            prop_assert_eq!(&found["name"], &json!(name));
            let algorithm = digest.algorithm().as_str();
            prop_assert_eq!(&found["digest"], &json!({ algorithm: digest.hex() }));
        }
        let layers = found.iter().filter(|found| found["annotations"].get("diffId").is_some());
        let diff_ids: Vec<_> = layers.map(|layer| layer["annotations"]["diffId"].clone()).collect();
        let expected_ids = facts.layers.iter().map(|(_, diff_id)| json!(diff_id.to_string()));
        prop_assert_eq!(diff_ids, expected_ids.collect::<Vec<_>>());

        // Elsewhere there is none of them, apart from the name of the subject, which is that of the image.
        let count = |hex: &str| text.matches(hex).count();
        let identity = facts.key.identity.hex();
        let is_manifest = facts.key.manifest == facts.key.identity;
        prop_assert_eq!(count(identity), 3 + usize::from(is_manifest));
        for (_, digest) in expected.iter().filter(|(_, digest)| digest.hex() != identity) {
            prop_assert_eq!(count(digest.hex()), 1);
        }
        for (_, diff_id) in &facts.layers {
            prop_assert_eq!(count(diff_id.hex()), 1);
        }
        prop_assert_eq!(count(&facts.sha256), 1);
        prop_assert_eq!(count(&record.root()), 1);
        let byproducts = &statement["predicate"]["runDetails"]["byproducts"];
        match &record.verity {
            Some(verity) => {
                prop_assert_eq!(&subject["annotations"]["dm-verity-root"], &json!(verity.root()));
                prop_assert_eq!(&byproducts[0]["digest"], &json!({ "sha256": verity.root() }));
                prop_assert_eq!(count(&verity.root()), 2);
                prop_assert_eq!(count(&verity.salt()), 1);
            }
            None => prop_assert_eq!(byproducts, &json!([])),
        }
    }

    #[test]
    fn statements_are_equal_exactly_if_the_keys_are(facts in facts(), field in 0..FIELDS) {
        let text = |facts: &Facts| facts.statement().to_string();
        let mut same = facts.clone();
        let key = serde_json::to_string(&facts.key).unwrap();
        same.key = serde_json::from_str(&key).unwrap();
        prop_assert_eq!(text(&same), text(&facts));
        let changed = facts.changed(field);
        prop_assert!(changed.key != facts.key);
        prop_assert_ne!(text(&changed), text(&facts));
    }
}
