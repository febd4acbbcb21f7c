//! `hpcc-rootfs verify`.

use std::fs;

use hpcc_rootfs::{Count, Damage, Error, ErrorKind, RecordError, Store};
use ociget::printable;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::global::Global;
use crate::rebuild::RebuildArgs;
use crate::subject::{Found, Subject};
use crate::{failure, output, render, terminal};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hpcc-rootfs verify
  hpcc-rootfs verify debian:12 ./out.sqsh
  hpcc-rootfs verify --rebuild debian:12")]
pub(crate) struct Verify {
    /// Artifacts, each by digest, prefix of a digest, reference or path [default: all in the store]; a
    /// damaged one in the store is quarantined, unless it is named by its path
    #[arg(value_name = "NAME")]
    subjects: Vec<Subject>,
    #[command(flatten)]
    rebuild: RebuildArgs,
}

/// Largest number of artifacts that the last line names.
const NAMED: usize = 4;

pub(crate) fn run(global: &Global, command: &Verify) -> anyhow::Result<()> {
    let store = global.store()?;
    let subjects: Vec<_> = if command.subjects.is_empty() {
        // Includes artifacts that are not trusted, and are therefore not existing images.
        let artifacts = store.artifacts()?.into_iter();
        artifacts.map(|a| Found::Digest(a.digest)).collect()
    } else {
        let subjects = command.subjects.iter();
        // Nothing is verified if one of the names is wrong.
        let found = subjects.map(|subject| subject.existing(&store));
        found.collect::<Result<_, _>>()?
    };
    let sources = command.rebuild.sources(&store, &subjects)?;
    let (mut bad, mut unread, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    let mut all_aside = true;
    let (mut lines, mut values) = (Vec::new(), Vec::new());
    for subject in &subjects {
        let checked = check(&store, subject);
        if command.subjects.is_empty() && matches!(checked, Ok(None)) {
            // The artifact was removed since it was listed.
            continue;
        }
        let is_missing = matches!(checked, Ok(None));
        let checked = match checked {
            // Whether the artifact is damaged is not known.
            Err(error) if error.kind() == ErrorKind::Io || error.is_transient() => {
                let line = terminal::one_line(&error.clone().into());
                lines.push(format!("{subject}  cannot be read: {line}"));
                let mut value = verdict(&subject.to_string(), None, "unknown");
                value["error"] = line.into();
                values.push(value);
                unread.push((subject.to_string(), anyhow::Error::from(error)));
                continue;
            }
            checked => checked,
        };
        let is_trusted = match &checked {
            Err(Error::Artifact { source, .. }) => !matches!(**source, RecordError::Untrusted(_)),
            _ => true,
        };
        let (mut sound, mut text, mut value) = outcome(&subject.to_string(), checked);
        if let (Found::Digest(digest), false, false) = (subject, sound, is_missing) {
            let is_aside = fs::symlink_metadata(store.path_for(digest)).is_err();
            value["set_aside"] = is_aside.into();
            // The next pull replaces what is not trusted.
            all_aside &= is_aside || !is_trusted;
            text.push_str(match is_aside {
                true => "; quarantined",
                false => "; not quarantined",
            });
        }
        if sound && command.rebuild.rebuild {
            let (same, found, rebuilt) = command.rebuild.run(global, &store, &sources, subject);
            match same {
                Ok(same) => sound = same,
                Err(error) => unknown.push((subject.to_string(), error)),
            }
            text = format!("{text}, {found}");
            value["rebuilt"] = rebuilt;
        }
        if !sound {
            bad.push(subject.to_string());
        }
        lines.push(text);
        values.push(value);
    }
    render::print_folded(global, &json!(values), &lines, 2)?;
    if lines.is_empty() && !global.quiet && !global.json {
        let directory = output::path(store.directory());
        terminal::say(&format!("the store at {directory} is empty"));
    }
    if !bad.is_empty() {
        let more = bad.len().saturating_sub(NAMED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let (all, count) = (lines.len(), bad.len());
        let are = if count == 1 { "is" } else { "are" };
        bad.truncate(NAMED);
        let what = match command.rebuild.rebuild {
            true => "not intact, or rebuilt to other bytes",
            false => "not intact",
        };
        let mut message = format!(
            "{count} of {} {are} {what}: {}{more}",
            Count::of(all, "artifact"),
            bad.join(", ")
        );
        let hint = match all_aside {
            true => "pull the images of damaged artifacts again",
            false => failure::NOT_QUARANTINED,
        };
        if !all_aside {
            message.push_str(&format!("; {hint}"));
        }
        return Err(Failure {
            kind: "corrupt",
            message,
            hint: Some(hint.to_owned()),
            transient: false,
        }
        .into());
    }
    // Nothing is wrong with these artifacts as far as it is known.
    let all = Count::of(lines.len(), "artifact");
    for (verb, mut unknown) in [("read", unread), ("rebuild", unknown)] {
        // A failure that is permanent decides about the exit code.
        unknown.sort_by_key(|(_, error)| failure::exit_code(error) == failure::TRANSIENT);
        let count = unknown.len();
        if let Some((subject, error)) = unknown.into_iter().next() {
            let what = format!("cannot {verb} {count} of {all}, such as {subject}");
            return Err(error.context(what));
        }
    }
    Ok(())
}

/// Verifies a subject. A digest names an artifact in the store, which is quarantined if it is damaged; anything else is
/// a path, whose file stays.
fn check(store: &Store, subject: &Found) -> Result<Option<Vec<Damage>>, Error> {
    match subject {
        Found::Digest(digest) => store.verify(digest),
        Found::File(path) => hpcc_rootfs::verify_file(path).map(Some),
    }
}

/// Makes the JSON of an artifact. Whether it is sound is null if it is not known.
fn verdict(subject: &str, sound: Option<bool>, state: &str) -> Value {
    json!({ "subject": subject, "sound": sound, "state": state })
}

fn outcome(subject: &str, checked: Result<Option<Vec<Damage>>, Error>) -> (bool, String, Value) {
    match checked {
        Ok(Some(damage)) if damage.is_empty() => (
            true,
            format!("{subject}  intact"),
            verdict(subject, Some(true), "intact"),
        ),
        Ok(Some(damage)) => {
            let lines: Vec<_> = damage.iter().map(ToString::to_string).collect();
            let ranges: Vec<_> = damage
                .iter()
                .map(|damage| {
                    json!({
                        "start": damage.range.start,
                        "end": damage.range.end,
                        "parts": damage.parts,
                        "files": damage.files.paths.iter()
                            .map(|path| printable::name(path))
                            .collect::<Vec<_>>(),
                        "files_total": damage.files.total,
                        "files_complete": damage.files.complete,
                    })
                })
                .collect();
            let mut value = verdict(subject, Some(false), "damaged");
            value["damage"] = ranges.into();
            let text = format!("{subject}  damaged in {}", lines.join("; "));
            (false, text, value)
        }
        Ok(None) => {
            let mut value = verdict(subject, Some(false), "missing");
            value["error"] = "not in the store".into();
            (false, format!("{subject}  not in the store"), value)
        }
        Err(error) => {
            let line = terminal::one_line(&error.into());
            let text = format!("{subject}  {line}");
            let mut value = verdict(subject, Some(false), "unusable");
            value["error"] = line.into();
            (false, text, value)
        }
    }
}
