//! The fuzzer's corpus.

use crate::corpus::seeds;
use crate::hostile;

#[test]
fn every_seed_of_the_fuzzer_is_read_alike_however_it_comes() {
    for (name, seed) in seeds("tar_entries") {
        eprintln!("{name}");
        hostile::check(&seed);
    }
}
