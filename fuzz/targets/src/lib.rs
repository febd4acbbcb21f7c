//! The bodies of the fuzz targets: one per hostile entrance, with its seeds and the limits of a run.
//!
//! A body takes any bytes and panics if a promise is broken. `fuzz/` wraps each one for libFuzzer; `cargo xtask fuzz` runs
//! them; the tests of this crate replay the seeds and the inputs that were found. [`run`] also measures what a body takes,
//! because an input that costs too much is as bad as one that panics.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a panic is how a body reports a broken promise"
)]
#![expect(
    dead_code,
    reason = "the modules that tests share have more than the targets need"
)]

// The naive model and its surroundings are those of the tests of hpcc-rootfs, which must not depend on this crate.
#[path = "../../../crates/hpcc-rootfs/tests/flatten/archive.rs"]
mod archive;
#[path = "../../../crates/hpcc-rootfs/tests/flatten/fuzzed.rs"]
mod fuzzed;
#[path = "../../../crates/hpcc-rootfs/tests/tar/hostile.rs"]
mod hostile;
#[path = "../../../crates/hpcc-rootfs/tests/flatten/listing.rs"]
mod listing;
#[path = "../../../crates/hpcc-rootfs/tests/flatten/model.rs"]
mod model;
#[path = "../../../crates/hpcc-rootfs/tests/flatten/repair.rs"]
mod repair;
#[path = "../../../crates/hpcc-rootfs/tests/flatten/run.rs"]
mod run;
#[path = "../../../crates/ociget/src/tar_fields.rs"]
mod tar_fields;

pub mod agent;
pub mod challenge;
pub mod config_file;
pub mod content_range;
pub mod digest;
pub mod docker_archive;
pub mod end_to_end;
pub mod flatten_model;
pub mod hosts_toml;
pub mod layers;
pub mod manifest;
pub mod note;
pub mod oci_archive;
pub mod recall;
pub mod record;
pub mod reference;
pub mod tables;
pub mod tar_entries;
pub mod tar_readers;
pub mod writer;

mod archives;
mod members;
mod open_archive;
mod seeds;
mod source;
mod stored;
mod tar_forms;

use std::time::Duration;

use peak_alloc::PeakAlloc;
use rustix::time::{ClockId, clock_gettime};

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name: of its program, its directory in `fuzz/corpus` and on the command line.
    pub name: &'static str,
    /// Length of the longest input, in bytes.
    pub longest: usize,
    check: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
}

/// Largest heap of one run, in bytes, where the program counts its allocations.
///
/// A zstd frame may ask for a window of 8 MiB, an encoder for about as much, and an artifact that is read for less.
pub const MEMORY: usize = 96 << 20;

/// Most processor time of one run. It does not grow while other programs use the processor.
pub const TIME: Duration = Duration::from_secs(10);

/// All targets.
pub const TARGETS: [Target; 20] = [
    target("agent", 16 << 10, agent::check, agent::seeds),
    target("challenge", 4 << 10, challenge::check, seeds::challenge),
    target(
        "config_file",
        16 << 10,
        config_file::check,
        seeds::config_file,
    ),
    target(
        "content_range",
        256,
        content_range::check,
        seeds::content_range,
    ),
    target("digest", 256, digest::check, seeds::digest),
    target(
        "docker_archive",
        32 << 10,
        docker_archive::check,
        seeds::docker_archive,
    ),
    target("end_to_end", 512, end_to_end::check, seeds::end_to_end),
    target(
        "flatten_model",
        512,
        flatten_model::check,
        seeds::flatten_model,
    ),
    target("hosts_toml", 8 << 10, hosts_toml::check, seeds::hosts_toml),
    target("layers", 64 << 10, layers::check, seeds::layers),
    target("manifest", 16 << 10, manifest::check, seeds::manifest),
    target("note", 8 << 10, note::check, seeds::note),
    target(
        "oci_archive",
        32 << 10,
        oci_archive::check,
        seeds::oci_archive,
    ),
    target("recall", 16 << 10, recall::check, recall::seeds),
    target("record", 32 << 10, record::check, seeds::record),
    target("reference", 1 << 10, reference::check, seeds::reference),
    target("tables", 32 << 10, tables::check, seeds::tables),
    target(
        "tar_entries",
        32 << 10,
        tar_entries::check,
        seeds::tar_entries,
    ),
    target(
        "tar_readers",
        32 << 10,
        tar_readers::check,
        seeds::tar_readers,
    ),
    target("writer", 2 << 10, writer::check, seeds::writer),
];

const fn target(
    name: &'static str,
    longest: usize,
    check: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
) -> Target {
    Target {
        name,
        longest,
        check,
        seeds,
    }
}

impl Target {
    /// Returns the target with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// Returns the inputs to start from, which code makes. `fuzz/corpus` holds those that were found.
    #[must_use]
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        (self.seeds)()
    }

    /// Runs the body once, as [`run`] does.
    ///
    /// # Panics
    ///
    /// A promise or a limit is broken.
    pub fn run(&self, input: &[u8]) {
        run(self.check, input);
    }
}

/// Runs a body once. A program of one body calls this, so that the linker drops the others: libFuzzer looks at the counters of
/// the whole program after every run.
///
/// # Panics
///
/// A promise is broken, or the run took more than [`TIME`] or [`MEMORY`]. Memory is counted only in a program whose global
/// allocator is `PeakAlloc`, and only right if nothing else runs in it.
pub fn run(check: fn(&[u8]), input: &[u8]) {
    let before = PeakAlloc.current_usage();
    PeakAlloc.reset_peak_usage();
    let start = processor_time();
    check(input);
    let took = processor_time().saturating_sub(start);
    let memory = PeakAlloc.peak_usage().saturating_sub(before);
    assert!(took <= TIME, "took {took:?} of processor time");
    assert!(memory <= MEMORY, "took {memory} bytes of memory");
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
