//! `hpcc-rootfs verify --rebuild`.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use hpcc_rootfs::{Agents, Injection, Options, Rebuilt, Store, read_record};
use ociget::Digest;
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
    /// Build each artifact again from its image, without reuse, and compare; nothing is kept, and exit 1
    /// if one differs. Platform and image options are those of the artifact
    #[arg(long)]
    pub(crate) rebuild: bool,
    /// Image to rebuild one artifact from, with its digest: a source as for build [default: the
    /// reference that the store noted at the last pull]
    #[arg(long, value_name = "SOURCE", requires = "rebuild")]
    from: Option<String>,
    /// Program that the artifact has as /.hpcc/agent
    #[arg(long, value_name = "FILE", requires = "rebuild")]
    agent: Option<PathBuf>,
    /// Further file that the artifact has, as for build; may be repeated
    #[arg(long, value_name = "HOST:GUEST[:MODE]", value_parser = injection::parse, requires = "rebuild")]
    inject: Vec<Injection>,
    /// Threads that compress [default: the CPUs this process may use]
    #[arg(long, value_name = "N", value_parser = whole::<usize>("a number of threads", 1..=65_536, 4))]
    threads: Option<usize>,
    #[command(flatten)]
    spool: SpoolArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    network: NetworkArgs,
}

/// The sources of images.
pub(crate) struct Sources {
    given: Option<String>,
    noted: HashMap<Digest, String>,
}

impl RebuildArgs {
    /// Finds the images of all subjects.
    pub(crate) fn sources(&self, store: &Store, subjects: &[Found]) -> anyhow::Result<Sources> {
        if self.from.is_some() && subjects.len() != 1 {
            let message = "--from names the image of one artifact; name that artifact as well";
            return Err(UsageError(message.into()).into());
        }
        let mut noted = HashMap::new();
        if self.rebuild && self.from.is_none() {
            let artifacts = store.artifacts()?.into_iter();
            noted
                .extend(artifacts.filter_map(|artifact| Some((artifact.digest, artifact.source?))));
        }
        Ok(Sources {
            given: self.from.clone(),
            noted,
        })
    }

    /// Builds an artifact again and reports the result.
    pub(crate) fn run(
        &self,
        global: &Global,
        store: &Store,
        sources: &Sources,
        subject: &Found,
    ) -> (bool, String, Value) {
        let rebuilt = self.rebuild(global, store, sources, subject);
        match rebuilt {
            Ok((from, rebuilt)) if rebuilt.is_same() => (
                true,
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
                (false, text, value)
            }
            Err(error) => {
                let line = terminal::one_line(&error);
                let value = json!({ "same": false, "error": line });
                (false, format!("not rebuilt: {line}"), value)
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
        self.network
            .apply(&mut options, std::slice::from_ref(from))?;
        options.progress = work::progress(global);
        options.network.progress = work::network(global);
        let rebuilt = work::block_on(hpcc_rootfs::rebuild(&path, from, &options))?;
        let shown = ociget::printable::redacted(from).to_string();
        Ok((shown, rebuilt))
    }
}
