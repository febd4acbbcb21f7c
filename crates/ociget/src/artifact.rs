//! Manifests of any artifact: charts, signatures, SBOMs, and images as well.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::manifest::{ARTIFACT_KEYS, Descriptor, ManifestError, RawDescriptor, strings};
use crate::media_type::MediaType;

/// A manifest or index of any kind, with its descriptors as they are.
///
/// [`Manifest`](crate::Manifest) reads images and refuses everything else.
/// This type reads whatever the specification calls a manifest, and leaves it to the caller what the
/// media types mean.
///
/// ```
/// use ociget::ArtifactManifest;
///
/// let digest = ociget::Digest::of(b"{}");
/// let text = format!(
///     r#"{{"schemaVersion":2,"artifactType":"application/spdx+json",
///     "config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{digest}","size":2}},
///     "layers":[{{"mediaType":"application/spdx+json","digest":"{digest}","size":2}}]}}"#
/// );
/// let sbom = ArtifactManifest::parse(text.as_bytes())?;
/// assert_eq!(sbom.artifact_type(), Some("application/spdx+json"));
/// assert_eq!(sbom.layers[0].media_type_name(), "application/spdx+json");
/// # Ok::<(), ociget::ManifestError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArtifactManifest {
    /// The field `mediaType`.
    pub media_type: Option<String>,
    /// The field `artifactType`; [`artifact_type`](Self::artifact_type) also looks at the config.
    pub declared_type: Option<String>,
    /// The config. An index has none.
    pub config: Option<Descriptor>,
    /// The layers, in the document's order; in an artifact manifest, its `blobs`.
    pub layers: Vec<Descriptor>,
    /// The manifests of an index, in the document's order.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one is about.
    pub subject: Option<Descriptor>,
    /// Annotations. Values that are not strings are left out.
    pub annotations: BTreeMap<String, String>,
    is_index: bool,
}

