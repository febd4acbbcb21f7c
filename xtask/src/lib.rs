//! The tools of this repository.
//!
//! - [`verify`](mod@verify): boots a kernel with an image as its root, and compares what the guest sees with what an
//!   oracle says. Tests call it as a function, people as `cargo xtask verify`.
//! - [`matrix`]: many images of the writer in one machine, as `cargo xtask verify --matrix`.
//! - [`demo`]: a tour for newcomers, as `cargo xtask demo`.
//! - [`run`](mod@run): the command of any image in a virtual machine, as `cargo xtask run`.
//! - [`bench`](mod@bench): this project and its peers, measured in one run, as `cargo xtask bench`.
//! - [`fuzz`](mod@fuzz): the fuzz targets, as `cargo xtask fuzz`.
//! - [`torture`](mod@torture): one store under everything at once, as `cargo xtask torture`.
//! - [`test`](mod@test): all that has to hold before a change is merged, as `cargo xtask test`.
//!
//! What they stand on: [`guest`] builds the programs that run inside, [`kernel`] unpacks Debian's kernel,
//! [`initramfs`] joins them, [`disk`] holds many images, [`qemu`] runs the machine, [`boot`] an
//! artifact with the example agent. What every image promises to its guest is
//! [`test_support::contract`].

#![expect(
    clippy::print_stdout,
    reason = "a program for a terminal; its output is what it is for"
)]

pub mod api;
pub mod bench;
pub mod boot;
pub mod demo;
pub mod disk;
pub mod dist;
pub mod fuzz;
pub mod guest;
pub mod images;
pub mod initramfs;
pub mod kernel;
pub mod matrix;
pub mod packages;
pub mod policy;
pub mod qemu;
pub mod reference;
pub mod run;
pub mod test;
pub mod torture;
pub mod verify;

mod book;
mod command;
mod console;
mod modules;
mod pull;
mod span;
mod tally;
mod tools;
mod workspace;
