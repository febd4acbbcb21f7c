//! The contenders, and their commands.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Course;
use super::served::Served;

/// A way to make an image.
pub(super) struct Contender {
    /// As it stands in the table.
    pub(super) name: &'static str,
    /// The commands, one after the other, with a scratch directory of their own.
    pub(super) steps: fn(&Course, &Path, &Path) -> Vec<Command>,
    /// Where the image is afterwards.
    pub(super) image: fn(&Course, &Path, &Path) -> PathBuf,
    /// The floor makes none.
    pub(super) makes_image: bool,
    /// Whether its image holds all that was put in, which is checked then.
    pub(super) complete: bool,
    /// Paths in its image that are not the container image's.
    pub(super) own: &'static [&'static str],
}

/// Where an image is that was asked for by its path.
fn as_asked(_: &Course, _: &Path, output: &Path) -> PathBuf {
    output.to_owned()
}

/// From a registry.
pub(super) const PULLS: &[Contender] = &[
    Contender {
        name: "the floor, computing only",
        steps: |course, scratch, _| {
            let mut floor = Command::new(&course.floor);
            floor.arg(course.registry.addr().to_string());
            floor
                .args([Served::NAME, &course.digest])
                .current_dir(scratch);
            vec![floor]
        },
        image: as_asked,
        makes_image: false,
        complete: false,
        own: &[],
    },
    Contender {
        name: "hpcc-rootfs pull",
        steps: |course, scratch, _| {
            let mut pull = Command::new(&course.program);
            pull.args([
                "pull",
                "--quiet",
                &course.reference,
                "--digest",
                &course.digest,
            ])
            .arg("--agent")
            .arg(&course.agent)
            .arg("--cache-dir")
            .arg(scratch);
            vec![pull]
        },
        image: |course, scratch, _| {
            scratch.join(format!("{}.sqsh", course.digest.replace(':', "-")))
        },
        makes_image: true,
        complete: true,
        own: &["/.hpcc"],
    },
    Contender {
        name: "skopeo copy, umoci unpack, mksquashfs",
        steps: |course, scratch, output| {
            let layout = format!("oci:{}/layout:latest", scratch.display());
            let mut copy = Command::new("skopeo");
            copy.args(["copy", "--quiet", "--src-tls-verify=false"])
                .arg(format!("docker://{}", course.reference))
                .arg(layout);
            let mut unpack = Command::new("umoci");
            unpack
                .args(["unpack", "--image"])
                .arg(format!("{}/layout:latest", scratch.display()))
                .arg(scratch.join("bundle"));
            let mut pack = Command::new("mksquashfs");
            pack.arg(scratch.join("bundle/rootfs"))
                .arg(output)
                .args(PACK);
            vec![copy, unpack, pack]
        },
        image: as_asked,
        makes_image: true,
        complete: true,
        own: &[],
    },
];

/// Options of mksquashfs: the same settings as for all contenders, without output.
const PACK: [&str; 9] = [
    "-comp",
    "zstd",
    "-Xcompression-level",
    "3",
    "-b",
    "128K",
    "-noappend",
    "-no-progress",
    "-quiet",
];

/// Runs this project's `tar2sqfs` with `threads` threads and, like the others by default, without a table for exports.
fn tar2sqfs(course: &Course, output: &Path, threads: &str) -> Vec<Command> {
    vec![piped(
        &course.tar,
        &format!(
            "{} {} --compressor zstd --level 3 --no-export --threads {threads}",
            course.tar2sqfs.display(),
            output.display()
        ),
    )]
}

/// Returns a shell's `COMMAND < FILE > /dev/null`.
fn piped(input: &Path, line: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        &format!("exec {line} < {} > /dev/null", input.display()),
    ]);
    shell
}

/// From a tar.
pub(super) const WRITERS: &[Contender] = &[
    Contender {
        name: "sqfs-writer, one thread",
        steps: |course, _, output| tar2sqfs(course, output, "1"),
        image: as_asked,
        makes_image: true,
        complete: true,
        own: &[],
    },
    Contender {
        name: "sqfs-writer, two threads",
        steps: |course, _, output| tar2sqfs(course, output, "2"),
        image: as_asked,
        makes_image: true,
        complete: true,
        own: &[],
    },
    Contender {
        name: "tar2sqfs",
        steps: |course, _, output| {
            let line = format!(
                "tar2sqfs -q -f -c zstd -X level=3 -b 128K {}",
                output.display()
            );
            vec![piped(&course.tar, &line)]
        },
        image: as_asked,
        makes_image: true,
        complete: true,
        own: &[],
    },
    Contender {
        name: "mksquashfs -tar",
        steps: |course, _, output| {
            let line = format!(
                "mksquashfs - {} -tar -root-mode 0755 {}",
                output.display(),
                PACK.join(" ")
            );
            vec![piped(&course.tar, &line)]
        },
        image: as_asked,
        makes_image: true,
        complete: true,
        own: &[],
    },
    Contender {
        name: "backhand (no xattrs, no hard links)",
        steps: |course, _, output| {
            let mut backhand = Command::new(&course.backhand);
            backhand.arg(&course.tar).arg(output);
            vec![backhand]
        },
        image: as_asked,
        makes_image: true,
        complete: false,
        own: &[],
    },
];
