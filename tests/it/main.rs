//! The tests that cross crates. [`support`] holds those of the test support itself.

mod architecture;
mod cli;
mod commands;
mod flatten_memory;
mod flatten_real;
mod real;
mod refusals;
mod registry_archives;
mod registry_faults;
mod registry_helpers;
mod registry_mirrors;
mod registry_pull;
mod registry_real;
mod registry_security;
mod registry_tls;
mod sqfs_fixture;
mod sqfs_large;
mod sqfs_patched;
mod sqfs_random;
mod sqfs_sweep;
mod store_damage;
mod store_fast;
mod store_kill;
mod store_races;
mod streaming;
mod support;
