//! `hpcc-rootfs verify --rebuild`.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use hpcc_rootfs::{Agents, Injection, Options, Rebuilt, Store, read_record};
use ociget::{Digest, OneLogin, Request, SourceSpec};
use serde_json::{Value, json};

use crate::failure::UsageError;
use crate::global::Global;
use crate::injection;
use crate::limits::LimitArgs;
use crate::network::NetworkArgs;
use crate::quantity::whole;
use crate::spool::SpoolArgs;
use crate::subject::Found;
use crate::{terminal, work};

#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    /// Build each artifact again from its image, without reuse, and compare the two; exit 1 if one differs.
    /// Takes the platform and the image options from the artifact, and keeps nothing
    #[arg(long)]
    pub(crate) rebuild: bool,
    /// Image to rebuild one artifact from, with its digest: a source as for build [default: the reference of
    /// the last pull]
    #[arg(long, value_name = "SOURCE", requires = "rebuild")]
    from: Option<String>,
    /// Agent that the artifact contains as /.hpcc/agent
    #[arg(long, value_name = "FILE", requires = "rebuild")]
    agent: Option<PathBuf>,
    /// Additional file that the artifact contains, as for build; may be repeated
    #[arg(long, value_name = "HOST:GUEST[:MODE]", value_parser = injection::parse, requires = "rebuild")]
    inject: Vec<Injection>,
    /// Number of compression threads [default: the CPUs that this process may use]
    #[arg(long, value_name = "N", value_parser = whole::<usize>("a number of threads", 1..=4096, 4))]
    threads: Option<usize>,
    #[command(flatten)]
    spool: SpoolArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    network: NetworkArgs,
}

/// The sources of images, and the login for the registry of those that have one.
pub(crate) struct Sources {
    given: Option<String>,
    noted: HashMap<Digest, String>,
    login: Option<Arc<OneLogin>>,
}

impl RebuildArgs {
    /// Finds the images of all subjects.
    pub(crate) fn sources(&self, store: &Store, subjects: &[Found]) -> anyhow::Result<Sources> {
        if self.rebuild && self.from.is_some() && subjects.len() != 1 {
            let message = "--from names the image of one artifact; name that artifact as well";
            return Err(UsageError(message.into()).into());
        }
        let mut noted = HashMap::new();
        if self.rebuild && self.from.is_none() {
            let artifacts = store.artifacts()?.into_iter();
            noted
                .extend(artifacts.filter_map(|artifact| Some((artifact.digest, artifact.source?))));
        }
        let login = match self.rebuild {
            true => self.login(&noted, subjects)?,
            false => None,
        };
        Ok(Sources {
            given: self.from.clone(),
            noted,
            login,
        })
    }

    /// Reads the login for all images, whose sources are known before the first is rebuilt. Images that come from files
    /// need none.
    fn login(
        &self,
        noted: &HashMap<Digest, String>,
        subjects: &[Found],
    ) -> anyhow::Result<Option<Arc<OneLogin>>> {
        let of_registries = |source: &&String| {
            let request = Request::parse(source, None);
            !request.is_ok_and(|request| !matches!(request.spec(), SourceSpec::Registry(_)))
        };
        let own = subjects.iter().filter_map(|subject| match subject {
            Found::Digest(digest) => noted.get(digest),
            Found::File(path) => noted.get(&read_record(path).ok()?.key.identity),
        });
        let sources: Vec<_> = match &self.from {
            Some(from) => vec![from.clone()],
            None => own.filter(of_registries).cloned().collect(),
        };
        self.network.login(&sources)
    }

    /// Builds an artifact again and reports the result: whether the bytes are the same, or why that is not known.
    pub(crate) fn run(
        &self,
        global: &Global,
        store: &Store,
        sources: &Sources,
        subject: &Found,
    ) -> (anyhow::Result<bool>, String, Value) {
        let rebuilt = self.rebuild(global, store, sources, subject);
        match rebuilt {
            Ok((from, rebuilt)) if rebuilt.is_same() => (
                Ok(true),
                "rebuilt to the same bytes".to_owned(),
                json!({ "same": true, "from": from, "root": rebuilt.rebuilt.root() }),
            ),
            Ok((from, rebuilt)) => {
                let (existing, new) = (rebuilt.existing, rebuilt.rebuilt);
                let text = format!(
                    "differs from what {from} is built to: its root is {} ({} bytes), the other is {} ({} bytes)",
                    existing.root(),
                    existing.image_length,
                    new.root(),
                    new.image_length
                );
                let value = json!({ "same": false, "from": from, "root": new.root() });
                (Ok(false), text, value)
            }
            Err(error) => {
                let line = terminal::one_line(&error);
                let value = json!({ "same": null, "error": line });
                (Err(error), format!("not rebuilt: {line}"), value)
            }
        }
    }

    fn rebuild(
        &self,
        global: &Global,
        store: &Store,
        sources: &Sources,
        subject: &Found,
    ) -> anyhow::Result<(String, Rebuilt)> {
        let path = match subject {
            Found::Digest(digest) => store.path_for(digest),
            Found::File(path) => path.clone(),
        };
        let record = read_record(&path)?;
        let noted = sources.noted.get(&record.key.identity);
        if let (None, Some(noted)) = (&sources.given, noted) {
            check_lasts(noted)?;
        }
        let from = sources.given.as_ref().or(noted).ok_or_else(|| {
            anyhow::anyhow!(
                "no note says which image it was pulled from; name the image with --from"
            )
        })?;
        let mut options = Options::default();
        if let Some(agent) = &self.agent {
            let platform: ociget::Platform = record.key.platform.parse()?;
            options.agents = Agents::default().with(platform.architecture(), agent);
        }
        options.injections.clone_from(&self.inject);
        if let Some(threads) = self.threads.and_then(NonZeroUsize::new) {
            options.threads = threads;
        }
        self.spool.apply(&mut options.spool);
        self.limits.apply(&mut options.limits);
        self.network.apply_without_login(&mut options)?;
        if let Some(login) = &sources.login {
            options.network.credentials = login.clone();
        }
        options.progress = work::progress(global);
        options.network.progress = work::network(global);
        let rebuilt = work::block_on(hpcc_rootfs::rebuild(&path, from, &options))?;
        let shown = ociget::printable::redacted(from).to_string();
        Ok((shown, rebuilt))
    }
}

/// Refuses a noted source that is not the image's any more: standard input, and a path that was relative to another
/// directory.
fn check_lasts(noted: &str) -> anyhow::Result<()> {
    let (path, is_archive) = match noted.parse() {
        Ok(SourceSpec::Layout { dir, .. } | SourceSpec::Directory { dir }) => (dir, false),
        Ok(
            SourceSpec::OciArchive { file, .. }
            | SourceSpec::DockerArchive { file, .. }
            | SourceSpec::Tar { file },
        ) => (file, true),
        _ => return Ok(()),
    };
    anyhow::ensure!(
        !is_archive || path != Path::new("-"),
        "it was pulled from standard input, so no note says which image it is; name the image with --from"
    );
    anyhow::ensure!(
        path.is_absolute(),
        "its note says {}, and not from which directory; name the image with --from",
        ociget::printable::text(noted)
    );
    Ok(())
}
