//! Which kernel modules have to be loaded, and in what order.
//!
//! `modules.dep` is written when a kernel is installed, and this one is not. Each module says itself what it needs: its
//! `.modinfo` section holds strings that end in a zero byte, and one of them is `depends=virtio,virtio_ring`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A module as the kernel takes it.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
}

/// Returns the modules of these names and all that they need, each after what it needs itself.
///
/// A name that is no module is built into the kernel, or the guest will say what it misses.
pub(crate) fn in_order(directory: &Path, names: &[&str]) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    find(directory, &mut files)?;
    let mut ordered = Vec::new();
    for name in names {
        load(name, &files, &mut Vec::new(), &mut ordered)?;
    }
    if ordered.is_empty() {
        bail!(
            "{} holds none of the modules {}",
            directory.display(),
            names.join(", ")
        );
    }
    Ok(ordered)
}

fn find(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            find(&entry.path(), files)?;
        } else if let Some((name, "ko" | "ko.xz")) =
            name.to_str().and_then(|name| name.split_once('.'))
        {
            // The kernel itself takes both for one (`KBUILD_MODNAME`).
            files.insert(name.replace('-', "_"), entry.path());
        }
    }
    Ok(())
}

fn load(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    waiting: &mut Vec<String>,
    ordered: &mut Vec<Module>,
) -> Result<()> {
    let Some(path) = files.get(name) else {
        return Ok(());
    };
    if ordered.iter().any(|module| module.name == name) {
        return Ok(());
    }
    if waiting.iter().any(|other| other == name) {
        bail!(
            "the kernel modules {} need each other in a circle",
            waiting.join(", ")
        );
    }
    let content = read(path)?;
    waiting.push(name.to_owned());
    for needed in depends(&content)
        .with_context(|| format!("{} does not say what it needs", path.display()))?
    {
        load(&needed.replace('-', "_"), files, waiting, ordered)?;
    }
    waiting.pop();
    ordered.push(Module {
        name: name.to_owned(),
        content,
    });
    Ok(())
}

/// Debian compresses modules since version 13.
fn read(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|extension| extension == "xz") {
        let output = Command::new("xz")
            .args(["--decompress", "--stdout"])
            .arg(path)
            .output();
        let output =
            output.context("cannot run xz (`cargo xtask packages` installs what is missing)")?;
        if !output.status.success() {
            bail!(
                "cannot decompress {}: {}",
                path.display(),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        return Ok(output.stdout);
    }
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn depends(module: &[u8]) -> Option<Vec<String>> {
    let value = module
        .split(|&byte| byte == 0)
        .find_map(|string| string.strip_prefix(b"depends="))?;
    let names = std::str::from_utf8(value).ok()?;
    Some(
        names
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_need() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("drivers")).unwrap();
        for (name, needs) in [
            ("virtio_blk", "virtio,virtio_ring"),
            ("virtio", "virtio_ring"),
            ("virtio-ring", ""),
        ] {
            let content = format!("\x7fELF\0license=GPL\0depends={needs}\0name=x\0");
            fs::write(dir.path().join(format!("drivers/{name}.ko")), content).unwrap();
        }
        let names = |wanted: &[&str]| -> Vec<String> {
            in_order(dir.path(), wanted)
                .unwrap()
                .into_iter()
                .map(|module| module.name)
                .collect()
        };
        assert_eq!(
            names(&["virtio_blk", "built_in", "virtio"]),
            ["virtio_ring", "virtio", "virtio_blk"]
        );
        assert!(in_order(dir.path(), &["built_in"]).is_err());

        fs::write(dir.path().join("virtio-ring.ko"), "depends=virtio_blk\0").unwrap();
        fs::remove_file(dir.path().join("drivers/virtio-ring.ko")).unwrap();
        let error = in_order(dir.path(), &["virtio"]).unwrap_err();
        assert!(error.to_string().contains("circle"), "{error}");
    }
}
