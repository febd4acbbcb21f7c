//! Any stack of layers against the naive model. The checks, the model and all around it are those of
//! the tests, which replay the corpus.

#![no_main]

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../../crates/hpcc-rootfs/tests/flatten/archive.rs"]
mod archive;
#[path = "../../crates/hpcc-rootfs/tests/flatten/fuzzed.rs"]
mod fuzzed;
#[path = "../../crates/hpcc-rootfs/tests/flatten/listing.rs"]
mod listing;
#[path = "../../crates/hpcc-rootfs/tests/flatten/model.rs"]
mod model;
#[path = "../../crates/hpcc-rootfs/tests/flatten/repair.rs"]
mod repair;
#[path = "../../crates/hpcc-rootfs/tests/flatten/run.rs"]
mod run;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fuzzed::check(input));
