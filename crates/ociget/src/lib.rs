//! A minimal OCI / Docker registry v2 *pull* client: an image reference in, verified blob streams
//! out.
//!
//! ```no_run
//! use ociget::{Client, Options, Platform, SourceSpec};
//!
//! # async fn pull() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(Options::default())?;
//! let source = "ghcr.io/team/app:1.2".parse::<SourceSpec>()?.open(&client)?;
//! let image = ociget::resolve(source.as_ref(), None, &Platform::host()).await?;
//! println!("{} for {}", image.identity.get(), image.platform);
//! for layer in &image.layers {
//!     let mut blob = source.blob(&layer.descriptor).await?;
//!     while let Some(chunk) = blob.chunk().await? {
//!         println!("{} bytes of {}", chunk.len(), layer.descriptor.digest);
//!     }
//!     let proof = blob.finish().await?;
//!     println!("verified {}", proof.get());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//! - **Verified.** The client parses a manifest from the bytes that it hashed. The stream of a blob
//!   ends in a [`Verified`] digest or in an error, and never returns more bytes than the
//!   descriptor allows. The client resolves a tag once; all later requests use the digest.
//! - **Bounded.** Documents and waiting times have limits, and retries have a budget. A blob is
//!   never held in memory.
//! - **Discreet.** Credentials go to their registry, and to the token server that it names
//!   if the address is permitted. A redirect to another origin does not get them. No
//!   error, log line or `Debug` output shows a secret.
//! - **Small.** It pulls. It does not push, decompress, unpack or cache, and it starts no programs
//!   but the credential helpers that the configuration names.
//!
//! # Overview
//! [`SourceSpec`] names the place of an image, and a [`Request`] adds the digest that the caller expects.
//! [`Source`] reads from that place, [`resolve`] finds the image for a [`Platform`], and [`BlobStream`]
//! delivers its layers. [`Options`] configures the client, and
//! [`Progress`] receives events. [`Error`] names the responsible party. If you store images by digest, call
//! [`Source::identity`] first. It costs as much as resolving the tag, and often you need nothing more.
//!
//! Beyond images:
//! - [`Client::tags`] lists the tags of a repository, and [`Client::referrers`] what refers to an image:
//!   signatures, SBOMs, attestations.
//! - [`RegistrySource::raw_manifest`] and [`RegistrySource::raw_blob`] fetch anything by tag or digest,
//!   whatever its media type, and [`ArtifactManifest`] reads the manifest of any artifact, such as a Helm
//!   chart. [`Descriptor::new`] describes a blob that another document names.
//! - [`copy_to_layout`] copies an image, an index or an artifact to an OCI image layout.
//! - [`Error::kind`] classifies failures by what a caller can do about them.
//! - With the feature `stream`, [`BlobStream`] is a `futures` `Stream` and tokio's `AsyncRead`.
//!
//! [`printable`] makes text that others chose safe to print.
//! Everything asynchronous runs on the caller's tokio runtime, and stops when its future is
//! dropped.

mod address;
mod agent;
mod artifact;
mod auth;
pub mod background;
mod blob;
mod client;
mod clock;
mod config;
mod connect;
mod content_range;
mod copy;
mod credentials;
mod digest;
mod endpoint;
mod error;
mod floor;
mod future;
mod go_document;
mod go_json;
mod header_url;
mod hosts_toml;
mod joint;
mod json;
mod manifest;
mod media_type;
mod open_archive;
mod options;
mod platform;
mod pool;
pub mod printable;
mod progress;
mod proxy;
mod reach;
mod reference;
mod refusal;
mod regular_file;
mod resolve;
mod retry;
mod secrets;
mod source;
mod tar_fields;
mod target;
mod tls;
mod transport;
mod warning;
mod words;

pub use artifact::ArtifactManifest;
pub use auth::challenge::Challenge;
pub use blob::{BlobBody, BlobPrefix, BlobStream};
#[doc(no_inline)]
pub use bytes::Bytes;
pub use client::Client;
pub use config::{Healthcheck, ImageConfig, RuntimeConfig};
pub use content_range::ContentRange;
pub use copy::{Copied, CopyOptions, copy_to_layout};
pub use credentials::keychain::Keychain;
pub use credentials::login::Login;
pub use credentials::one::OneLogin;
pub use credentials::{Anonymous, Credentials};
pub use digest::{Algorithm, DiffId, Digest, DigestError, Hasher, Mismatch, Verified, Verifier};
pub use error::Error;
pub use error::kind::ErrorKind;
pub use future::BoxFuture;
pub use manifest::{
    Descriptor, EntryError, ImageManifest, Index, IndexEntry, MAX_DOCUMENT, Manifest,
    ManifestError, OtherEntry, OtherKind, UnusableEntry,
};
pub use media_type::{Compression, MediaType};
pub use open_archive::{ArchiveStream, OpenArchive, OpenedArchive, PlainFiles, Spool, Wanted};
pub use options::{Options, Ranges};
pub use platform::{Platform, PlatformError};
pub use progress::{Event, Progress};
pub use proxy::Proxies;
pub use reference::{Reference, ReferenceError};
pub use refusal::Refusal;
pub use resolve::{Image, Layer, resolve, resolve_insisting};
pub use source::directory::DirectorySource;
pub use source::docker_archive::DockerArchiveSource;
pub use source::layout::LayoutSource;
pub use source::registry::RegistrySource;
pub use source::registry::referrers::Referrers;
pub use source::registry::tags::Tags;
pub use source::request::Request;
pub use source::spec::SourceSpec;
pub use source::tar::TarSource;
pub use source::{Document, Source};
pub use tls::ClientCertificate;

/// The example of the README has to compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
