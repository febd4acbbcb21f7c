//! Second drives of machines that were switched off while they wrote.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Error, Result, bail, ensure};
use test_support::real_image;

use super::agent::{boot, expect, pulled};
use crate::boot::Ended;
use crate::{command, qemu};

/// Leaves files that are complete, files of which the journal alone knows, and an orphan, and switches the machine off
/// while a process writes.
const CUT_OFF: &str = "seq 100000 > kept; mkdir many; for n in $(seq 200); do echo $n > many/$n; done; exec 9> orphan; seq 9999 >&9; rm orphan; \
    sync; (while :; do seq 5000 > busy; mv busy busier; done) & sleep 1; rm -r many/1*; echo b > /proc/sysrq-trigger; sleep 60";

/// Boots an image whose root is on the drive, and the same again after it was cut off. Does the same with a drive that
/// holds other files, which must stay what they are.
pub(super) fn cut_off(directory: &Path) -> Result<Ended> {
    let image = real_image::small().map_err(Error::msg)?;
    let Some(image) = image else {
        bail!("this user cannot build real images");
    };
    let artifact = pulled(directory, image.layout(), &[], Vec::new())?;
    let run = |drive: &Drive, words: &'static str, script: String| {
        let command = ["-c".to_owned(), script];
        let mut boot = boot(&artifact);
        boot.words = words;
        boot.command = Some(&command);
        boot.second = Some(&drive.0);
        boot.run()
    };

    let own = Drive::formatted(&[])?;
    let first = run(&own, "", format!("cd /srv; {CUT_OFF}"))?;
    ensure!(first.code.is_none(), "not cut off:\n{}", first.log);
    own.must_be_dirty()?;
    let check = "cd /srv; tail -n 1 kept; ls many/200; ls orphan; echo more > more; grep -c ' / overlay' /proc/mounts";
    let second = run(&own, "", check.to_owned())?;
    let lines = [
        "100000",
        "many/200",
        "ls: cannot access 'orphan': No such file or directory",
        "1",
    ];
    expect(&second, 0, &lines)?;
    own.must_be_intact()?;

    let other = Drive::formatted(&[])?;
    let mount = "mkdir /run/d; mount -t ext4 /dev/vdb /run/d; cd /run/d";
    let first = run(&other, "hpcc.disk=none", format!("{mount}; {CUT_OFF}"))?;
    ensure!(first.code.is_none(), "not cut off:\n{}", first.log);
    other.must_be_dirty()?;
    let second = run(&other, "", "echo more > /more".to_owned())?;
    let line = "hpcc-agent: warning: /dev/vdb is not used for the root: it holds other files";
    expect(&second, 0, &[line])?;
    // The look has replayed the journal.
    let features = other.debugfs("features")?;
    ensure!(!features.contains("needs_recovery"), "{features}");
    other.must_be_intact()?;
    let kept = other.debugfs("cat /kept")?;
    ensure!(
        kept.lines().count() == 100_000,
        "/kept of another's drive has {} bytes",
        kept.len()
    );
    let listing = other.debugfs("ls -p /")?;
    ensure!(!listing.contains("hpcc-root"), "{listing}");
    Ok(second)
}

/// An ext4 in a file without a name.
pub(super) struct Drive(pub(super) File);

impl Drive {
    pub(super) fn formatted(options: &[&str]) -> Result<Self> {
        let drive = Self(qemu::empty_disk(256 << 20)?);
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F", "-b", "4096"]).args(options);
        command::output(mkfs.arg(drive.path()))?;
        Ok(drive)
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    pub(super) fn debugfs(&self, request: &str) -> Result<String> {
        command::output(Command::new("debugfs").args(["-R", request, &self.path()]))
    }

    /// Fails unless a journal has to be replayed, so that the next boot shows something.
    fn must_be_dirty(&self) -> Result<()> {
        let features = self.debugfs("features")?;
        ensure!(features.contains("needs_recovery"), "{features}");
        Ok(())
    }

    /// Fails if anything but a journal is left to do. The drive of a root cannot be unmounted before the machine ends.
    fn must_be_intact(&self) -> Result<()> {
        for arguments in [&["-p", "-E", "journal_only"][..], &["-f", "-n"]] {
            command::output(Command::new("e2fsck").args(arguments).arg(self.path()))?;
        }
        Ok(())
    }
}
