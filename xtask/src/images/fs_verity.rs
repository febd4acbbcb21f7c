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
         cmp $a copy && echo same; ./hpcc-rootfs --cache-dir store verify; echo verify $?; \
         rm -r store; pull; printf x | dd of=$a bs=1 seek=1100000 conv=notrunc; cmp $a copy || pull --fs-verity on; echo rebuilt $?; \
         cmp $a copy && echo intact; (echo x >> $a) 2>&1; sync",
    )?;
    let lines = [
        "first 0",
        "again 0",
        "without 0",
        "writable",
        "enabled 0",
        "same",
        "verify 0",
        "rebuilt 0",
        "intact",
    ];
    expect(&first, 0, &lines)?;
    let refused = first.log.matches("Operation not permitted").count();
    ensure!(refused == 3, "not refused: {refused}\n{}", first.log);

    let name = drive.debugfs("ls -p /store")?;
    let name = name.split('/').find(|name| name.ends_with(".sqsh"));
    let path = format!("/store/{}", name.context("the store has no artifact")?);
    let stat = drive.debugfs(&format!("stat {path}"))?;
    let value = |name: &str| {
        let rest = stat.split_once(name).map(|(_, rest)| rest);
        let value = rest.and_then(|rest| rest.split_whitespace().next());
        value.unwrap_or_default()
    };
    let flags = u64::from_str_radix(value("Flags: 0x"), 16)?;
    ensure!(flags & VERITY != 0, "the file has no fs-verity:\n{stat}");

    let blocks = drive.debugfs(&format!("blocks {path}"))?;
    let blocks: Vec<_> = blocks.split_whitespace().collect();
    // The kernel's hash tree follows the file. Its own record is its last block; without a superblock it is no artifact.
    let size: u64 = value("Size:").parse()?;
    let record = usize::try_from(size / BLOCK)?.checked_sub(1);
    let mut ended = first;
    for (number, found) in [
        (Some(9), "damaged in bytes 0 to 1048576"),
        (record, "refuses to read it, because of fs-verity"),
    ] {
        let place = number.and_then(|number| blocks.get(number));
        let at = place.context("no blocks")?.parse::<u64>()? * BLOCK + 100;
        let mut byte = [0];
        drive.0.read_exact_at(&mut byte, at)?;
        drive.0.write_all_at(&[byte[0] ^ 1], at)?;
        ended = run(
            "cat $a > /dev/null; ./hpcc-rootfs --cache-dir store verify; echo verify $?; pull --fs-verity on; echo pulled $?; \
             cmp store/*.sqsh copy && echo same; mv store/.bad-* $a; sync",
        )?;
        expect(&ended, 0, &["verify 1", "pulled 0", "same"])?;
        // The terminal is narrower than the lines.
        let words: Vec<_> = ended.log.split_whitespace().collect();
        let told = words.join(" ");
        for what in [found, "quarantined"] {
            ensure!(told.contains(what), "no {what}:\n{}", ended.log);
        }
        let refused = ended.log.lines().find(|line| line.starts_with("cat: "));
        ensure!(
            refused.is_some_and(|line| line.contains("Input/output error")),
            "a changed block was read:\n{}",
            ended.log
        );
        // The same file gets another changed block.
        drive.0.write_all_at(&byte, at)?;
    }
    Ok(ended)
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
