//! The foundation of the tests that cross crates: images described in Rust, a registry inside the process that fails on
//! request, guards around real programs, and independent oracles.
//!
//! Nothing in here knows the crates under test, so nothing in here can share their mistakes.
//!
//! ```
//! use test_support::image::{Image, Layer, Store};
//! use test_support::registry::Registry;
//!
//! let mut store = Store::new();
//! let image = Image::new()
//!     .layer(Layer::new().dir("etc").file("etc/motd", "hello\n"))
//!     .layer(Layer::new().whiteout("etc/motd"))
//!     .add_to(&mut store);
//! store.tag("latest", &image);
//!
//! let registry = Registry::serve(store)?;
//! let reference = format!("{}/demo@{}", registry.addr(), image.digest);
//! assert!(reference.starts_with("127.0.0.1:"));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! - [`contract`]: what every image promises to the guest that boots it.
//! - [`image`]: layers, images, indexes, and the content store that holds them.
//! - [`registry`]: serves a store on loopback, logs every request, injects faults.
//! - [`proxy`]: an HTTP or a SOCKS proxy inside the process.
//! - [`authority`]: a certificate authority of one's own.
//! - [`docker_registry`], [`token_server`]: the real registry of Debian, and whom it trusts.
//! - [`skopeo`], [`buildah`]: the tools that fill it.
//! - [`oracle`]: what others make of an image: the kernel, umoci, unsquashfs, backhand and more.
//! - [`real_image`]: images made from Debian packages, built once and kept.
//! - [`mod@text`]: bytes that compress as those of programs do.

pub mod authority;
pub mod buildah;
pub mod contract;
pub mod docker_registry;
pub mod image;
pub mod oracle;
pub mod proxy;
pub mod real_image;
pub mod registry;
pub mod skopeo;
pub mod text;
pub mod token_server;

mod command;
mod failure;

pub use failure::{Failure, Result};
