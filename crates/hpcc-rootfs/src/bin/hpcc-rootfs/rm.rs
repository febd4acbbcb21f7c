//! `hpcc-rootfs rm`, and `untag`, its name in scripts.

use std::os::unix::fs::MetadataExt as _;

use anyhow::bail;
use hpcc_rootfs::Count;
use ociget::Digest;
use serde_json::json;

use crate::global::Global;
use crate::subject::Subject;
use crate::{quantity, render, terminal};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hpcc-rootfs rm debian:12
  hpcc-rootfs rm 3f1e5a 9c0d77 sha256:44abc1")]
pub(crate) struct Rm {
    /// Artifacts to remove, each by digest, prefix of a digest, reference or path
    #[arg(value_name = "NAME", required = true)]
    subjects: Vec<Subject>,
}

pub(crate) fn run(global: &Global, command: &Rm) -> anyhow::Result<()> {
    let store = global.store()?;
    // Nothing is removed if one of the names is wrong.
    let mut digests: Vec<Digest> = Vec::new();
    for subject in &command.subjects {
        let digest = subject.existing_stored(&store)?;
        if !digests.contains(&digest) {
            digests.push(digest);
        }
    }
    let (mut lines, mut values, mut failed) = (Vec::new(), Vec::new(), None);
    let mut count = 0;
    let files = digests
        .iter()
        .map(|digest| std::fs::symlink_metadata(store.path_for(digest)));
    let files: Vec<_> = files.collect();
    let outcomes = store.untag_images(&digests);
    for ((digest, file), outcome) in digests.iter().zip(files).zip(outcomes) {
        // Without its size, the artifact is removed all the same.
        let (size, links) = match file {
            Ok(file) => (format!(" ({})", quantity::bytes(file.len())), file.nlink()),
            Err(_) => (String::new(), 1),
        };
        let (removed, error) = match outcome {
            Ok(removed) => (removed, None),
            Err(error) => (false, Some(anyhow::Error::from(error))),
        };
        let mut value = json!({ "digest": digest.to_string(), "removed": removed });
        if let (Some(error), Some(value)) = (&error, value.as_object_mut()) {
            value.insert("error".to_owned(), terminal::one_line(error).into());
        }
        values.push(value);
        match (&error, removed) {
            (None, true) => {
                let linked = match links {
                    0 | 1 => "",
                    _ => ", whose file another link keeps",
                };
                lines.push(format!("removed {digest}{size}{linked}"));
            }
            // Removed by another process meanwhile: it is gone, as the caller wants it.
            (None, false) if global.json => {}
            (None, false) => terminal::say(&format!("{digest} is not in the store any more")),
            (Some(error), _) => {
                terminal::warn_of_failure(&format!("kept {digest}: {}", terminal::one_line(error)))
            }
        }
        if let Some(error) = error {
            count += 1;
            failed.get_or_insert(error);
        }
    }
    render::print(global, &json!(values), &lines)?;
    match failed {
        None => Ok(()),
        Some(error) if digests.len() == 1 => Err(error),
        Some(error) => {
            let all = Count::of(digests.len(), "artifact");
            bail!(error.context(format!("{count} of {all} could not be removed")))
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  hpcc-rootfs untag debian:12")]
pub(crate) struct Untag {
    /// The artifact, by digest, prefix of a digest, reference or path
    #[arg(value_name = "NAME")]
    subject: Subject,
}

pub(crate) fn untag(global: &Global, command: &Untag) -> anyhow::Result<()> {
    let store = global.store()?;
    let digest = command.subject.stored(&store)?;
    let removed = store.untag_image(&digest)?;
    render::untagged(global, &digest, removed)
}
