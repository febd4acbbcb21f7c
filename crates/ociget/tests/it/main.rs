//! The client against registries that run here, well and badly, and against layouts on disk.

mod auth;
mod blobs;
mod images;
mod layout;
mod support;
