//! Boots an image and compares what its guest sees with what an oracle says.

use std::fmt;
use std::fs::File;
use std::io::Seek;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hpcc_probe::{Evidence, MOUNTS_HELD, Report, images};
use hpcc_rootfs::BootOptions;
use test_support::contract;
use tree_listing::{DiffOptions, Kind, Listing, Sha256, diff};

use crate::disk::{Attached, Disk};
use crate::initramfs::Extras;
use crate::kernel::Kernel;
use crate::qemu::{Accel, CONSOLE, Machine, Run};
use crate::{guest, initramfs, qemu};

/// Room for the report of a million entries. It takes what is written to it, no more.
const REPORT_SIZE: u64 = 512 << 20;

/// Lines of a kernel's log that no good image causes, whatever the report says.
const COMPLAINTS: [&str; 5] = [
    "Kernel panic",
    "SQUASHFS error",
    "I/O error",
    "Oops:",
    "BUG:",
];

/// Number of differences that are shown one by one. A shifted tree has as many as it has entries.
const DIFFERENCES_SHOWN: usize = 50;

/// Options of a verification.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Means by which the guest is executed.
    pub accel: Accel,
    /// Longest time from power on to power off.
    pub timeout: Duration,
    /// Differences that the comparison leaves out, in addition to what the guest contract adds to an image.
    pub diff: DiffOptions,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            accel: Accel::Tcg,
            timeout: Duration::from_secs(300),
            diff: DiffOptions::default(),
        }
    }
}

/// An image that is as it should be.
#[derive(Debug)]
#[must_use = "it says how much was compared"]
pub struct Verified {
    /// Report of the guest.
    pub report: Report,
    /// The kernel's log.
    pub log: String,
    /// Time that the machine ran.
    pub took: Duration,
}

/// An image that is not. Shown with the kernel's log below the reasons.
#[derive(Debug)]
pub struct Failure {
    /// Reasons, one line each.
    pub reasons: Vec<String>,
    /// The kernel's log.
    pub log: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reasons, log } = self;
        for reason in reasons {
            writeln!(f, "{reason}")?;
        }
        write!(
            f,
            "--- kernel log ---\n{}\n--- end of kernel log ---",
            log.trim_end()
        )
    }
}

impl std::error::Error for Failure {}

/// Boots `image` by the guest contract and compares the root that its guest reports with `expected`.
///
/// `expected` is the image's contents as an independent tool sees them: a tree that this tool unpacked. The image's
/// agent has to be the probe of [`guest::build`]; `/.hpcc` and mount points that this project adds are expected as the
/// contract says.
///
/// # Errors
///
/// A [`Failure`] if anything differs, the kernel complains, or time is up; other errors if the machine cannot be started.
pub fn verify(image: &Path, expected: &Listing, options: &VerifyOptions) -> Result<Verified> {
    verify_beside(image, expected, &[], options)
}

/// Boots `image` as [`verify`](fn@verify) does, and has its guest mount and read the images of `disks` as well.
///
/// # Errors
///
/// As [`verify`](fn@verify). What is wrong with an image of `disks` begins with its name.
pub fn verify_beside(
    image: &Path,
    expected: &Listing,
    disks: &[Disk],
    options: &VerifyOptions,
) -> Result<Verified> {
    let guest = guest::build()?;
    let kernel = Kernel::get()?;
    // An image of another writer has no record, and is not sealed.
    let record = hpcc_rootfs::read_record(image).ok();
    let sealed = record.filter(|record| record.verity.is_some());
    let extras = Extras {
        sealed: sealed.is_some(),
        ..Extras::default()
    };
    let root = match &sealed {
        Some(record) => hpcc_rootfs::boot_args(record, &BootOptions::default())?,
        None => contract::BOOT.to_owned(),
    };
    let initramfs = initramfs::build(&kernel, &guest.init, extras)?;
    let agent = agent_digest(&guest.probe)?;
    File::open(image).with_context(|| format!("cannot read {}", image.display()))?;
    let command_line = format!("{root} {CONSOLE}{}", options.accel.kernel_options());
    let files = disks.iter().map(Disk::seal).collect::<Result<Vec<_>>>()?;
    let disk = qemu::empty_disk(REPORT_SIZE)?;
    let machine = Machine {
        kernel: &kernel.image,
        initramfs: &initramfs,
        command_line: &command_line,
        root: image,
        second: Some(&disk),
        disks: &files,
        show: false,
        accel: options.accel,
        timeout: options.timeout,
    };
    let run = machine.run()?;
    let took = run.took;
    let (reasons, report) = judge(&run, &disk, options.timeout, |report| {
        let mut reasons = wrong_evidence(&report.evidence, &command_line);
        reasons.extend(contract::wrong_agent(&report.listing, agent));
        reasons.extend(seen_by_guest(expected, &report.listing, &options.diff));
        for (disk, letter) in disks.iter().zip('c'..) {
            for (attached, number) in disk.images().iter().zip(1..) {
                let partition = format!("vd{letter}{number}");
                let wrong = wrong_image(&report.evidence, &partition, attached, agent);
                reasons.extend(
                    wrong
                        .into_iter()
                        .map(|reason| format!("{}: {reason}", attached.name)),
                );
            }
        }
        reasons
    });
    match report {
        Some(report) if reasons.is_empty() => Ok(Verified {
            report,
            log: run.log,
            took,
        }),
        _ => Err(Failure {
            reasons,
            log: run.log,
        }
        .into()),
    }
}

