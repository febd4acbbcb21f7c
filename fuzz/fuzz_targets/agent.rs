//! The body is `fuzz_targets::agent::check`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;

/// Counts the memory of each run.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

fuzz_target!(|input: &[u8]| fuzz_targets::run(fuzz_targets::agent::check, input));
