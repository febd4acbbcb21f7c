//! The host files of an image: the agent and the injected files.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ociget::Digest;
use serde::{Deserialize, Serialize};

use super::agent;
use super::host_file::{FileMemory, HashedFile, OpenFile};
use crate::artifact::{Digests, Injected};
use crate::error::Error;
use crate::options::{self, Options};
use crate::staging::Stop;

/// The files, open.
#[derive(Debug)]
pub(crate) struct Supplies {
    agent: Option<OpenFile>,
    /// Sorted by their paths.
    injected: Vec<Supply<OpenFile>>,
}

/// An injected file.
#[derive(Debug)]
struct Supply<F> {
    place: String,
    mode: u16,
    file: F,
}

/// How the files are recognized without being read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    #[serde(default)]
    agent: Option<FileMemory>,
    /// By their paths.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    injected: BTreeMap<String, FileMemory>,
}

impl Supplies {
    /// Opens the files that the options name. Without `agent_needed`, the agent may be missing. Hashing them ends when
    /// `stop` is requested.
    ///
    /// # Errors
    /// Returns [`Error::NoAgent`], [`Error::Agent`], [`Error::Injection`] and [`Error::Inject`].
    pub(crate) fn open(options: &Options, agent_needed: bool, stop: &Stop) -> Result<Self, Error> {
        let architecture = options.platform.architecture();
        let agent = match options.agents.path(architecture) {
            _ if options.no_agent => None,
            None if !agent_needed => None,
            _ => Some(agent::open(&options.agents, architecture, stop)?),
        };
        let mut injected = Vec::new();
        for (place, injection) in options::places(&options.injections)? {
            injected.push(Supply {
                place,
                mode: injection.mode,
                file: OpenFile::open(&injection.host, stop)
                    .map_err(|source| failed(&injection.host, source))?,
            });
        }
        Ok(Self { agent, injected })
    }

    /// Returns the digests: the remembered one of a file that is still the same, otherwise that of the contents.
    ///
    /// # Errors
    /// Returns [`Error::Agent`] and [`Error::Inject`].
    pub(crate) fn digests(&self, memory: &Memory) -> Result<Digests, Error> {
        let agent = match &self.agent {
            Some(file) => {
                let digest = recall_or_hash(file, memory.agent.as_ref());
                Some(digest.map_err(|source| agent::failed(file.path(), source))?)
            }
            None => None,
        };
        let mut injected = Vec::with_capacity(self.injected.len());
        for Supply { place, mode, file } in &self.injected {
            let digest = recall_or_hash(file, memory.injected.get(place));
            injected.push(Injected {
                path: place.clone(),
                digest: digest.map_err(|source| failed(file.path(), source))?,
                mode: *mode,
            });
        }
        Ok(Digests { agent, injected })
    }

    /// Takes over the remembered digests of files that are still the same.
    pub(crate) fn adopt(&self, memory: &Memory) {
        if let (Some(file), Some(memory)) = (&self.agent, &memory.agent) {
            file.adopt(memory);
        }
        for Supply { place, file, .. } in &self.injected {
            if let Some(memory) = memory.injected.get(place) {
                file.adopt(memory);
            }
        }
    }

    /// Returns what to remember: of files that were hashed, how to recognize them, and of the others, what was
    /// remembered before.
    pub(crate) fn memory(&self, before: &Memory) -> Memory {
        let agent = self.agent.as_ref().and_then(OpenFile::memory);
        let injected = self
            .injected
            .iter()
            .filter_map(|Supply { place, file, .. }| {
                let memory = file
                    .memory()
                    .or_else(|| before.injected.get(place).cloned());
                Some((place.clone(), memory?))
            });
        Memory {
            agent: agent.or_else(|| before.agent.clone()),
            injected: injected.collect(),
        }
    }

    /// Hashes the files, so that they can be added to an image.
    ///
    /// # Errors
    /// Returns [`Error::Agent`] and [`Error::Inject`].
    pub(crate) fn hashed(self) -> Result<HashedSupplies, Error> {
        let agent = match self.agent {
            Some(file) => {
                let path = file.path().to_owned();
                Some(
                    file.hashed()
                        .map_err(|source| agent::failed(&path, source))?,
                )
            }
            None => None,
        };
        let mut injected = Vec::with_capacity(self.injected.len());
        for Supply { place, mode, file } in self.injected {
            let path = file.path().to_owned();
            let file = file.hashed().map_err(|source| failed(&path, source))?;
            injected.push(Supply { place, mode, file });
        }
        Ok(HashedSupplies { agent, injected })
    }
}

/// The files, open and hashed.
#[derive(Debug)]
pub(crate) struct HashedSupplies {
    agent: Option<HashedFile>,
    injected: Vec<Supply<HashedFile>>,
}

impl HashedSupplies {
    /// Returns the part of the key that they determine.
    pub(crate) fn digests(&self) -> Digests {
        let injected = self.injected.iter().map(|supply| Injected {
            path: supply.place.clone(),
            digest: supply.file.digest().clone(),
            mode: supply.mode,
        });
        Digests {
            agent: self.agent.as_ref().map(|file| file.digest().clone()),
            injected: injected.collect(),
        }
    }

    /// Returns the agent.
    pub(crate) fn agent(&mut self) -> Option<&mut HashedFile> {
        self.agent.as_mut()
    }

    /// Returns the paths below `/.hpcc`, sorted, each with mode and file.
    pub(crate) fn injected(&mut self) -> impl Iterator<Item = (&str, u16, &mut HashedFile)> {
        self.injected
            .iter_mut()
            .map(|supply| (supply.place.as_str(), supply.mode, &mut supply.file))
    }
}

fn recall_or_hash(file: &OpenFile, memory: Option<&FileMemory>) -> io::Result<Digest> {
    match memory.and_then(|memory| file.recall(memory)) {
        Some(digest) => Ok(digest),
        None => file.digest().cloned(),
    }
}

/// Makes the error for the file of an injection.
pub(crate) fn failed(path: &Path, source: io::Error) -> Error {
    Error::Inject {
        path: path.to_owned(),
        source: Arc::new(source),
    }
}
