//! What the fuzzer begins with, and what it found.

use std::path::Path;

/// Seeds beyond this are slow to mutate.
const LONGEST: usize = 16 << 10;

/// Returns the seeds of a fuzz target, with their names.
pub(crate) fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let files = std::fs::read_dir(corpus.join(target)).unwrap();
    let seeds = files.map(|file| {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        (name, std::fs::read(file.path()).unwrap())
    });
    // What a fuzzer that runs here adds for itself has a hash for a name.
    let seeds: Vec<_> = seeds
        .filter(|(name, _)| name.starts_with("seed-"))
        .collect();
    assert!(seeds.len() >= 6, "only {} seeds of {target}", seeds.len());
    for (name, seed) in &seeds {
        assert!(seed.len() <= LONGEST, "{name} has {} bytes", seed.len());
    }
    seeds
}