/// Returns all that is wrong with a run. No report without at least one reason.
fn judge(
    run: &Run,
    disk: &File,
    timeout: Duration,
    check: impl FnOnce(&Report) -> Vec<String>,
) -> (Vec<String>, Option<Report>) {
    let mut reasons = Vec::new();
    if run.timed_out {
        reasons.push(format!(
            "the guest was killed: it had not finished within {} s",
            timeout.as_secs_f32()
        ));
    }
    for complaint in COMPLAINTS {
        let mut lines = run.log.lines().filter(|line| line.contains(complaint));
        reasons.extend(
            lines
                .next()
                .map(|line| format!("the kernel says: {}", line.trim())),
        );
    }
    match rewound(disk).map_err(Into::into).and_then(Report::decode) {
        Ok(report) => {
            reasons.extend(check(&report));
            (reasons, Some(report))
        }
        Err(damage) => {
            reasons.push(damage.to_string());
            let said = run
                .log
                .lines()
                .filter(|line| line.contains("hpcc-init: ") || line.contains("hpcc-probe: "));
            reasons.extend(said.map(|line| format!("the guest says: {}", line.trim())));
            (reasons, None)
        }
    }
}

fn rewound(mut file: &File) -> std::io::Result<&File> {
    file.rewind()?;
    Ok(file)
}

/// That the image really was booted as its contract says, and could not have been written to.
fn wrong_evidence(evidence: &Evidence, command_line: &str) -> Vec<String> {
    let facts = [
        ("pid", "1"),
        // SQUASHFS_MAGIC of linux/magic.h.
        ("root-type", "0x73717368"),
        ("root-mount", "ro"),
        ("write-to-root", "read-only filesystem or storage medium"),
        ("command-line", command_line),
        ("mounts", MOUNTS_HELD),
    ];
    let wrong = |(name, expected): (&str, &str)| {
        let found = evidence
            .get(name)
            .map(|value| String::from_utf8_lossy(value));
        let differs = found.as_deref() != Some(expected);
        differs.then(|| {
            format!(
                "guest: {name}: {expected} expected, {} found",
                found.as_deref().unwrap_or("nothing")
            )
        })
    };
    facts.into_iter().filter_map(wrong).collect()
}

/// Says what is wrong with an image that is not the root.
fn wrong_image(
    evidence: &Evidence,
    partition: &str,
    attached: &Attached,
    agent: Sha256,
) -> Vec<String> {
    let get = |name: String| evidence.get(&name).map(Vec::as_slice);
    let mut reasons = Vec::new();
    match get(images::bytes_of(partition)) {
        None => return vec!["the guest has no such partition".to_owned()],
        Some(bytes) if bytes != attached.bytes.as_bytes() => {
            reasons.push("its bytes are not those that were written".to_owned());
        }
        Some(_) => {}
    }
    if let Some(error) = get(images::error_of(partition)) {
        reasons.push(String::from_utf8_lossy(error).into_owned());
    }
    match get(images::listing_of(partition)).map(Listing::parse) {
        None if reasons.is_empty() => reasons.push("the guest says nothing of it".to_owned()),
        None => {}
        Some(Err(error)) => reasons.push(error.to_string()),
        Some(Ok(found)) if attached.bootable => {
            reasons.extend(contract::wrong_agent(&found, agent));
            let options = DiffOptions::default();
            reasons.extend(seen_by_guest(&attached.expected, &found, &options));
        }
        Some(Ok(found)) => {
            reasons.extend(differences(
                &attached.expected,
                &found,
                &DiffOptions::default(),
            ));
        }
    }
    reasons
}

/// Returns the differences of an artifact to what its image ships.
fn seen_by_guest(expected: &Listing, found: &Listing, options: &DiffOptions) -> Vec<String> {
    let (mut expected, mut options) = (expected.clone(), options.clone());
    contract::expect_guest(&mut expected, &mut options);
    differences(&expected, found, &options)
}

fn differences(expected: &Listing, found: &Listing, options: &DiffOptions) -> Vec<String> {
    let differences = diff(expected, found, options);
    let mut lines: Vec<String> = differences
        .iter()
        .take(DIFFERENCES_SHOWN)
        .map(ToString::to_string)
        .collect();
    if differences.len() > lines.len() {
        lines.push(format!(
            "and {} more differences",
            differences.len() - lines.len()
        ));
    }
    lines
}

/// By the one function that also runs in the guest.
fn agent_digest(probe: &Path) -> Result<Sha256> {
    let listing =
        Listing::walk(probe).with_context(|| format!("cannot read {}", probe.display()))?;
    match listing
        .entries
        .get(b"/".as_slice())
        .map(|entry| &entry.kind)
    {
        Some(Kind::File { sha256 }) => Ok(*sha256),
        _ => anyhow::bail!("{} is no file", probe.display()),
    }
}
