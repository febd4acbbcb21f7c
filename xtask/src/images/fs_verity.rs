//! The program itself in a guest whose kernel and file system have fs-verity, which the machine of a test may not have.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Error, Result, ensure};
use test_support::image::{Image as Source, Layer, Store as Content};
use test_support::real_image::{self, RealImage};

use super::agent::{boot, expect, pulled};
use super::drives::Drive;
use crate::boot::Ended;
use crate::{command, guest, workspace};

/// Mounts the drive that holds the program, a layout and an agent. `run` is the program with its store.
const START: &str = "mkdir /run/d; mount -t ext4 /dev/vdb /run/d; cd /run/d; \
    pull() { ./hpcc-rootfs --cache-dir store pull oci:layout:TAG --agent agent --quiet \"$@\"; }; a=$(echo store/*.sqsh); ";
/// The flag of an inode in ext4 (`EXT4_VERITY_FL`).
const VERITY: u64 = 0x10_0000;
/// Bytes of a block of the drive.
const BLOCK: u64 = 4096;

/// Pulls with `--fs-verity on` in a guest, with and without an existing artifact, and again after a bit of the artifact
/// was flipped on the drive.
pub(super) fn enabled(directory: &Path) -> Result<Ended> {
    let image = real_image::small().map_err(Error::msg)?;
    let image = image.context("this user cannot build real images")?;
    let artifact = pulled(directory, image.layout(), &[], Vec::new())?;
    let drive = Drive::formatted(&["-O", "verity", "-d", &contents(directory)?])?;
    let run = |script: &str| {
        let script = format!("{START}{script}").replace("TAG", RealImage::TAG);
        let command = ["-c".to_owned(), script];
        let mut boot = boot(&artifact);
        boot.words = "hpcc.disk=none";
        boot.command = Some(&command);
        boot.second = Some(&drive.0);
        boot.run()
    };

    let first = run(
        "pull --fs-verity on; echo first $?; a=$(echo store/*.sqsh); (echo x >> $a) 2>&1; cp $a copy; pull --fs-verity on; echo again $?; \
         rm -r store; pull; echo without $?; (: >> $a) && echo writable; pull --fs-verity on; echo enabled $?; (echo x >> $a) 2>&1; \
         cmp $a copy && echo same; ./hpcc-rootfs --cache-dir store verify; echo verify $?; sync",
    )?;
    let lines = [
        "first 0",
        "again 0",
        "without 0",
        "writable",
        "enabled 0",
        "same",
        "verify 0",
    ];
    expect(&first, 0, &lines)?;
    let refused = first.log.matches("Operation not permitted").count();
    ensure!(refused == 2, "not refused: {refused}\n{}", first.log);

    let name = drive.debugfs("ls -p /store")?;
    let name = name.split('/').find(|name| name.ends_with(".sqsh"));
    let path = format!("/store/{}", name.context("the store has no artifact")?);
    let stat = drive.debugfs(&format!("stat {path}"))?;
    let flags = stat.split_once("Flags: 0x").map(|(_, rest)| rest);
    let flags = flags.and_then(|rest| rest.split_whitespace().next());
    let flags = u64::from_str_radix(flags.unwrap_or_default(), 16)?;
    ensure!(flags & VERITY != 0, "the file has no fs-verity:\n{stat}");

    let blocks = drive.debugfs(&format!("blocks {path}"))?;
    // Not the first one: without a superblock it is no artifact.
    let place = blocks.split_whitespace().nth(9).context("no blocks")?;
    let at = place.parse::<u64>()? * BLOCK + 100;
    let mut byte = [0];
    drive.0.read_exact_at(&mut byte, at)?;
    drive.0.write_all_at(&[byte[0] ^ 1], at)?;
    // The kernel does not say whether the disk or the data is damaged, so the file is not quarantined.
    let second = run(
        "cat $a > /dev/null; ./hpcc-rootfs --cache-dir store verify; echo verify $?; ./hpcc-rootfs --cache-dir store rm $a; echo removed $?; \
         pull --fs-verity on; echo pulled $?; cmp store/*.sqsh copy && echo same",
    )?;
    let lines = ["verify 1", "removed 0", "pulled 0", "same"];
    expect(&second, 0, &lines)?;
    let refused = second.log.lines().find(|line| line.starts_with("cat: "));
    ensure!(
        refused.is_some_and(|line| line.contains("Input/output error")),
        "a changed block was read:\n{}",
        second.log
    );
    Ok(second)
}

/// Makes the directory that the drive is filled with, and returns its path.
fn contents(directory: &Path) -> Result<String> {
    let contents = directory.join("contents");
    fs::create_dir(&contents)?;
    command::output(workspace::build_program().arg("--quiet"))?;
    let program = contents.join("hpcc-rootfs");
    // Its debug information is most of it.
    let strip = ["--strip-debug", "-o"];
    let built = workspace::target("debug")?.join("hpcc-rootfs");
    command::output(Command::new("strip").args(strip).arg(&program).arg(built))?;
    fs::copy(guest::build()?.agent, contents.join("agent"))?;
    let mut content = Content::new();
    let noise: Vec<u8> = (0..300_000_u32)
        .flat_map(|at| at.wrapping_mul(0x9E37_79B1).to_le_bytes())
        .collect();
    let image = Source::new().layer(Layer::new().file("noise", noise));
    let image = image.add_to(&mut content);
    content.tag(RealImage::TAG, &image);
    let layout = contents.join("layout");
    content.write_layout(&layout).map_err(Error::msg)?;
    Ok(contents.display().to_string())
}
