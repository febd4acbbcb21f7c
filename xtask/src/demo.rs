//! A tour for a newcomer without a registry: an image made here, served here, pulled by the real
//! client into `target/demo`, and booted.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use hpcc_rootfs::Store;
use test_support::image::{Compression, Entry, Image, Layer, Store as Content};
use test_support::registry::Registry;

use crate::boot::Boot;
use crate::images::sealed;
use crate::kernel::Kernel;
use crate::{guest, packages, pull, run, workspace};

/// Runs the tour, and prints what happens stage by stage.
///
/// # Errors
///
/// One of its steps fails; which, is on the screen.
pub fn run() -> Result<()> {
    println!("0. Programs for the guest, static: an agent, and a command for the image");
    let guest = guest::build_shown()?;

    println!("1. An image of three layers, made from nothing");
    let mut content = Content::new();
    let program = std::fs::read(&guest.witness).context("cannot read the guest's program")?;
    let image = image(program).add_to(&mut content);
    content.tag("latest", &image);
    println!("   {}", image.digest);
    for line in [
        "layer 1: a root with /bin -> usr/bin, a setuid program, a program with capabilities",
        "layer 2: writes through the symlink /bin, links a second name to a file of layer 1",
        "layer 3: removes a file, hides a directory's old content, replaces what was linked",
    ] {
        println!("   {line}");
    }

    println!("2. A registry for it on loopback");
    let registry = Registry::serve(content).context("cannot serve on 127.0.0.1")?;
    let reference = format!("{}/demo/tour:latest", registry.addr());
    println!("   {reference}");

    println!("3. Pull: resolve, verify, flatten, add the agent, write the tables, publish");
    let directory = workspace::target("demo")?;
    let digest = image.digest.parse().context("the builder's digest")?;
    println!("   the agent is crates/hpcc-agent-example");
    let mut options = pull::options(guest.agent, run::progress())?;
    options.image.verity = true;
    let store = Store::open(&directory, options)?;
    // What an earlier tour left would end this one before it begins.
    store.untag_image(&digest)?;
    let pulled = pull::pull_into(&store, &reference, Some(&digest))?;
    if let Some(summary) = &pulled.built {
        for line in summary.to_string().lines() {
            println!("   {line}");
        }
    }

    println!("4. Pull again: the artifact exists, so no request is sent");
    let requests = registry.requests().len();
    let again = pull::pull_into(&store, &reference, Some(&digest))?;
    ensure!(
        again.built.is_none() && registry.requests().len() == requests,
        "the second pull did work"
    );
    println!("   the registry received {requests} requests before, and none now");

    boot(&pulled.path)?;

    println!("\nThe artifact, for a microVM's first disk:");
    println!("{}", pulled.path.display());
    let line = hpcc_rootfs::boot_args(&pulled.record, &hpcc_rootfs::BootOptions::default())?;
    println!("Boot it with: {line}");
    println!("Look at it with: unsquashfs -lls {}", pulled.path.display());
    println!("Run any image like this with: cargo xtask run IMAGE [-- COMMAND]");
    Ok(())
}

/// Boots the artifact where that is possible, and says what is missing where it is not.
fn boot(artifact: &Path) -> Result<()> {
    println!("5. Boot: QEMU, Debian's kernel, the artifact as the first disk, the agent as PID 1");
    let ready = packages::install_for_guest().and_then(|()| Kernel::get());
    if let Err(error) = ready {
        println!(
            "   not booted: QEMU or a kernel for it is missing, and cannot be installed from here"
        );
        for line in format!("{error:#}").lines() {
            println!("   {line}");
        }
        return Ok(());
    }
    println!("   the image's command says:\n");
    let mut boot = Boot::of(artifact);
    boot.words = "hpcc.hostname=demo";
    boot.show = true;
    let ended = boot.run()?;
    ensure!(
        !ended.timed_out,
        "the virtual machine did not end within {:.0} s and was killed",
        ended.took.as_secs_f32()
    );
    ensure!(
        ended.code == Some(0),
        "the command in the virtual machine did not exit with 0"
    );
    println!(
        "   from power on to power off: {:.1} s, every instruction emulated",
        ended.took.as_secs_f32()
    );

    println!("6. Boot again, with one bit flipped: the kernel compares with the sealed digests");
    let directory = tempfile::tempdir()?;
    let changed = sealed::flipped(artifact, &directory.path().join("changed.sqsh"))?;
    let ended = Boot::of(&changed).run()?;
    let mut lines = ended.log.lines();
    let refusal = lines.find(|line| line.contains("dm-verity device corrupted"));
    let refusal = refusal.context("the kernel did not refuse the changed image")?;
    println!("   {}", refusal.trim());
    Ok(())
}

/// Three layers that merging by name gets wrong.
fn image(program: Vec<u8>) -> Image {
    // CAP_NET_RAW, permitted and effective, as `setcap cap_net_raw+ep` writes it.
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let base = Layer::new()
        .dir("usr")
        .dir("usr/bin")
        .entry(Entry::file("usr/bin/tour", program).mode(0o755))
        .symlink("bin", "usr/bin")
        .entry(Entry::file("usr/bin/su", "#!/bin/sh\n").mode(0o4755))
        .entry(
            Entry::file("usr/bin/ping", "#!/bin/sh\n")
                .mode(0o755)
                .xattr("security.capability", capability),
        )
        .dir("etc")
        .file("etc/motd", "from layer 1\n")
        .file("etc/secret", "removed by layer 3\n")
        .dir("cache")
        .file("cache/old", "hidden by layer 3\n");
    let middle = Layer::new()
        .file("bin/note", "written through /bin by layer 2\n")
        .hardlink("etc/motd.linked", "etc/motd");
    let top = Layer::new()
        .whiteout("etc/secret")
        .opaque("cache")
        .file("cache/new", "from layer 3\n")
        .file("etc/motd", "replaced by layer 3\n");
    Image::new()
        .layer(base.compressed(Compression::Gzip))
        .layer(middle.compressed(Compression::Zstd))
        .layer(top.compressed(Compression::Gzip))
        .env("PATH=/usr/bin")
        .entrypoint(&["tour", "tour"])
}
