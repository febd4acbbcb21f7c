//! The inputs of an artifact, as a statement that others can sign and check.
//!
//! ```text
//!  record ─► key: image, options, agent, injected files ─┐
//!  /.hpcc/image.json in the image: config, layers ───────┼─► in-toto statement, SLSA provenance
//!  the file ─► verified, SHA-256 ────────────────────────┘
//! ```
//!
//! A statement is a function of the artifact alone: no clock, no host, no path and no network affect it. Building the
//! same artifact again gives the same statement.

mod description;
mod error;
mod reading;
mod statement;

pub use error::EvidenceError;
pub use statement::attest;
