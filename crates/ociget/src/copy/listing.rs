//! `index.json`, changed without touching what is not known here.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::go_json::{Keys, respell};
use crate::manifest::{ARTIFACT_KEYS, Descriptor, ManifestError};
use crate::media_type::MediaType;
use crate::source::layout::{IMAGE_NAME, is_name};

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What is listed.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) root: Descriptor,
    /// Whether the document or its source names the media type. Otherwise an entry may have another one of its kind.
    pub(super) is_typed: bool,
    pub(super) artifact_type: Option<String>,
    pub(super) ref_name: Option<String>,
}

impl Listed {
    fn entry(&self) -> Value {
        let mut entry = json!({
            "mediaType": self.root.media_type_name(),
            "digest": self.root.digest.to_string(),
            "size": self.root.size,
        });
        if let Some(artifact_type) = &self.artifact_type {
            entry["artifactType"] = artifact_type.as_str().into();
        }
        if let Some(name) = &self.ref_name {
            entry["annotations"] = json!({REF_NAME: name});
        }
        entry
    }

    /// Gives an entry of this digest the right size and media type. Returns whether one was wrong.
    fn correct(&self, entry: &mut Value) -> bool {
        let kind = |name: &str| MediaType::parse(name).map(|it| (it.is_index(), it.is_manifest()));
        let name = self.root.media_type_name();
        let is_right = |found: &str| {
            found == name || !self.is_typed && kind(found).is_some() && kind(found) == kind(name)
        };
        let (size, media_type) = (entry["size"].as_u64(), entry["mediaType"].as_str());
        let is_resized = size != Some(self.root.size);
        let is_retyped = !media_type.is_some_and(is_right);
        let Some(entry) = entry.as_object_mut() else {
            return false;
        };
        if is_resized {
            entry.insert("size".to_owned(), self.root.size.into());
        }
        if is_retyped {
            entry.insert("mediaType".to_owned(), name.into());
        }
        is_resized || is_retyped
    }
}

/// `index.json` with the entry of `listed`; `None` if it has it. A new one if there is none.
///
/// Two names may have the same digest, in two entries. One name has one digest.
///
/// # Errors
/// Returns [`ManifestError`] if `before` is not an index.
pub(super) fn with(
    before: Option<&[u8]>,
    listed: &Listed,
) -> Result<Option<Vec<u8>>, ManifestError> {
    let mut index: Map<String, Value> = match before {
        Some(before) => parse(before)?,
        None => Map::from_iter([
            ("schemaVersion".to_owned(), 2.into()),
            (
                "mediaType".to_owned(),
                "application/vnd.oci.image.index.v1+json".into(),
            ),
        ]),
    };
    let manifests = index.entry("manifests").or_insert(Value::Null);
    if manifests.is_null() {
        *manifests = Value::Array(Vec::new());
    }
    let Value::Array(manifests) = manifests else {
        return Err(ManifestError::Unsupported(
            "an index.json whose manifests are not a list".to_owned(),
        ));
    };
    let name = |entry: &Value| entry["annotations"][REF_NAME].as_str().map(str::to_owned);
    let (entry, wanted) = (listed.entry(), listed.ref_name.clone());
    let tagged = manifests
        .iter()
        .filter(|found| wanted.is_some() && name(found) == wanted);
    let names: BTreeSet<Option<&str>> = tagged.map(image_name).collect();
    let is_shared = names.len() > 1;
    let (mut is_listed, mut is_changed) = (false, false);
    manifests.retain_mut(|found| {
        let has_name = wanted.is_some() && name(found) == wanted;
        if found["digest"] == entry["digest"] {
            is_listed |= has_name || wanted.is_none();
            is_changed |= listed.correct(found);
            return true;
        }
        if !has_name {
            return true;
        }
        is_changed = true;
        let is_of_another = wanted
            .as_deref()
            .is_some_and(|tag| is_of_another(found, tag, is_shared));
        is_of_another && untag(found)
    });
    if !is_listed {
        manifests.push(entry);
    } else if !is_changed {
        return Ok(None);
    }
    Ok(Some(serde_json::to_vec(&index)?))
}

/// The index as readers see it, whose unknown fields stay as they are.
fn parse(text: &[u8]) -> Result<Map<String, Value>, ManifestError> {
    const NONE: Keys = Keys {
        known: &[],
        maps: &[],
        records: &[],
    };
    // Refuses one field in two spellings.
    let _: Map<String, Value> = crate::json::parse_as_go(text, ARTIFACT_KEYS)?;
    let mut index: Map<String, Value> = crate::json::parse_as_go(text, NONE)?;
    // With `Manifests` in place of `manifests`, a second list would hide the first from readers.
    respell(&mut index, &["manifests"]);
    let entries = index.get_mut("manifests").and_then(Value::as_array_mut);
    for entry in entries
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        respell(entry, &["mediaType", "digest", "size", "annotations"]);
    }
    Ok(index)
}

