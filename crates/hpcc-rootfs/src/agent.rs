//! The guest agents: the programs that become PID 1, one for each architecture.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use ociget::{Algorithm, Digest, Verifier};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Agent files by architecture, in the names of OCI (`amd64`, `arm64`).
///
/// ```
/// use hpcc_rootfs::Agents;
///
/// let agents = Agents::default()
///     .with("amd64", "agent-x86_64")
///     .with("arm64", "agent-aarch64");
/// assert!(agents.path("riscv64").is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agents(BTreeMap<String, PathBuf>);

impl Agents {
    /// The same with an agent for one more architecture; a second file replaces the first.
    #[must_use]
    pub fn with(mut self, architecture: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.0.insert(architecture.into(), path.into());
        self
    }

    /// The file for an architecture.
    #[must_use]
    pub fn path(&self, architecture: &str) -> Option<&Path> {
        self.0.get(architecture).map(PathBuf::as_path)
    }

    /// The architectures that have one.
    pub fn architectures(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Opens the agent for an architecture. It is not hashed yet.
    ///
    /// # Errors
    /// [`Error::NoAgent`] if none was configured, [`Error::Agent`] if the file can't be read or is
    /// an ELF program for another machine: a VM would only find that out when it panics at boot.
    pub(crate) fn open(&self, architecture: &str) -> Result<OpenAgent, Error> {
        let path = self.path(architecture).ok_or_else(|| Error::NoAgent {
            architecture: architecture.to_owned(),
            available: self.architectures().map(str::to_owned).collect(),
        })?;
        OpenAgent::open(path, architecture).map_err(|source| failed(path, source))
    }
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Agent {
        path: path.to_owned(),
        source: Arc::new(source),
    }
}

/// How a file is recognized without reading it: the file itself, its length, and when it was last
/// written and last changed in any way.
///
/// Every write moves the last of them, and nothing but setting the system's clock moves it back, so
/// it can be trusted as far as the clock of the file system ticks: see [`OpenAgent::memory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sight {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Sight {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Whether the last change is at least two seconds ago, more than any file system's clock takes
    /// for a tick. A younger file may change once more without looking different.
    fn is_settled(&self, now: SystemTime) -> bool {
        let (Ok(seconds), Ok(now)) = (
            u64::try_from(self.changed.0),
            now.duration_since(SystemTime::UNIX_EPOCH),
        ) else {
            return false;
        };
        seconds + 2 < now.as_secs()
    }
}

/// An agent that was hashed once, and how to recognize it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentMemory {
    sight: Sight,
    digest: String,
}

/// One agent, open.
#[derive(Debug)]
pub(crate) struct OpenAgent {
    path: PathBuf,
    file: File,
    sight: Sight,
    digest: OnceLock<Digest>,
}

impl OpenAgent {
    fn open(path: &Path, architecture: &str) -> io::Result<Self> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut head = Vec::new();
        (&file).take(20).read_to_end(&mut head)?;
        if head.is_empty() {
            return Err(io::Error::other("it is empty"));
        }
        check_machine(&head, architecture)?;
        Ok(Self {
            path: path.to_owned(),
            sight: Sight::of(&file)?,
            file,
            digest: OnceLock::new(),
        })
    }

    /// The digest that was remembered, if this is still that file.
    pub(crate) fn recall(&self, memory: &AgentMemory) -> Option<Digest> {
        if memory.sight != self.sight {
            return None;
        }
        memory.digest.parse().ok()
    }

    /// SHA-256 of the content. It is read once.
    ///
    /// # Errors
    /// [`Error::Agent`] if it can't be read.
    pub(crate) fn digest(&self) -> Result<&Digest, Error> {
        if let Some(digest) = self.digest.get() {
            return Ok(digest);
        }
        let digest = hash(&self.file).map_err(|source| failed(&self.path, source))?;
        Ok(self.digest.get_or_init(|| digest))
    }

    /// What to remember, if it was hashed, and if a later change is sure to be seen: the file is the
    /// same before and after, and its last change is not so young that the clock of the file system
    /// could give another one the same time.
    pub(crate) fn memory(&self) -> Option<AgentMemory> {
        let digest = self.digest.get()?;
        let same = Sight::of(&self.file).is_ok_and(|now| now == self.sight);
        (same && self.sight.is_settled(SystemTime::now())).then(|| AgentMemory {
            sight: self.sight,
            digest: digest.to_string(),
        })
    }

    /// Ready to be put into an image.
    ///
    /// # Errors
    /// [`Error::Agent`] if it can't be read.
    pub(crate) fn hashed(self) -> Result<Agent, Error> {
        let digest = self.digest()?.clone();
        Ok(Agent {
            path: self.path,
            file: self.file,
            digest,
        })
    }
}

/// Reads by offset, so that nobody minds where the file's position is.
fn hash(file: &File) -> io::Result<Digest> {
    let mut hasher = Algorithm::Sha256.hasher();
    let mut buffer = vec![0; 128 * 1024];
    let mut offset = 0;
    loop {
        match file.read_at(&mut buffer, offset)? {
            0 => return Ok(hasher.finish()),
            length => {
                hasher.update(buffer.get(..length).unwrap_or_default());
                offset += length as u64;
            }
        }
    }
}

