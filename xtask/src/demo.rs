//! A tour for a newcomer without a registry: an image made here, served here, pulled by the real
//! client into `target/demo`.

use anyhow::{Context, Result, ensure};
use hpcc_rootfs::{Event, Progress};
use test_support::image::{Compression, Entry, Image, Layer, Store as Content};
use test_support::registry::Registry;

use crate::{pull, workspace};

/// Runs the tour, and prints what happens stage by stage.
///
/// # Errors
///
/// One of its steps fails; which, is on the screen.
pub fn run() -> Result<()> {
    println!("1. An image of three layers, made from nothing");
    let mut content = Content::new();
    let image = image().add_to(&mut content);
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

    println!("3. Pull: resolve, verify, flatten, furnish, seal, publish");
    let directory = workspace::target("demo")?;
    let digest = image.digest.parse().context("the builder's digest")?;
    println!("   the agent is the probe that `cargo xtask verify` boots");
    // What an earlier tour left would end this one before it begins.
    pull::store(&directory, Progress::default())?.untag_image(&digest)?;
    let store = pull::store(&directory, progress())?;
    let pulled = pull::pull_into(&store, &reference, Some(&digest))?;
    if let Some(summary) = &pulled.built {
        for line in summary.to_string().lines() {
            println!("   {line}");
        }
    }

    println!("4. Pull again: the artifact is there, nothing is asked of the registry");
    let asked = registry.requests().len();
    let again = pull::pull_into(&store, &reference, Some(&digest))?;
    ensure!(
        again.built.is_none() && registry.requests().len() == asked,
        "the second pull did work"
    );
    println!("   the registry was asked {asked} times before, and not once more");

    println!("\nThe artifact, for a microVM's first disk:");
    println!("{}", pulled.path.display());
    println!("Boot it with: {}", hpcc_rootfs::BOOT_ARGS);
    println!("Look at it with: unsquashfs -lls {}", pulled.path.display());
    Ok(())
}

fn progress() -> Progress {
    Progress::new(|event| match event {
        Event::Resolved { image } => {
            println!(
                "   resolved: {} layers for {}",
                image.layers.len(),
                image.platform
            );
        }
        Event::LayerDone { layer } => println!("   layer {}: verified", layer + 1),
        Event::Sealing => println!("   names settled, writing the tables"),
        Event::Publishing => println!("   every proof in hand, syncing and publishing"),
        _ => {}
    })
}

/// Three layers that merging by name gets wrong.
fn image() -> Image {
    // CAP_NET_RAW, permitted and effective, as `setcap cap_net_raw+ep` writes it.
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let base = Layer::new()
        .dir("usr")
        .dir("usr/bin")
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
        .file("bin/tool", "written through /bin\n")
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
        .entrypoint(&["/bin/tool"])
}