/// The whole name of an entry's image.
fn image_name(entry: &Value) -> Option<&str> {
    let name = entry["annotations"][IMAGE_NAME].as_str();
    name.filter(|name| !name.is_empty())
}

/// Whether an entry with the tag `tag` has the whole name of another image. A tag alone means the image whose name ends
/// with it, unless the images of several entries share the tag.
fn is_of_another(entry: &Value, tag: &str, is_shared: bool) -> bool {
    let ends_with_tag = |name: &str| name.rsplit_once(':').is_some_and(|(_, end)| end == tag);
    image_name(entry).is_some_and(|name| !is_name(tag, name) && (is_shared || !ends_with_tag(name)))
}

/// Takes the tag off an entry, and returns whether it had one.
fn untag(entry: &mut Value) -> bool {
    let annotations = entry.get_mut("annotations").and_then(Value::as_object_mut);
    annotations.is_some_and(|annotations| annotations.remove(REF_NAME).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

    fn listed(text: &str, name: Option<&str>) -> Listed {
        Listed {
            root: Descriptor::new(MANIFEST, Digest::of(text.as_bytes()), 1),
            is_typed: true,
            artifact_type: None,
            ref_name: name.map(str::to_owned),
        }
    }

    fn of(text: &str, name: Option<&str>) -> Value {
        listed(text, name).entry()
    }

    /// What lists `entry`.
    fn back(entry: &Value) -> Listed {
        let digest = entry["digest"].as_str().unwrap().parse().unwrap();
        Listed {
            root: Descriptor::new(MANIFEST, digest, 1),
            ..listed("", entry["annotations"][REF_NAME].as_str())
        }
    }

    fn index(entries: &[Value]) -> Vec<u8> {
        json!({"manifests": entries, "schemaVersion": 2, "annotations": {"kept": "yes"}})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn entry_replaces_the_one_with_its_name_alone() {
        let (a, b) = (of("a", Some("v1")), of("b", Some("v1")));
        // podman-container-tools/skopeo#762: two names for one digest.
        let (a2, unnamed) = (of("a", Some("v2")), of("a", None));
        let mut foreign = of("f", Some("x"));
        // containers/image#2475: fields that are not known here.
        foreign["future"] = json!({"field": 1.5});
        for (before, entry, after) in [
            (vec![], &a, Some(vec![a.clone()])),
            (vec![a.clone()], &a, None),
            (vec![a.clone()], &b, Some(vec![b.clone()])),
            (vec![a.clone()], &a2, Some(vec![a.clone(), a2.clone()])),
            (vec![a.clone()], &unnamed, None),
            (
                vec![unnamed.clone()],
                &a,
                Some(vec![unnamed.clone(), a.clone()]),
            ),
            (
                vec![foreign.clone(), a.clone()],
                &b,
                Some(vec![foreign.clone(), b.clone()]),
            ),
            (vec![a.clone(), b.clone()], &a, Some(vec![a.clone()])),
        ] {
            let found = with(Some(&index(&before)), &back(entry)).unwrap();
            let found = found.map(|bytes| serde_json::from_slice::<Value>(&bytes).unwrap());
            let after =
                after.map(|entries| serde_json::from_slice::<Value>(&index(&entries)).unwrap());
            assert_eq!(found, after, "{before:?} {entry}");
        }
    }

    /// The layout of `docker save app:v1 other:v1`. Skopeo keeps the entries as well.
    #[test]
    fn tag_of_other_images_is_taken_off_their_entries() {
        let tagged = |text: &str, tag: &str, image: &str| {
            let mut entry = of(text, Some(tag));
            entry["annotations"][IMAGE_NAME] = image.into();
            entry
        };
        let untagged = |text: &str, image: &str| {
            let mut entry = of(text, None);
            entry["annotations"] = json!({IMAGE_NAME: image});
            entry
        };
        let (app, other) = ("docker.io/library/app:v1", "docker.io/library/other:v1");
        let new = of("c", Some("v1"));
        for (before, entry, after) in [
            (
                vec![tagged("a", "v1", app), tagged("b", "v1", other)],
                &new,
                vec![untagged("a", app), untagged("b", other), new.clone()],
            ),
            // One of them is what is copied.
            (
                vec![tagged("c", "v1", app), tagged("b", "v1", other)],
                &new,
                vec![tagged("c", "v1", app), untagged("b", other)],
            ),
            (
                vec![tagged("a", "v1", ""), of("b", Some("v1"))],
                &new,
                vec![new.clone()],
            ),
            // The layout of `docker save app:v1`: the tag means this image alone.
            (vec![tagged("a", "v1", app)], &new, vec![new.clone()]),
            (
                vec![tagged("a", "v1", app), tagged("b", "v1", app)],
                &new,
                vec![new.clone()],
            ),
            (
                vec![tagged("a", "v1", app), of("b", Some("v1"))],
                &new,
                vec![untagged("a", app), new.clone()],
            ),
            (
                vec![tagged("a", "v1", "docker.io/library/app:v2")],
                &new,
                vec![untagged("a", "docker.io/library/app:v2"), new.clone()],
            ),
            // The tag is the whole name.
            (
                vec![tagged("a", "app:v1", app)],
                &of("c", Some("app:v1")),
                vec![of("c", Some("app:v1"))],
            ),
            (
                vec![tagged("a", app, app)],
                &of("c", Some(app)),
                vec![of("c", Some(app))],
            ),
        ] {
            let found = with(Some(&index(&before)), &back(entry)).unwrap().unwrap();
            let found: Value = serde_json::from_slice(&found).unwrap();
            assert_eq!(found["manifests"], Value::Array(after), "{before:?}");
        }
    }

    #[test]
    fn index_is_made_if_missing_and_kept_if_damaged() {
        let made = with(None, &listed("a", None)).unwrap().unwrap();
        let made: Value = serde_json::from_slice(&made).unwrap();
        assert_eq!(made["manifests"].as_array().unwrap().len(), 1);
        assert!(
            with(
                Some(br#"{"schemaVersion":2,"manifests":null}"#),
                &listed("a", None)
            )
            .is_ok()
        );
        for damaged in ["", "{", "[]", r#"{"manifests":{}}"#, r#"{"a":1,"a":2}"#] {
            assert!(
                with(Some(damaged.as_bytes()), &listed("a", None)).is_err(),
                "{damaged}"
            );
        }
    }

    #[test]
    fn wrong_size_or_type_of_the_same_digest_is_corrected() {
        const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
        const INDEX: &str = "application/vnd.oci.image.index.v1+json";
        let right = of("a", Some("v1"));
        let other = of("b", Some("v2"));
        for (field, value, is_untyped_right) in [
            ("size", json!(2), false),
            ("size", json!("1"), false),
            ("size", json!(null), false),
            ("mediaType", json!(INDEX), false),
            ("mediaType", json!("application/x"), false),
            ("mediaType", json!(null), false),
            ("mediaType", json!(DOCKER), true),
        ] {
            let mut wrong = right.clone();
            wrong[field] = value;
            wrong["future"] = 1.into();
            let mut corrected = right.clone();
            corrected["future"] = 1.into();
            let before = index(&[wrong.clone(), other.clone()]);
            for name in [Some("v1"), Some("v3"), None] {
                for is_typed in [true, false] {
                    let listed = Listed {
                        is_typed,
                        ..listed("a", name)
                    };
                    let mut after = vec![corrected.clone(), other.clone()];
                    if !is_typed && is_untyped_right {
                        after[0] = wrong.clone();
                    }
                    if name == Some("v3") {
                        after.push(of("a", name));
                    }
                    let found = with(Some(&before), &listed).unwrap();
                    let found = found.unwrap_or_else(|| before.clone());
                    let found: Value = serde_json::from_slice(&found).unwrap();
                    assert_eq!(found["manifests"], Value::Array(after), "{wrong}");
                    assert_eq!(found["annotations"]["kept"], "yes");
                }
            }
        }
    }

    #[test]
    fn list_of_another_spelling_is_kept() {
        let before = index(&[of("a", Some("v1"))]);
        let before = String::from_utf8(before).unwrap();
        let before = before.replace("manifests", "Manifests");
        let after = with(Some(before.as_bytes()), &listed("b", Some("v2")));
        let after: Value = serde_json::from_slice(&after.unwrap().unwrap()).unwrap();
        let both = [of("a", Some("v1")), of("b", Some("v2"))];
        assert_eq!(after["manifests"], json!(both));
        assert_eq!(after.get("Manifests"), None);
    }

    #[test]
    fn unknown_fields_keep_their_spelling() {
        let mut one = of("a", Some("v1"));
        one["x-vendor"] = json!({"Size": 1, "Config": {"Digest": "x"}});
        let mut before: Value = serde_json::from_slice(&index(&[one.clone()])).unwrap();
        before["x-vendor"] = json!({"Manifests": [{"Size": 1}]});
        let text = before.to_string().replace("\"mediaType\"", "\"MediaType\"");
        let after = with(Some(text.as_bytes()), &listed("b", Some("v2"))).unwrap();
        let after: Value = serde_json::from_slice(&after.unwrap()).unwrap();
        assert_eq!(after["manifests"], json!([one, of("b", Some("v2"))]));
        assert_eq!(after["x-vendor"], before["x-vendor"]);
    }
}