/// One agent, open and hashed.
#[derive(Debug)]
pub(crate) struct Agent {
    path: PathBuf,
    file: File,
    digest: Digest,
}

impl Agent {
    /// SHA-256 of the file as it was when it was opened.
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The content from its first byte on. Its end is an error unless it is still what was hashed:
    /// the digest is part of the artifact's key, and a key must not lie.
    pub(crate) fn body(&mut self) -> io::Result<AgentBody<'_>> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(AgentBody {
            file: &self.file,
            verifier: Some(Verifier::new(self.digest.clone())),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The content of an agent, hashed a second time as it is read.
#[derive(Debug)]
pub(crate) struct AgentBody<'a> {
    file: &'a File,
    /// Taken at the end of the file.
    verifier: Option<Verifier<Digest>>,
}

impl Read for AgentBody<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        let read = buffer.get(..length).unwrap_or_default();
        match &mut self.verifier {
            Some(verifier) if length > 0 => verifier.update(read),
            verifier => {
                if verifier.take().is_some_and(|v| v.finish().is_err()) {
                    return Err(io::Error::other(
                        "it changed while the image was built; pull again",
                    ));
                }
            }
        }
        Ok(length)
    }
}

/// Refuses an ELF program whose `e_machine` is another architecture's. What is no ELF file passes:
/// whoever ships a script as PID 1 knows why.
fn check_machine(head: &[u8], architecture: &str) -> io::Result<()> {
    const EM_386: u16 = 3;
    const EM_X86_64: u16 = 62;
    const EM_AARCH64: u16 = 183;
    let ([0x7F, b'E', b'L', b'F', ..], Some(&[low, high])) = (head, head.get(18..20)) else {
        return Ok(());
    };
    // Both architectures are little-endian.
    let found = match u16::from_le_bytes([low, high]) {
        EM_386 => "386",
        EM_X86_64 => "amd64",
        EM_AARCH64 => "arm64",
        _ => return Ok(()),
    };
    if found == architecture || !matches!(architecture, "amd64" | "arm64") {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "it is an ELF program for {found}, and was given as the agent for {architecture}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(machine: u16) -> Vec<u8> {
        let mut bytes = b"\x7FELF\x02\x01\x01".to_vec();
        bytes.resize(18, 0);
        bytes.extend(machine.to_le_bytes());
        bytes.extend(b"the rest");
        bytes
    }

    #[test]
    fn an_agent_for_another_machine_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        for (content, architecture, accepted) in [
            (elf(62), "amd64", true),
            (elf(183), "amd64", false),
            (elf(183), "arm64", true),
            (elf(62), "arm64", false),
            (b"#!/bin/sh\n".to_vec(), "arm64", true),
            (b"".to_vec(), "amd64", false),
        ] {
            std::fs::write(&path, &content).unwrap();
            let agents = Agents::default().with(architecture, &path);
            let opened = agents.open(architecture).and_then(OpenAgent::hashed);
            assert_eq!(opened.is_ok(), accepted, "{architecture}: {content:?}");
            if let Ok(mut agent) = opened {
                assert_eq!(*agent.digest(), Digest::of(&content));
                let mut read = Vec::new();
                agent.body().unwrap().read_to_end(&mut read).unwrap();
                assert_eq!(read, content);
            }
        }
    }

    #[test]
    fn an_agent_that_changes_during_a_build_fails_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        std::fs::write(&path, b"one").unwrap();
        let mut agent = Agents::default()
            .with("amd64", &path)
            .open("amd64")
            .and_then(OpenAgent::hashed)
            .unwrap();
        std::fs::write(&path, b"two").unwrap();
        let error = agent.body().unwrap().read_to_end(&mut Vec::new());
        assert!(error.is_err());
    }

    #[test]
    fn a_remembered_agent_is_recalled_until_anything_about_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        std::fs::write(&path, b"one").unwrap();
        let open = || {
            Agents::default()
                .with("amd64", &path)
                .open("amd64")
                .unwrap()
        };
        let agent = open();
        assert_eq!(agent.memory(), None, "it was not hashed");
        agent.digest().unwrap();
        assert_eq!(agent.memory(), None, "it is too young");
        let memory = AgentMemory {
            sight: agent.sight,
            digest: agent.digest().unwrap().to_string(),
        };
        assert_eq!(open().recall(&memory), Some(Digest::of(b"one")));

        // The same size and the same time of writing: only the time of change is left to tell.
        let written = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&path, b"two").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(written).unwrap();
        assert_eq!(open().recall(&memory), None);
    }

    #[test]
    fn a_young_file_is_not_remembered() {
        let sight = |changed| Sight {
            device: 1,
            inode: 2,
            size: 3,
            modified: (0, 0),
            changed: (changed, 0),
        };
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
        for (changed, settled) in [
            (900, true),
            (997, true),
            (998, false),
            (1000, false),
            (2000, false),
            (-5, false),
        ] {
            assert_eq!(sight(changed).is_settled(now), settled, "{changed}");
        }
    }
}
