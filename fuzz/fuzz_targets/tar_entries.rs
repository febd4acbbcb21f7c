//! Hostile bytes as a layer. The checks are those of the tests, which replay the corpus.

#![no_main]

#[path = "../../crates/hpcc-rootfs/tests/tar/hostile.rs"]
mod hostile;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| hostile::check(input));
