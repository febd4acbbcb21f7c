//! How this client calls itself.

/// Value of `User-Agent`.
pub(crate) const AGENT: &str = concat!("ociget/", env!("CARGO_PKG_VERSION"));