impl ArtifactManifest {
    /// Reads a manifest or index. As for Go, a field may have its letters in any case.
    ///
    /// # Errors
    /// Returns [`ManifestError`] if the document is not JSON, has a key twice, also in two spellings, has the fields of an index
    /// and those of a manifest, has none of them, or if a digest or size in it is not valid.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let raw: Raw = crate::json::parse_as_go(bytes, ARTIFACT_KEYS)?;
        let is_index = raw.manifests.is_some();
        let said = raw.media_type.as_deref().and_then(MediaType::parse);
        let is_manifest = raw.config.is_some() || raw.layers.is_some() || raw.blobs.is_some();
        if is_index && is_manifest || said.is_some_and(|said| said.is_index() != is_index) {
            return Err(ManifestError::Ambiguous(
                "it has the fields of an index and those of a manifest".to_owned(),
            ));
        }
        if !is_index && !is_manifest && raw.subject.is_none() {
            return Err(ManifestError::Unsupported(
                "neither a manifest nor an index".to_owned(),
            ));
        }
        let all = |list: Option<Vec<RawDescriptor>>| -> Result<Vec<_>, ManifestError> {
            list.unwrap_or_default()
                .into_iter()
                .map(RawDescriptor::any)
                .collect()
        };
        let mut layers = all(raw.layers)?;
        layers.extend(all(raw.blobs)?);
        Ok(Self {
            media_type: raw.media_type.filter(|text| !text.is_empty()),
            declared_type: raw.artifact_type.filter(|text| !text.is_empty()),
            config: raw.config.map(RawDescriptor::any).transpose()?,
            layers,
            manifests: all(raw.manifests)?,
            subject: raw.subject.map(RawDescriptor::any).transpose()?,
            annotations: strings(raw.annotations),
            is_index,
        })
    }

    /// Returns whether the document is an index, possibly an empty one.
    #[must_use]
    pub fn is_index(&self) -> bool {
        self.is_index
    }

    /// Returns what kind of artifact this is, by the rule of the distribution specification: the field
    /// `artifactType`, or the media type of the config.
    #[must_use]
    pub fn artifact_type(&self) -> Option<&str> {
        let config = self.config.as_ref().map(Descriptor::media_type_name);
        self.declared_type.as_deref().or(config)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    blobs: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    subject: Option<RawDescriptor>,
    #[serde(default)]
    annotations: serde_json::Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_without_one_meaning_is_refused() {
        let digest = crate::digest::Digest::of(b"");
        let entry = format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":0}}"#);
        let index = "application/vnd.oci.image.index.v1+json";
        for (text, says) in [
            (
                format!(r#"{{"manifests":[],"layers":[{entry}]}}"#),
                "ambiguous",
            ),
            (
                format!(r#"{{"manifests":[],"blobs":[{entry}]}}"#),
                "ambiguous",
            ),
            (
                format!(r#"{{"mediaType":"{index}","layers":[]}}"#),
                "ambiguous",
            ),
            (r#"{"layers":[],"layers":[]}"#.to_owned(), "twice"),
            (r#"{"fsLayers":[]}"#.to_owned(), "neither"),
            ("[]".to_owned(), "not a valid manifest"),
            (entry.replace(digest.hex(), "x"), "neither"),
            (
                format!(r#"{{"config":{}}}"#, entry.replace(digest.hex(), "x")),
                "digest",
            ),
        ] {
            let error = ArtifactManifest::parse(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(says), "{text}\n{error}");
        }
        let empty = ArtifactManifest::parse(br#"{"manifests":[]}"#).unwrap();
        assert!(empty.is_index() && empty.artifact_type().is_none());
        let blobs =
            format!(r#"{{"blobs":[{entry}],"subject":{entry},"annotations":{{"a":1,"b":"c"}}}}"#);
        let artifact = ArtifactManifest::parse(blobs.as_bytes()).unwrap();
        assert_eq!(artifact.layers.len(), 1);
        assert_eq!(artifact.subject.unwrap().digest, digest);
        assert_eq!(artifact.annotations["b"], "c");
        assert_eq!(artifact.annotations.len(), 1);
    }

    /// Spellings that occur, and some that Go takes for the same.
    fn spellings(field: &str) -> Vec<String> {
        let (first, rest) = field.split_at(1);
        let mut found = vec![
            field.to_owned(),
            field.to_uppercase(),
            field.to_lowercase(),
            format!("{}{rest}", first.to_uppercase()),
            format!("\\u{:04x}{rest}", first.as_bytes()[0]),
            field.replacen('s', "\u{17f}", 1),
            field.replacen('k', "\u{212a}", 1),
            format!("{field} "),
        ];
        found.dedup();
        found
    }

    /// Compares the config, the layers and the manifests that both readers find, unless `Manifest` refuses the document.
    fn agree(text: &[u8]) {
        use crate::manifest::Manifest;

        let shown = String::from_utf8_lossy(text);
        let Ok(image) = Manifest::parse(text, None) else {
            return;
        };
        let artifact = match (ArtifactManifest::parse(text), &image) {
            (Ok(artifact), _) => artifact,
            // An image needs no other entry of its index; a copy needs all.
            (Err(_), Manifest::Index(index)) if index.entries.len() + index.others.len() < 2 => {
                return;
            }
            (Err(error), _) => panic!("{shown}\n{error}"),
        };
        match image {
            Manifest::Image(image) => {
                assert_eq!(artifact.config.as_ref(), Some(&image.config), "{shown}");
                assert_eq!(artifact.layers, image.layers, "{shown}");
                assert_eq!(artifact.annotations, image.annotations, "{shown}");
            }
            Manifest::Index(index) => {
                let found = index.entries.iter().map(|entry| &entry.descriptor);
                let found = found.chain(index.others.iter().map(|other| &other.descriptor));
                // An index has no image in an entry without a type; a copy takes such an entry along.
                let typed = artifact.manifests.iter();
                let typed = typed.filter(|entry| !entry.media_type_name().is_empty());
                assert!(typed.eq(found), "{shown}");
                assert!(artifact.is_index(), "{shown}");
            }
        }
    }

    #[test]
    fn images_and_artifacts_are_read_alike_in_every_spelling() {
        let digest = crate::digest::Digest::of(b"");
        let of = |kind: &str| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":0,"platform":{{"os":"linux","architecture":"amd64"}},"annotations":{{"Size":"1","size":"2"}}}}"#
            )
        };
        let (config, layer) = (of("config.v1+json"), of("layer.v1.tar"));
        let image = format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[{layer},{layer}],"annotations":{{"a":"b"}}}}"#
        );
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{layer}],"annotations":{{"a":"b"}}}}"#,
            of("manifest.v1+json")
        );
        let mut count = 0;
        for text in [&image, &index] {
            for field in ARTIFACT_KEYS.known {
                for spelling in spellings(field) {
                    let (old, new) = (format!("\"{field}\":"), format!("\"{spelling}\":"));
                    agree(text.replace(&old, &new).as_bytes());
                    // In one object alone, and beside the usual spelling.
                    agree(text.replacen(&old, &new, 1).as_bytes());
                    agree(
                        text.replacen(&old, &format!("{new}null,{old}"), 1)
                            .as_bytes(),
                    );
                    count += 1;
                }
            }
            let odd = text.replace(r#""b""#, r#""\ud800""#);
            assert_eq!(
                ArtifactManifest::parse(odd.as_bytes()).unwrap().annotations["a"],
                "\u{fffd}"
            );
            agree(odd.as_bytes());
            agree(&odd.replace("ud800", "t").into_bytes());
        }
        assert!(count > 100, "{count}");
        let upper = image.replace("\"layers\"", "\"Layers\"");
        let upper = upper.replace("\"config\"", "\"CONFIG\"");
        let found = ArtifactManifest::parse(upper.as_bytes()).unwrap();
        assert!(found.config.is_some() && found.layers.len() == 2);
        let upper = index.replace("\"manifests\"", "\"Manifests\"");
        let found = ArtifactManifest::parse(upper.as_bytes()).unwrap();
        assert!(found.is_index() && found.manifests.len() == 2);
        for (text, says) in [
            (format!(r#"{{"blobs":[],"Blobs":[{layer}]}}"#), "twice"),
            (format!(r#"{{"layers":[],"LAYERS":[{layer}]}}"#), "twice"),
        ] {
            let error = ArtifactManifest::parse(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(says), "{text}\n{error}");
        }
        let text = format!(r#"{{"Blobs":[{layer}],"Subject":{layer}}}"#);
        let found = ArtifactManifest::parse(text.replace("digest", "Digest").as_bytes()).unwrap();
        assert!(found.subject.is_some() && found.layers.len() == 1);
    }
}
