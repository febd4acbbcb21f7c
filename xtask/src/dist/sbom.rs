//! The software bill of materials: the crates that are linked into the program, in the form of CycloneDX 1.5.
//!
//! It is made from what cargo says of the lock file. It has no time and no serial number, so the same lock file gives the
//! same bytes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{command, workspace};

/// Returns the document for the program on this machine's platform.
pub(super) fn of_program() -> Result<String> {
    let host = workspace::host()?;
    let mut cargo = workspace::cargo();
    cargo.args([
        "metadata",
        "--format-version",
        "1",
        "--filter-platform",
        &host,
    ]);
    let metadata = serde_json::from_str(&command::output(&mut cargo)?)?;
    let mut text = serde_json::to_string_pretty(&document(&metadata, "hpcc-rootfs")?)?;
    text.push('\n');
    Ok(text)
}

/// A crate, by what cargo calls it.
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    license: Option<&'a str>,
    is_from_registry: bool,
    /// Those that it needs to be built and to run.
    needs: Vec<&'a str>,
}

fn document(metadata: &Value, program: &str) -> Result<Value> {
    let packages = packages(metadata)?;
    let (root, _) = packages
        .iter()
        .find(|(_, package)| package.name == program)
        .with_context(|| format!("cargo names no package {program}"))?;
    let mut found = BTreeSet::new();
    let mut open = vec![*root];
    while let Some(id) = open.pop() {
        if found.insert(id) {
            let package = packages
                .get(id)
                .with_context(|| format!("no package {id}"))?;
            open.extend(&package.needs);
        }
    }
    ensure!(found.len() > 1, "{program} depends on nothing");
    let component = |id: &str, kind: &str| -> Option<Value> {
        let package = packages.get(id)?;
        let mut component = json!({
            "type": kind,
            "bom-ref": reference(package),
            "name": package.name,
            "version": package.version,
        });
        if let Some(license) = package.license {
            // Old manifests have a slash for "or".
            let expression = license.replace('/', " OR ").replace("  ", " ");
            component["licenses"] = json!([{ "expression": expression }]);
        }
        if package.is_from_registry {
            component["purl"] = json!(reference(package));
        }
        Some(component)
    };
    let dependencies = found.iter().filter_map(|id| {
        let package = packages.get(id)?;
        let needs: BTreeSet<_> = package
            .needs
            .iter()
            .filter_map(|id| packages.get(id))
            .map(reference)
            .collect();
        Some(json!({ "ref": reference(package), "dependsOn": needs }))
    });
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(root, "application") },
        "components": found
            .iter()
            .filter(|id| *id != root)
            .filter_map(|id| component(id, "library"))
            .collect::<Vec<_>>(),
        "dependencies": dependencies.collect::<Vec<_>>(),
    }))
}

/// Returns the name of a crate for programs that read SBOMs.
fn reference(package: &Package<'_>) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

/// Every package by its id.
fn packages(metadata: &Value) -> Result<BTreeMap<&str, Package<'_>>> {
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let id = node["id"].as_str().context("a node without an id")?;
        let all = needs.entry(id.to_owned()).or_default();
        for dependency in list(&node["deps"]) {
            let kinds = list(&dependency["dep_kinds"]);
            if kinds.iter().any(|kind| kind["kind"] != "dev") {
                all.extend(dependency["pkg"].as_str().map(str::to_owned));
            }
        }
    }
    let packages = metadata["packages"].as_array().context("no packages")?;
    let ids: BTreeSet<&str> = packages
        .iter()
        .filter_map(|package| package["id"].as_str())
        .collect();
    packages
        .iter()
        .map(|package| {
            let text = |field: &str| package[field].as_str();
            let id = text("id").context("a package without an id")?;
            let needed = needs.get(id).into_iter().flatten();
            let package = Package {
                name: text("name").context("a package without a name")?,
                version: text("version").context("a package without a version")?,
                license: text("license"),
                is_from_registry: text("source")
                    .is_some_and(|source| source.starts_with("registry+")),
                needs: needed
                    .filter_map(|id| ids.get(id.as_str()).copied())
                    .collect(),
            };
            Ok((id, package))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, source: Option<&str>) -> Value {
        json!({ "id": format!("id of {name}"), "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0", "source": source })
    }

    fn node(name: &str, needs: &[(&str, Value)]) -> Value {
        let deps: Vec<_> = needs
            .iter()
            .map(|(name, kind)| json!({ "pkg": format!("id of {name}"), "dep_kinds": [{ "kind": kind }] }))
            .collect();
        json!({ "id": format!("id of {name}"), "deps": deps })
    }

    #[test]
    fn sbom_lists_what_is_linked_and_nothing_of_the_tests() {
        let registry = Some("registry+https://example.com");
        let metadata = json!({
            "packages": [
                package("program", None), package("a", registry), package("b", registry),
                package("tests", registry), package("other", registry),
            ],
            "resolve": { "nodes": [
                node("program", &[("a", Value::Null), ("tests", json!("dev"))]),
                node("a", &[("b", json!("build"))]),
                node("b", &[]),
                node("tests", &[("other", Value::Null)]),
                node("other", &[]),
            ] },
        });
        let document = document(&metadata, "program").unwrap();
        let names: Vec<_> = document["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].clone())
            .collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(document["components"][0]["purl"], "pkg:cargo/a@1.0.0");
        assert_eq!(
            document["components"][0]["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
        assert_eq!(document["metadata"]["component"]["name"], "program");
        assert_eq!(
            document["dependencies"][2]["dependsOn"],
            json!(["pkg:cargo/a@1.0.0"])
        );
    }
}
