//! The guest agents: the programs that become PID 1, one for each architecture.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use ociget::{Algorithm, Digest, Verifier};

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

    /// Opens and hashes the agent for an architecture.
    ///
    /// # Errors
    /// [`Error::NoAgent`] if none was configured, [`Error::Agent`] if the file can't be read or is
    /// an ELF program for another machine: a VM would only find that out when it panics at boot.
    pub(crate) fn open(&self, architecture: &str) -> Result<Agent, Error> {
        let path = self.path(architecture).ok_or_else(|| Error::NoAgent {
            architecture: architecture.to_owned(),
            available: self.architectures().map(str::to_owned).collect(),
        })?;
        Agent::open(path, architecture).map_err(|source| Error::Agent {
            path: path.to_owned(),
            source,
        })
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
    fn open(path: &Path, architecture: &str) -> io::Result<Self> {
        let mut file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut head = Vec::new();
        file.by_ref().take(20).read_to_end(&mut head)?;
        if head.is_empty() {
            return Err(io::Error::other("it is empty"));
        }
        check_machine(&head, architecture)?;
        let mut hasher = Algorithm::Sha256.hasher();
        hasher.update(&head);
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                length => hasher.update(buffer.get(..length).unwrap_or_default()),
            }
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            digest: hasher.finish(),
        })
    }

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
            let opened = agents.open(architecture);
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
            .unwrap();
        std::fs::write(&path, b"two").unwrap();
        let error = agent.body().unwrap().read_to_end(&mut Vec::new());
        assert!(error.is_err());
    }
}
