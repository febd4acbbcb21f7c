//! The client against registries that run here, well and badly, and against layouts on disk.

mod archive;
mod archive_headers;
mod archive_holes;
mod archive_kinds;
mod archive_names;
mod auth;
mod blame;
mod blobs;
mod copy;
mod copy_directories;
mod copy_expected;
mod copy_twice;
mod directory;
mod documents;
mod examples;
mod files;
mod foreign;
mod framing;
mod images;
mod layout;
mod log;
mod mirrors;
mod progress;
mod ranges;
mod raw;
mod redirects;
mod referrers;
mod repeated;
mod resting;
mod slow;
mod spelling;
// A package has no dependency on itself that enables the feature.
#[cfg(feature = "stream")]
mod streams;
mod support;
mod tag_lists;
mod tags;
mod tokens;
mod tunnels;
