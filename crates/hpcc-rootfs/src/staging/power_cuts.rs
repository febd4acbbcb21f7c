//! Publishing during a power failure: the states in which the disk may be.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::faults::{NAME, is_sound, publish_with};
use super::files::{Files, Kernel};

/// The calls that reached the kernel, in order.
#[derive(Clone, Debug)]
enum Logged {
    Write(u64, Vec<u8>),
    Sync,
    Link(String),
    Rename(String, String),
    SyncDirectory,
}

/// Executes and records every call; without `honest`, it does not sync the file.
#[derive(Debug)]
struct Recorder {
    honest: bool,
    log: Mutex<Vec<Logged>>,
}

impl Recorder {
    fn log(&self, logged: Logged) {
        self.log.lock().unwrap().push(logged);
    }
}

impl Files for Recorder {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
        let written = Kernel.write(file, bytes, offset)?;
        self.log(Logged::Write(offset, bytes[..written].to_vec()));
        Ok(written)
    }

    fn sync(&self, file: &File) -> Result<(), Errno> {
        if self.honest {
            self.log(Logged::Sync);
        }
        Kernel.sync(file)
    }

    fn link(&self, file: &File, directory: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
        Kernel.link(file, directory, name)?;
        self.log(Logged::Link(name.to_str().unwrap().to_owned()));
        Ok(())
    }

    fn rename(&self, directory: &OwnedFd, from: &str, to: &OsStr) -> Result<(), Errno> {
        Kernel.rename(directory, from, to)?;
        let to = to.to_str().unwrap().to_owned();
        self.log(Logged::Rename(from.to_owned(), to));
        Ok(())
    }

    fn sync_directory(&self, directory: &OwnedFd) -> Result<(), Errno> {
        Kernel.sync_directory(directory)?;
        self.log(Logged::SyncDirectory);
        Ok(())
    }
}

/// Returns whether the artifact's name refers to the new file after the first `done` steps and then a power cut that
/// kept the first `names_kept` changes of the directory that no sync had made durable.
fn is_named(log: &[Logged], names_kept: usize) -> bool {
    let synced = log
        .iter()
        .rposition(|step| matches!(step, Logged::SyncDirectory))
        .unwrap_or(0);
    let (durable, pending) = log.split_at(synced);
    let changes = |steps: &[Logged]| -> Vec<Logged> {
        let names = steps
            .iter()
            .filter(|step| matches!(step, Logged::Link(_) | Logged::Rename(..)));
        names.cloned().collect()
    };
    let kept = changes(pending).into_iter().take(names_kept);
    let mut present: Vec<String> = Vec::new();
    for change in changes(durable).into_iter().chain(kept) {
        match change {
            Logged::Link(name) => present.push(name),
            Logged::Rename(from, to) => {
                present.retain(|name| *name != from);
                present.push(to);
            }
            _ => {}
        }
    }
    present.iter().any(|name| name == NAME)
}

/// Returns all contents that the file may have after a power cut: what was synced, and any subset of the writes since.
fn contents(log: &[Logged]) -> Vec<Vec<u8>> {
    let synced = log
        .iter()
        .rposition(|step| matches!(step, Logged::Sync))
        .unwrap_or(0);
    let mut durable = Vec::new();
    let mut pending = Vec::new();
    for (at, step) in log.iter().enumerate() {
        if let Logged::Write(offset, bytes) = step {
            if at < synced {
                put(&mut durable, *offset, bytes);
            } else {
                pending.push((*offset, bytes));
            }
        }
    }
    (0..1_u32 << pending.len())
        .map(|kept| {
            let mut content = durable.clone();
            for (bit, (offset, bytes)) in pending.iter().enumerate() {
                if kept >> bit & 1 == 1 {
                    put(&mut content, *offset, bytes);
                }
            }
            content
        })
        .collect()
}

fn put(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = usize::try_from(offset).unwrap();
    content.resize(content.len().max(start + bytes.len()), 0);
    content[start..start + bytes.len()].copy_from_slice(bytes);
}

/// Returns in how many of the states after a power cut an incomplete file has the name, and in how many a complete one
/// has it.
fn power_cuts(honest: bool, verity: bool) -> (usize, usize) {
    let directory = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder {
        honest,
        log: Mutex::default(),
    });
    let files = Arc::clone(&recorder) as Arc<dyn Files>;
    publish_with(directory.path(), files, verity).unwrap();
    let log = recorder.log.lock().unwrap().clone();
    let scratch = directory.path().join("scratch");
    let (mut torn, mut whole) = (0, 0);
    for done in 0..=log.len() {
        let log = &log[..done];
        for names_kept in 0..=2 {
            if !is_named(log, names_kept) {
                continue;
            }
            for content in contents(log) {
                fs::write(&scratch, content).unwrap();
                if is_sound(&scratch) {
                    whole += 1;
                } else {
                    torn += 1;
                }
            }
        }
    }
    (torn, whole)
}

#[test]
fn no_power_cut_leaves_a_name_on_a_torn_file() {
    for verity in [false, true] {
        let (torn, whole) = power_cuts(true, verity);
        assert_eq!(torn, 0);
        assert!(whole > 0);
    }
    // The simulation finds the fault if the file is not synced before it is named.
    assert!(power_cuts(false, false).0 > 0);
}
