//! All that has to hold before a change is merged.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail};
use test_support::real_image;

use crate::fuzz::FuzzOptions;
use crate::tally::Tally;
use crate::{
    api, book, command, dist, fuzz, images, packages, policy, span, tools, torture, workspace,
};

/// How the tests are run.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct TestOptions {
    /// How long each fuzz target runs, with s, m or h; 0 leaves fuzzing out
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = span::parse)]
    pub fuzz_time: Duration,
    /// How long the store is tortured, with s, m or h; 0 leaves it out
    #[arg(long, default_value = "1m", value_name = "TIME", value_parser = span::parse)]
    pub torture_time: Duration,
}

type Step = fn(TestOptions) -> Result<Tally>;

/// Steps that run one after another.
type Lane = &'static [(&'static str, Step)];

/// Phases in order, and in each the lanes that run at the same time. A step that fails leaves out no other. The lines of
/// lanes mingle; each names its step, its image or its target.
const PHASES: [&[Lane]; 2] = [
    &[&[
        ("packages", |_| {
            packages::install().map(|()| Tally::default())
        }),
        ("lock files", |_| lock_files()),
        ("format", |_| {
            check(workspace::cargo().args(["fmt", "--all", "--check"]))
        }),
    ]],
    &[
        // Images are downloads and files, an emulated guest has one processor, and fuzz targets are built in a directory
        // of their own. Compilers and tests use the other processors; a test that needs an image waits for it.
        &[
            ("images of the tests", |_| real_images()),
            ("images in a virtual machine", |_| images::verify_all()),
            ("fuzzing", |options| {
                fuzz::run(&FuzzOptions::all(options.fuzz_time))
            }),
        ],
        &[
            ("lints", |_| {
                check(workspace::cargo().args([
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--",
                    "-D",
                    "warnings",
                ]))
            }),
            ("licenses, bans, sources and advisories", |_| policy::deny()),
            ("oldest Rust", |_| policy::oldest_rust()),
            ("each library alone", |_| alone()),
            ("encoder with each codec alone", |_| codecs()),
            ("tests", |_| {
                // Not nextest, which gives each test a process of its own: without it, tests share one, and must bear that.
                counted(workspace::cargo().args(["test", "--workspace", "--no-fail-fast"]))
            }),
            ("documentation", |_| {
                check(
                    workspace::cargo()
                        .args(["doc", "--workspace", "--no-deps"])
                        .env("RUSTDOCFLAGS", "-Dwarnings"),
                )
            }),
            ("public interfaces", |_| api::check()),
            ("book", |_| book::build()),
            ("Debian package", |_| dist::check()),
            ("torture", |options| torture::run(options.torture_time)),
        ],
    ],
];

/// Runs every step, and ends with what the failed ones wrote last and with a line of its own that counts the tests of all of
/// them. A step that fails in another way than by its tests counts as one that failed.
///
/// # Errors
///
/// Something failed; what it was is on the screen already, above that line.
pub fn test(options: TestOptions) -> Result<()> {
    let before = workspace::changes()?;
    println!("=== tools ===");
    tools::report();

    let mut total = Tally::default();
    let mut failed = Vec::new();
    let mut count = |name, tally: Tally| {
        if tally.failed > 0 {
            failed.push(name);
        }
        total += tally;
    };
    for lanes in PHASES {
        thread::scope(|scope| {
            let spawn = |lane: &Lane| {
                let steps = lane.iter();
                scope.spawn(move || {
                    let taken = steps.map(|(name, step)| (*name, take(name, || step(options))));
                    taken.collect::<Vec<_>>()
                })
            };
            // All are spawned before the first is waited for.
            let running: Vec<_> = lanes.iter().map(spawn).collect();
            for thread in running {
                for (name, tally) in thread.join().unwrap_or_else(|panic| resume_unwind(panic)) {
                    count(name, tally);
                }
            }
        });
    }
    let name = "work tree";
    count(name, take(name, || unchanged(before.as_deref())));

    for text in &total.failures {
        println!("\n=== what failed, again: the last lines of it ===\n{text}");
    }
    println!("\n{} passed, {} failed", total.passed, total.failed);
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("failed: {}", failed.join(", "))
    }
}

/// Runs one step and says how it ended.
fn take(name: &str, step: impl FnOnce() -> Result<Tally>) -> Tally {
    println!("\n=== {name} ===");
    let start = Instant::now();
    // A step that panics is one that failed: the others go on.
    let ended =
        catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| bail!("a panic, see above"));
    let tally = ended.unwrap_or_else(|error| {
        println!("{name}: error: {error:#}");
        Tally::failed(&format!("{name}: error: {error:#}"))
    });
    let word = if tally.failed == 0 { "ok" } else { "FAILED" };
    println!(
        "=== {name}: {word}, {:.1} s ===",
        start.elapsed().as_secs_f32()
    );
    tally
}

/// Both lock files have to fit their manifests, before anything that might change one.
fn lock_files() -> Result<Tally> {
    let host = workspace::host()?;
    for directory in ["", "fuzz"] {
        let mut cargo = workspace::cargo();
        cargo
            .current_dir(workspace::root().join(directory))
            .args(["fetch", "--target", &host]);
        command::output(&mut cargo)?;
    }
    println!("Cargo.lock and fuzz/Cargo.lock fit their manifests");
    Ok(Tally::default())
}

/// Builds the images that tests pull, most of which would wait for the same one otherwise.
fn real_images() -> Result<Tally> {
    real_image::all().map_err(Error::msg)?;
    Ok(Tally::default())
}

/// Fails if the steps changed what git sees of the work tree.
fn unchanged(before: Option<&str>) -> Result<Tally> {
    let Some(before) = before else {
        println!("NOT compared: this is not a git repository");
        return Ok(Tally::default());
    };
    let after = workspace::changes()?.unwrap_or_default();
    if after == before {
        println!("the test left the work tree as it was");
        return Ok(Tally::default());
    }
    bail!("the test changed the work tree: git status --porcelain was\n{before}\nand is\n{after}");
}

/// Runs a step that is not a test and counts only when it fails.
fn check(command: &mut Command) -> Result<Tally> {
    let shown = command::show(command)?;
    Ok(if shown.success {
        Tally::default()
    } else {
        Tally::failed(&shown.output)
    })
}

/// Checks that each library builds with the features that its own manifest asks for, as it does for users who have
/// nothing else of this workspace. Only the lints and tests build them with the features of all others.
fn alone() -> Result<Tally> {
    let mut tally = Tally::default();
    for library in ["sqfs-writer", "ociget", "hpcc-rootfs"] {
        for features in [&[][..], &["--no-default-features"]] {
            let mut cargo = workspace::cargo();
            tally += check(
                cargo
                    .args(["check", "--lib", "--package", library])
                    .args(features),
            )?;
        }
    }
    Ok(tally)
}

/// Checks that the encoder builds with any choice of codecs, and without one.
fn codecs() -> Result<Tally> {
    let mut tally = Tally::default();
    for codec in ["", "gzip", "zstd", "xz", "lz4"] {
        tally += check(workspace::cargo().args([
            "check",
            "--package",
            "sqfs-writer",
            "--all-targets",
            "--no-default-features",
            "--features",
            codec,
        ]))?;
    }
    Ok(tally)
}

fn counted(command: &mut Command) -> Result<Tally> {
    let shown = command::show(command)?;
    Ok(Tally::in_output(&shown.output, shown.success))
}
