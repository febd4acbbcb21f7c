//! Opens the file of the guest agent and checks it.

use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use sqfs_writer::Tree;

use super::host_file::{HashedFile, OpenFile};
use super::program::Program;
use crate::error::Error;
use crate::options::Agents;
use crate::staging::Stop;

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

/// Returns the reason why a guest cannot execute this agent in the image of `tree`, for people, or `None` if no reason
/// is known.
///
/// # Errors
/// Returns [`Error::Agent`] if the file cannot be read.
pub(crate) fn problem<B>(agent: &HashedFile, tree: &Tree<B>) -> Result<Option<String>, Error> {
    let program = Program::of(|buffer, offset| agent.read_at(buffer, offset));
    let program = program.map_err(|source| failed(agent.path(), source))?;
    let problem = program.problem(tree);
    Ok(problem.map(|problem| {
        let path = ociget::printable::path(agent.path());
        format!("the agent {path} {problem}")
    }))
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
    agent.content().take(20).read_to_end(&mut head)?;
    if head.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    check_machine(&head, architecture)?;
    Ok(agent)
}

/// Refuses an ELF program whose `e_machine` is that of another architecture. Files that are not ELF pass, because a
/// script may be intended as PID 1.
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
