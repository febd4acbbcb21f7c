//! `index.json`, changed without touching what is not known here.

use serde_json::{Map, Value, json};

use crate::manifest::{Descriptor, ManifestError};
use crate::source::layout::{IMAGE_NAME, is_name};

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The entry for `root`.
pub(super) fn entry(
    root: &Descriptor,
    artifact_type: Option<&str>,
    ref_name: Option<&str>,
) -> Value {
    let mut entry = json!({
        "mediaType": root.media_type_name(),
        "digest": root.digest.to_string(),
        "size": root.size,
    });
    if let Some(artifact_type) = artifact_type {
        entry["artifactType"] = artifact_type.into();
    }
    if let Some(name) = ref_name {
        entry["annotations"] = json!({REF_NAME: name});
    }
    entry
}

/// `index.json` with `entry`; `None` if it has it. A new one if there is none.
///
/// Two names may have the same digest, in two entries. One name has one digest.
///
/// # Errors
/// Returns [`ManifestError`] if `before` is not an index.
pub(super) fn with(before: Option<&[u8]>, entry: Value) -> Result<Option<Vec<u8>>, ManifestError> {
    let mut index: Map<String, Value> = match before {
        Some(before) => crate::json::parse(before)?,
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
    let wanted = name(&entry);
    let (mut is_listed, mut is_changed) = (false, false);
    manifests.retain_mut(|found| {
        let has_name = wanted.is_some() && name(found) == wanted;
        if found["digest"] == entry["digest"] {
            is_listed |= has_name || wanted.is_none();
            return true;
        }
        if !has_name {
            return true;
        }
        is_changed = true;
        is_of_another(found, wanted.as_deref()) && untag(found)
    });
    if !is_listed {
        manifests.push(entry);
    } else if !is_changed {
        return Ok(None);
    }
    Ok(Some(serde_json::to_vec(&index)?))
}

/// Whether an entry with the tag `tag` has the whole name of another image.
fn is_of_another(entry: &Value, tag: Option<&str>) -> bool {
    let name = entry["annotations"][IMAGE_NAME].as_str();
    let name = name.filter(|name| !name.is_empty());
    name.is_some_and(|name| tag.is_none_or(|tag| !is_name(tag, name)))
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

    fn of(text: &str, name: Option<&str>) -> Value {
        let root = Descriptor::new("application/x", Digest::of(text.as_bytes()), 1);
        entry(&root, None, name)
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
            let found = with(Some(&index(&before)), entry.clone()).unwrap();
            let found = found.map(|bytes| serde_json::from_slice::<Value>(&bytes).unwrap());
            let after =
                after.map(|entries| serde_json::from_slice::<Value>(&index(&entries)).unwrap());
            assert_eq!(found, after, "{before:?} {entry}");
        }
    }

    /// The layout of `docker save app:v1 other:v1`; skopeo 1.15 keeps the entries as well.
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
            let found = with(Some(&index(&before)), entry.clone()).unwrap().unwrap();
            let found: Value = serde_json::from_slice(&found).unwrap();
            assert_eq!(found["manifests"], Value::Array(after), "{before:?}");
        }
    }

    #[test]
    fn index_is_made_if_missing_and_kept_if_damaged() {
        let made = with(None, of("a", None)).unwrap().unwrap();
        let made: Value = serde_json::from_slice(&made).unwrap();
        assert_eq!(made["manifests"].as_array().unwrap().len(), 1);
        assert!(
            with(
                Some(br#"{"schemaVersion":2,"manifests":null}"#),
                of("a", None)
            )
            .is_ok()
        );
        for damaged in ["", "{", "[]", r#"{"manifests":{}}"#, r#"{"a":1,"a":2}"#] {
            assert!(
                with(Some(damaged.as_bytes()), of("a", None)).is_err(),
                "{damaged}"
            );
        }
    }
}
