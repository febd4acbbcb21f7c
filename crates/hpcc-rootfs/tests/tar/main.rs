//! Archives listed by us, by Python's `tarfile` and by GNU tar.
#![expect(
    clippy::unwrap_used,
    reason = "in a test, a panic is how a failure is reported"
)]

mod agreed;
mod by_hand;
#[path = "../flatten/corpus.rs"]
mod corpus;
mod hostile;
mod listing;
#[path = "../../src/layer/tar/tests/raw.rs"]
mod raw;
mod refused;
mod replay;
mod unlike;
mod writers;
