//! Boots an artifact whose agent is the example, and learns how its command ended.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hpcc_rootfs::BootOptions;

use crate::initramfs::Extras;
use crate::kernel::Kernel;
use crate::qemu::{Accel, CONSOLE, Machine};
use crate::{guest, initramfs};

/// The modules of what the example agent mounts: overlay, and a second drive.
const MODULES: [&str; 2] = ["overlay", "ext4"];

/// Nothing but the agent writes to the console: messages of the kernel would stand between those of the command.
const QUIET: &str = "quiet loglevel=1";

/// The words after `--` that a kernel takes.
const WORDS_MAX: usize = 32;

/// The last line of the agent, up to the exit code.
const EXIT: &str = "hpcc-agent: exit ";

/// A boot of an artifact.
#[derive(Debug)]
pub struct Boot<'a> {
    /// The artifact.
    pub artifact: &'a Path,
    /// Words for the agent.
    pub words: &'a str,
    /// The command, or none for the image's own.
    pub command: Option<&'a [String]>,
    /// The disk `/dev/vdb`.
    pub second: Option<&'a File>,
    /// Whether the console is shown while the machine runs.
    pub show: bool,
    /// Means by which the guest is executed.
    pub accel: Accel,
    /// Longest time until it ends.
    pub timeout: Duration,
    /// Modules of the kernel in addition to those of the example agent.
    pub modules: &'a [&'a str],
}

/// A machine that ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code that the agent reported, or none if it reported none.
    pub code: Option<u8>,
    /// Whether the machine was killed because its time was up.
    pub timed_out: bool,
    /// The console.
    pub log: String,
    /// Time that it took.
    pub took: Duration,
}

impl<'a> Boot<'a> {
    /// Returns a boot with the image's own command, under emulation.
    #[must_use]
    pub fn of(artifact: &'a Path) -> Self {
        Self {
            artifact,
            words: "",
            command: None,
            second: None,
            show: false,
            accel: Accel::Tcg,
            timeout: Duration::from_secs(300),
            modules: &[],
        }
    }

    /// Runs the machine until it ends, or its time is up.
    ///
    /// # Errors
    ///
    /// The machine cannot be started, or its command line is too long.
    pub fn run(&self) -> Result<Ended> {
        let guest = guest::build()?;
        let kernel = Kernel::get()?;
        let record = hpcc_rootfs::read_record(self.artifact)?;
        let modules = [&MODULES, self.modules].concat();
        let extras = Extras {
            modules: &modules,
            sealed: record.verity.is_some(),
        };
        let initramfs = initramfs::build(&kernel, &guest.init, extras)?;
        File::open(self.artifact)
            .with_context(|| format!("cannot read {}", self.artifact.display()))?;
        let root = hpcc_rootfs::boot_args(&record, &BootOptions::default())?;
        let command_line = self.command_line(&root);
        hpcc_rootfs::check_kernel_line(&command_line).context(
            "cannot pass this command; shorten it, or put it into a script in the image",
        )?;
        let machine = Machine {
            kernel: &kernel.image,
            initramfs: &initramfs,
            command_line: &command_line,
            root: self.artifact,
            second: self.second,
            disks: &[],
            show: self.show,
            accel: self.accel,
            timeout: self.timeout,
        };
        let run = machine.run()?;
        Ok(Ended {
            code: code(&run.log),
            timed_out: run.timed_out,
            log: run.log,
            took: run.took,
        })
    }

    fn command_line(&self, root: &str) -> String {
        let mut line = format!("{root} {CONSOLE} {QUIET}{}", self.accel.kernel_options());
        if !self.words.is_empty() {
            line.push(' ');
            line.push_str(self.words);
        }
        if let Some(command) = self.command {
            // The kernel panics at more words after the dashes. Words with a dot in their names are not counted.
            let (start, before) = match command.len() {
                ..=WORDS_MAX => (" --", " "),
                _ => ("", " hpcc.cmd="),
            };
            line.push_str(start);
            for word in command {
                line.push_str(before);
                line.push_str(&encoded(word));
            }
        }
        line
    }
}

/// Returns the exit code in the last line of the agent. The command may write such lines as well, but none after the
/// agent's.
fn code(log: &str) -> Option<u8> {
    let mut codes = log.lines().filter_map(|line| line.strip_prefix(EXIT));
    codes.next_back()?.trim_end().parse().ok()
}

/// Returns a word as the agent decodes it: `%` and two digits for every byte with a meaning for the kernel or the
/// agent.
fn encoded(word: &str) -> String {
    if word.is_empty() {
        return "\"\"".to_owned();
    }
    let mut text = String::new();
    for byte in word.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_./:=,+@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_encoded_for_the_line() {
        let command = ["sh", "-c", "echo \"a b\" 50%\n", ""].map(str::to_owned);
        let mut boot = Boot::of(Path::new("x"));
        boot.words = "hpcc.root=ro";
        boot.command = Some(&command);
        let line = boot.command_line("root=/dev/vda");
        let expected = " hpcc.root=ro -- sh -c echo%20%22a%20b%22%2050%25%0a \"\"";
        assert!(line.ends_with(expected), "{line}");
    }

    #[test]
    fn command_beyond_the_kernel_words_is_passed_by_option() {
        let mut words = vec!["w".to_owned(); WORDS_MAX];
        let line = |words: &[String]| {
            let mut boot = Boot::of(Path::new("x"));
            boot.command = Some(words);
            boot.command_line("root=/dev/vda")
        };
        assert!(line(&words).ends_with(&format!(" --{}", " w".repeat(WORDS_MAX))));
        words.push(String::new());
        let long = line(&words);
        assert!(!long.contains(" -- "), "{long}");
        assert!(long.ends_with(" hpcc.cmd=w hpcc.cmd=\"\""), "{long}");
        assert_eq!(hpcc_rootfs::check_kernel_line(&long), Ok(()));
    }

    #[test]
    fn last_exit_line_counts() {
        assert_eq!(
            code("x\nhpcc-agent: exit 0\n\nhpcc-agent: exit 7\n"),
            Some(7)
        );
        assert_eq!(code("hpcc-agent: exit 256\n"), None);
        assert_eq!(code("Kernel panic\n"), None);
    }
}
