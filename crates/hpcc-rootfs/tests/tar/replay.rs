//! The fuzzer's corpus.

use crate::corpus::seeds;
use crate::hostile;

#[test]
fn fuzzer_seeds_are_read_alike_in_pieces_of_any_size() {
    for (name, seed) in seeds("tar_entries") {
        eprintln!("{name}");
        hostile::check(&seed);
    }
}
