//! Opens the file of the guest agent and checks it.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chain;
use super::host_file::{HashedFile, OpenFile};
use super::machine::{Fit, Machine};
use super::program::Program;
use crate::error::Error;
use crate::options::Agents;
use crate::staging::Stop;
use crate::tables::ReadAt;

/// Bytes of an ELF header up to the end of `e_machine`.
const HEAD: usize = 20;

/// Opens the agent for an architecture, without hashing it.
///
/// # Errors
/// Returns [`Error::NoAgent`] if none is configured, and [`Error::Agent`] if the file cannot be read or is an ELF
/// program for another machine, because a VM would only notice that by a panic at boot.
pub(crate) fn open(agents: &Agents, architecture: &str, stop: &Stop) -> Result<OpenFile, Error> {
    let path = agents.path(architecture).ok_or_else(|| Error::NoAgent {
        architecture: architecture.to_owned(),
        available: agents.architectures().map(str::to_owned).collect(),
    })?;
    open_file(path, architecture, stop).map_err(|source| failed(path, source))
}

/// An agent's file, as far as a kernel looks at it to execute it.
#[derive(Debug)]
pub(crate) struct Executed {
    path: PathBuf,
    program: Program,
    machine: Option<Machine>,
}

impl Executed {
    /// Inspects the file.
    ///
    /// # Errors
    /// Returns [`Error::Agent`] if the file cannot be read.
    pub(super) fn of(agent: &HashedFile) -> Result<Self, Error> {
        let failed = |source| failed(agent.path(), source);
        let mut head = [0; HEAD];
        let length = agent.read_at(&mut head, 0).map_err(failed)?;
        Ok(Self {
            path: agent.path().to_owned(),
            program: Program::of(|buffer, offset| agent.read_at(buffer, offset)).map_err(failed)?,
            machine: Machine::of(head.get(..length).unwrap_or_default()),
        })
    }

    /// Returns the reason why a guest cannot, or may not be able to execute this agent in a complete image, for people,
    /// or `None` if no reason is known.
    pub(crate) fn problem(&self, architecture: &str, image: &dyn ReadAt) -> Option<String> {
        let problem = match chain::problem(&self.program, self.machine, architecture, image) {
            Ok(problem) => problem,
            // A build whose bytes are not kept, or a failing disk, which the next reader meets as well.
            Err(error) => {
                tracing::debug!(%error, "the image cannot be read for the programs that the agent needs");
                None
            }
        };
        let of_machine = || of_machine(self.machine?, architecture);
        let problem = problem.or_else(of_machine)?;
        let path = ociget::printable::path(&self.path);
        Some(format!("the agent {path} {problem}"))
    }
}

/// Returns why it is not sure that a kernel for the image executes an ELF program.
fn of_machine(machine: Machine, architecture: &str) -> Option<String> {
    match machine.fit(architecture) {
        Fit::Same | Fit::Other => None,
        Fit::WiderThanImage => Some(format!(
            "is an ELF program for {machine}, which a kernel for {architecture} cannot execute; boot one for {machine}"
        )),
        Fit::Unknown => Some(format!(
            "is an ELF program for {machine}, and which programs a kernel for {architecture} executes is not known here"
        )),
    }
}

/// Makes the error for the agent's file.
pub(crate) fn failed(path: &Path, source: io::Error) -> Error {
    Error::Agent {
        path: path.to_owned(),
        source: Arc::new(source),
    }
}

fn open_file(path: &Path, architecture: &str, stop: &Stop) -> io::Result<OpenFile> {
    let agent = OpenFile::open(path, stop)?;
    let mut head = Vec::new();
    agent.content().take(HEAD as u64).read_to_end(&mut head)?;
    if head.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    check_machine(&head, architecture)?;
    Ok(agent)
}

/// Refuses an ELF program of another class, byte order or machine than the image's architecture has. Files that are not ELF pass, because a
/// script may be intended as PID 1.
fn check_machine(head: &[u8], architecture: &str) -> io::Result<()> {
    match Machine::of(head) {
        Some(machine) if machine.fit(architecture) == Fit::Other => Err(io::Error::other(format!(
            "it is an ELF program for {machine}, and was given as the agent for {architecture}"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use ociget::Digest;

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
            (elf(243), "amd64", false),
            (elf(0), "amd64", false),
            (elf(62), "riscv64", false),
            (elf(243), "riscv64", true),
            (elf(62), "386", true),
            (elf(183), "386", false),
            (elf(62), "quantum", true),
            (b"#!/bin/sh\n".to_vec(), "arm64", true),
            (b"".to_vec(), "amd64", false),
        ] {
            std::fs::write(&path, &content).unwrap();
            let agents = Agents::default().with(architecture, &path);
            let opened = open(&agents, architecture, &Stop::default());
            assert_eq!(opened.is_ok(), accepted, "{architecture}: {content:?}");
            if let Ok(agent) = opened {
                assert_eq!(*agent.digest().unwrap(), Digest::of(&content));
            }
        }
    }
}
