//! Turns container images into squashfs root file systems that a microVM boots, and keeps a store
//! of them.
//!
//! hpcc-rootfs pulls an image from its registry, verifies it against its digest, flattens its layers as a file system
//! would, adds a guest agent as PID 1, and writes one read-only squashfs file. That happens in one streaming pass: no
//! staging directory, no layer spooled to disk, no child process. The file has no name until everything that it came
//! from is verified.
//!
//! ```no_run
//! use hpcc_rootfs::{Agents, Options, Store};
//!
//! # async fn worker() -> Result<(), hpcc_rootfs::Error> {
//! let mut options = Options::default();
//! options.agents = Agents::default().with("amd64", "/usr/lib/agent");
//! let store = Store::open("/var/cache/rootfs", options)?;
//!
//! let pulled = store.pull_image("debian:12", None).await?;
//! println!("{} is at {}", pulled.digest, pulled.path.display());
//! for digest in store.existing_images()? {
//!     println!("ready to boot: {digest}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`Store`]: the prepared images of a worker. [`ImageStore`] has its four calls as a trait, and a [`Lease`] keeps an
//!   image from being collected.
//! - [`build()`]: builds one image to one file. [`rebuild()`]: builds it again, to compare.
//! - [`Options`], [`ImageOptions`], [`Agents`], [`Injection`], [`MountPoint`], [`layer::Limits`]: what you can choose.
//! - [`Record`], [`Key`], [`Verity`]: what an artifact records about itself.
//! - [`layer`], [`flatten`]: the modules without I/O of their own, for layers from elsewhere.
//! - [`attest`]: a statement about what an artifact was made of, for others to sign.
//! - [`tables`]: the names in an image, and whose bytes lie where.
//! - [`boot_args`], [`kernel_requirements`]: what a kernel needs to boot an artifact. [`BOOT_ARGS`] is the line of an
//!   artifact without a hash tree.
//!
//! Records of `tracing` with the target `hpcc_rootfs::notice` are warnings for every operator, also those of calls that
//! report no [`Event`]: a lock that other users could hold was replaced, or a pull of a tag could not be noted.
//!
//! The feature `cli`, on by default, contains the program and its dependencies. The feature `metrics` reports
//! measurements to the recorder of the crate `metrics`.

mod artifact;
mod boot;
mod build;
mod candidate;
mod caught;
mod checked_read;
mod error;
mod evidence;
mod feed;
pub mod flatten;
mod growth;
mod guest;
pub mod layer;
mod measure;
mod options;
mod panics;
mod progress;
mod pull;
mod rebuild;
mod recall;
mod regular_file;
mod spool;
mod staging;
mod store;
mod summary;
pub mod tables;
mod timings;
mod units;
mod unspooled;
mod untrusted;
mod zeroed;

pub use artifact::{
    CHUNK, Damage, FORMAT, ImageOptions, Injected, Key, MountPoint, MountPointError, Record,
    RecordError, Verity,
};
pub use boot::{
    BootError, BootOptions, KernelConfig, KernelConfigError, KernelRequirement, KernelVersion,
    Setting, boot_args, check_kernel_line, kernel_requirements, verity_table,
};
pub use build::{Built, build, check_host_files};
pub use candidate::Candidate;
pub use error::Error;
pub use error::kind::ErrorKind;
pub use evidence::{EvidenceError, attest};
pub use guest::BOOT_ARGS;
pub use ociget::{Digest, Platform};
pub use options::{Agents, Injection, Options, SpoolOptions, StoreOptions};
pub use progress::{Event, ImageLayer, Progress};
pub use rebuild::{Rebuilt, rebuild};
pub use regular_file::check_output;
pub use sqfs_writer::Compressor;
pub use staging::FsVerity;
pub use store::{
    Artifact, ArtifactUsage, Bounds, Collected, ImageStore, LayerUsage, Lease, LinkMethod, Linked,
    Pulled, Pulling, Store, Usage, open_artifact, read_record, verify_file, wait_for_builds,
};
pub use summary::{Reuse, Summary};
pub use timings::{Stage, Timings};
pub use units::{Count, ShortDigest, Size, Span};
pub use untrusted::Untrusted;
// Their types are in the signatures of this crate, so callers need the same versions.
pub use {ociget, sqfs_writer};
