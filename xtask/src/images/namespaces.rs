//! Hostile images and commands for the example agent, all in one boot.
//!
//! A script in a Debian guest starts the agent as PID 1 of one PID namespace after another. A machine per case would
//! take minutes under emulation.

use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};
use hpcc_rootfs::Injection;
use test_support::real_image;

use super::agent;
use crate::boot::Ended;
use crate::guest;

/// A case of the script, how the agent must report its end, and what begins lines of its section.
struct Case {
    name: &'static str,
    code: u8,
    lines: &'static [&'static str],
}

const fn case(name: &'static str, code: u8, lines: &'static [&'static str]) -> Case {
    Case { name, code, lines }
}

/// `/etc` is a symlink, and the files below `/.hpcc` stay what they are.
const fn linked(name: &'static str) -> Case {
    case(
        name,
        0,
        &[
            "hpcc-agent: warning: /etc/hosts stays as the image has it: /etc of the image is a symlink",
            "hpcc-agent: warning: /etc/hostname stays as the image has it: /etc of the image is a symlink",
            "witness: /.hpcc/hosts: injected\\n",
            "witness: /.hpcc/hostname: injected\\n",
        ],
    )
}

const CASES: [Case; 32] = [
    linked("etc -> .hpcc"),
    linked("etc -> /.hpcc"),
    linked("etc -> ../../.hpcc"),
    linked("etc -> /proc/sys/kernel"),
    linked("etc -> /proc/self/root/.hpcc"),
    linked("etc -> /run"),
    linked("etc -> /dev"),
    case(
        "etc is a file",
        0,
        &[
            "hpcc-agent: warning: /etc/hosts stays as the image has it: /etc of the image is not a directory",
            "witness: /etc: file\\n",
        ],
    ),
    case(
        "etc has no regular files",
        0,
        &[
            "hpcc-agent: warning: /etc/hostname stays as the image has it: cannot mount over it, because it is not",
            "hpcc-agent: warning: /etc/hosts stays as the image has it: cannot mount over it, because it is not",
            "hpcc-agent: warning: /etc/resolv.conf stays as the image has it: cannot mount over it, because it is not",
            "witness: /.hpcc/resolv.conf: injected\\n",
        ],
    ),
    case(
        "etc has regular files",
        0,
        &[
            "witness: /etc/hosts: 127.0.0.1 localhost\\n",
            "witness: /etc/hostname: vm-9\\n",
            "witness: /etc/resolv.conf: nameserver 10.0.0.9\\n",
        ],
    ),
    case(
        "etc -> .hpcc below an overlay",
        0,
        &[
            "hpcc-agent: warning: /etc/hosts stays as the image has it: /etc of the image is a symlink",
            "witness: /.hpcc/hosts: injected\\n",
        ],
    ),
    case(
        "twenty thousand groups",
        0,
        &["witness: groups: 20001 8 2000020000"],
    ),
    case(
        "more groups than Linux has",
        125,
        &["hpcc-agent: error: user \"app\" has 65537 groups"],
    ),
    case(
        "no such user",
        125,
        &[
            "hpcc-agent: error: user \"app\" of the image is neither a number nor in its /etc/passwd",
        ],
    ),
    case(
        "passwd is a device",
        125,
        &["hpcc-agent: error: cannot read /etc/passwd of the image: not a regular file"],
    ),
    case("passwd -> /proc/kmsg", 0, &["witness: groups: 1 0 0"]),
    case(
        "command does not exist",
        127,
        &["hpcc-agent: error: nothing was not found in PATH (/usr/local/sbin:"],
    ),
    case(
        "command is not executable",
        126,
        &["hpcc-agent: error: cannot execute /etc/file: Permission denied"],
    ),
    case(
        "command is for another machine",
        126,
        &["hpcc-agent: error: cannot execute /etc/file: Exec format error"],
    ),
    case("command is relative to the working directory", 3, &[]),
    // just-containers/s6-overlay#634: it can only run as process 1.
    case(
        "command is process 1 of its own namespace",
        0,
        &["witness: numbers: 1 0 1"],
    ),
    case("command dies of a signal", 128 + 9, &[]),
    case(
        "command is traced when it ends",
        7,
        &["witness: tracer: traces"],
    ),
    case(
        "command of forty words",
        0,
        &["witness: words: 40 1 2 3 4 5 6 7 8 9 w10 w11 "],
    ),
    case("status by vsock", 5, &[]),
    case(
        "wrong word, and standard streams that lead nowhere",
        125,
        &["hpcc-agent: error: hpcc.rooot=ro on the kernel command line is unknown to this agent"],
    ),
    case(
        "wrong word, /dev is a symlink, and the image names another console",
        125,
        &["hpcc-agent: error: hpcc.rooot=ro on the kernel command line is unknown to this agent"],
    ),
    case("console nonblocking", 7, &[]),
    case("console stopped", 7, &[]),
    case("console slow", 7, &[]),
    case("console raw", 7, &[]),
    case("console flood", 7, &[]),
];

/// The last one, because it takes `/dev/console` away from all.
const LAST: Case = case("console replaced", 7, &[]);

/// Follows the exit line.
const UNHEARD: &str = "hpcc-agent: warning: cannot send the exit code to port 1235 of the host: ";

pub(super) fn boot(directory: &Path) -> Result<Ended> {
    let image = real_image::small()
        .map_err(Error::msg)?
        .context("this user cannot build real images")?;
    let script = directory.join("cases");
    std::fs::write(&script, include_str!("namespaces.sh"))?;
    let executable = |host: PathBuf, guest: &str| {
        let mut injection = Injection::new(host, guest);
        injection.mode = 0o755;
        injection
    };
    let injections = vec![
        executable(script, "/.hpcc/cases"),
        executable(guest::build()?.witness, "/.hpcc/witness"),
    ];
    let artifact = agent::pulled(directory, image.layout(), &[], injections)?;
    let mut boot = agent::boot(&artifact);
    boot.words = "hpcc.root=ro hpcc.entrypoint=/.hpcc/cases";
    boot.modules = &["vsock_loopback"];
    let ended = boot.run()?;
    let mut wrong: Vec<_> = CASES
        .iter()
        .chain([&LAST])
        .flat_map(|case| case.wrong(&ended.log))
        .collect();
    for line in [
        "witness: vsock: exit 5\\n",
        "witness: vsock: exit 125\\n",
        UNHEARD,
    ] {
        if !ended.log.lines().any(|found| found.starts_with(line)) {
            wrong.push(format!("no line begins with {line:?}"));
        }
    }
    if wrong.is_empty() && ended.code == Some(0) {
        return Ok(ended);
    }
    bail!(
        "{}\nexit code {:?}, timed out: {}\n--- console ---\n{}\n--- end of console ---",
        wrong.join("\n"),
        ended.code,
        ended.timed_out,
        ended.log.trim_end()
    )
}

impl Case {
    /// Returns what is wrong in the section of this case.
    fn wrong(&self, log: &str) -> Vec<String> {
        let Self { name, code, lines } = self;
        let begin = format!("\ncase {name}\n");
        let Some((_, section)) = log.split_once(&begin) else {
            return vec![format!("{name}: did not begin")];
        };
        let section = section.split("\ncase ").next().unwrap_or_default();
        let section = section.split("\ncases: end").next().unwrap_or_default();
        let mut wrong = Vec::new();
        // The command may have written such lines as well, but none after the agent's.
        let last = section.lines().rfind(|line| !line.is_empty());
        if last != Some(&*format!("hpcc-agent: exit {code}")) {
            wrong.push(format!(
                "{name}: exit code {code} expected, the last line is {last:?}"
            ));
        }
        for line in *lines {
            if !section.lines().any(|found| found.starts_with(line)) {
                wrong.push(format!("{name}: no line begins with {line:?}"));
            }
        }
        wrong
    }
}
