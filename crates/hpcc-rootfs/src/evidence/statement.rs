//! The statement: in-toto Statement v1 with the predicate SLSA Provenance v1.

use std::fs::File;
use std::io;

use ociget::Digest;
use serde_json::{Value, json};

use super::description::Description;
use super::error::EvidenceError;
use super::reading::Reading;
use crate::artifact::{self, Key, Record, RecordError, Verity};

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// Package URLs, because the fields must be URIs and the program has no web address.
// `docs/evidence.md` describes the parameters and dependencies of a statement.
const BUILDER: &str = "pkg:cargo/hpcc-rootfs";
const BUILD_TYPE: &str = "pkg:cargo/hpcc-rootfs#artifact/v1";

/// Verifies an artifact in full and returns a statement about it as one line of JSON, whose members are sorted.
///
/// The subject is the file with its SHA-256, of the bytes that were verified. The statement is a function of the artifact
/// alone. The position of the handle stays where it is.
///
/// # Errors
/// Returns [`EvidenceError`] if the artifact is damaged or cannot be read.
pub fn attest(artifact: &File) -> Result<String, EvidenceError> {
    artifact::drop_cached(artifact);
    let record = Record::read(artifact)?;
    let reading = Reading::new(artifact);
    let description = Description::read(&reading);
    let sha256 = match reading.verify(artifact, &record) {
        Ok(Some(sha256)) => sha256,
        Ok(None) => {
            let error = io::Error::other("the artifact changed while it was read");
            return Err(damage(artifact, &record, RecordError::Io(error)));
        }
        Err(error) => return Err(damage(artifact, &record, error)),
    };
    let description = description?;
    if !description.is_of(&record.key.identity, &record.key.manifest) {
        return Err(EvidenceError::Description("describes another image"));
    }
    let statement = statement(&record, &sha256, &description)?;
    Ok(statement.to_string())
}

/// Reads an artifact that does not match its record again and returns where it is damaged, or `error` if it matches now.
fn damage(artifact: &File, record: &Record, error: RecordError) -> EvidenceError {
    artifact::drop_cached(artifact);
    let error = match artifact::verify(artifact, record) {
        Ok(damage) if damage.is_empty() => error,
        Ok(damage) => {
            let ranges: Vec<_> = damage.iter().map(ToString::to_string).collect();
            return EvidenceError::Damaged(ranges.join("; "));
        }
        Err(error) => error,
    };
    match error {
        RecordError::Io(error) => EvidenceError::Io(error),
        error => EvidenceError::Record(error),
    }
}

fn statement(
    record: &Record,
    sha256: &str,
    description: &Description,
) -> Result<Value, EvidenceError> {
    let key = &record.key;
    let identity = &key.identity;
    let mut annotations = json!({ "blake3-root": record.root() });
    if let Some(verity) = &record.verity {
        annotations["dm-verity-root"] = verity.root().into();
    }
    let byproducts: Vec<_> = record.verity.iter().map(byproduct).collect();
    Ok(json!({
        "_type": STATEMENT,
        "subject": [{
            "name": format!("{}-{}.sqsh", identity.algorithm().as_str(), identity.hex()),
            "digest": { "sha256": sha256 },
            "annotations": annotations,
        }],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": parameters(key)?,
                "internalParameters": { "format": key.format },
                "resolvedDependencies": dependencies(key, description)?,
            },
            "runDetails": {
                "builder": {
                    "id": BUILDER,
                    "version": { "format": key.format.to_string() },
                },
                "byproducts": byproducts,
            },
        },
    }))
}

/// Returns the options in a key by their names there: the user's choices, apart from files.
fn parameters(key: &Key) -> Result<Value, EvidenceError> {
    let mut parameters = serde_json::to_value(key).map_err(io::Error::other)?;
    if let Some(members) = parameters.as_object_mut() {
        for elsewhere in ["format", "identity", "manifest", "agent", "injected"] {
            members.remove(elsewhere);
        }
        members.insert("image".to_owned(), key.identity.to_string().into());
    }
    Ok(parameters)
}

/// Returns the inputs of the artifact.
fn dependencies(key: &Key, description: &Description) -> Result<Vec<Value>, EvidenceError> {
    let mut dependencies = vec![
        descriptor("image", &key.identity),
        descriptor("manifest", &key.manifest),
    ];
    if let Some(config) = &description.config {
        dependencies.push(descriptor("config", config));
    }
    for (number, layer) in description.layers()?.iter().enumerate() {
        let number = number + 1;
        let mut descriptor = descriptor(&format!("layer {number}"), &layer.blob);
        descriptor["annotations"] = json!({ "diffId": layer.diff_id.to_string() });
        dependencies.push(descriptor);
    }
    if let Some(agent) = &key.agent {
        dependencies.push(descriptor("/.hpcc/agent", agent));
    }
    for file in &key.injected {
        let mut descriptor = descriptor(&format!("/.hpcc/{}", file.path), &file.digest);
        descriptor["annotations"] = json!({ "mode": format!("{:o}", file.mode) });
        dependencies.push(descriptor);
    }
    Ok(dependencies)
}

/// Returns the hash tree, for tools that replace the subject by one of their own.
fn byproduct(verity: &Verity) -> Value {
    json!({
        "name": "dm-verity root",
        "digest": { "sha256": verity.root() },
        "annotations": {
            "salt": verity.salt(),
            "uuid": verity.uuid(),
            "dataBlocks": verity.data_blocks,
            "hashOffset": verity.hash_offset,
        },
    })
}

fn descriptor(name: &str, digest: &Digest) -> Value {
    json!({ "name": name, "digest": { digest.algorithm().as_str(): digest.hex() } })
}

#[cfg(test)]
mod tests;
