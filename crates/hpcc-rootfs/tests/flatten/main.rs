//! Layers in, tree out, compared with the documented cases, with a model, and through a squashfs
//! that the kernel mounts with what another tool unpacks onto a real file system.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a panic is how a failure is reported"
)]

mod agreement;
mod archive;
mod charges;
mod corpus;
mod documented;
mod fuzzed;
mod hints;
mod known;
mod limits;
mod listing;
mod metadata;
mod model;
mod repair;
mod report;
mod run;
mod squashfs;
mod stacks;
mod stopped;
mod umoci;
mod waiting;
