//! Whole images, written through the public API and read back by a reader that shares no code with
//! the writer and refuses what the kernel refuses.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics has failed, which is what its helpers are for"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "a test that truncates finds other bytes than it wrote"
)]

mod cancel;
mod dump;
mod duplicates;
mod expected;
mod faults;
mod golden;
#[cfg(all(feature = "host", target_os = "linux"))]
mod host;
mod lent;
mod limits;
mod memory;
mod random_trees;
mod reader;
mod replay;
mod round_trip;
mod sinks;
mod tables;
mod threads;
