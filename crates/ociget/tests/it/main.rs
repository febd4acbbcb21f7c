//! The client against registries that run here, well and badly, and against layouts on disk.

mod auth;
mod blobs;
mod files;
mod foreign;
mod images;
mod layout;
mod log;
mod progress;
mod ranges;
mod referrers;
mod slow;
mod support;
mod tag_lists;
mod tags;
