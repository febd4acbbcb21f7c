//! Replays the seeds that code makes and the inputs that were found, target by target, within the limits of a run.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, a panic is how a failure is reported"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fuzz_targets::{TARGETS, Target};
use peak_alloc::PeakAlloc;

/// Counts for [`Target::run`].
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the inputs in the repository. What a fuzzer adds for itself has a hash for a name.
fn found(target: &Target) -> Vec<(String, Vec<u8>)> {
    let Ok(files) = std::fs::read_dir(fuzz().join("corpus").join(target.name)) else {
        return Vec::new();
    };
    let files = files.map(|file| file.unwrap());
    let named = files.map(|file| (file.file_name().into_string().unwrap(), file.path()));
    named
        .filter(|(name, _)| name.starts_with("seed-"))
        .map(|(name, path)| (name, std::fs::read(path).unwrap()))
        .collect()
}

/// Runs of one target at a time: memory and processor time are those of the process.
fn replay(name: &str) {
    static ALONE: Mutex<()> = Mutex::new(());
    let target = Target::named(name).unwrap();
    let made = target.seeds();
    assert!(!made.is_empty(), "{name} has no seeds");
    let made = (0..).zip(made).map(|(n, seed)| (format!("made {n}"), seed));
    for (input, bytes) in made.chain(found(&target)) {
        let length = bytes.len();
        assert!(length <= target.longest, "{input} has {length} bytes");
        // A failed test shows the last of these.
        println!("{name}: {input}");
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        target.run(&bytes);
    }
}

macro_rules! replays {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target));
            }
        )*

        #[test]
        fn every_target_is_replayed() {
            let names: BTreeSet<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, BTreeSet::from([$(stringify!($target)),*]));
        }
    };
}

replays! {
    agent challenge config_file content_range digest docker_archive end_to_end flatten_model hosts_toml layers manifest note
    oci_archive recall record reference tables tar_entries tar_readers writer
}

#[test]
fn every_target_has_a_program_and_every_corpus_a_target() {
    let names: BTreeSet<_> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    let list = |directory: &str| -> BTreeSet<String> {
        let files = std::fs::read_dir(fuzz().join(directory)).unwrap();
        files
            .map(|file| file.unwrap().path())
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(list("fuzz_targets"), names);
    assert!(list("corpus").is_subset(&names));
}
