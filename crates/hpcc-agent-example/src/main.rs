//! An example of an agent: a small PID 1 that runs the command of its image.
//!
//! `docs/guest.md` lists what an agent may rely on and what it has to do. This program does all of it once, in the
//! order of [`run`], and is short enough to be copied and changed. Its options are on the kernel command line
//! ([`mod@line`]). It is one program in two roles:
//!
//! - As PID 1 it mounts, writes the files of the network, starts the command, forwards signals, reaps processes, reports
//!   the exit code and switches the machine off.
//! - With `--launch` it is the process that becomes the command: PID 1 starts it, and it takes on the user, enters the
//!   working directory and executes the command. That needs its own process, because PID 1 stays root.
//!
//! The last line that it writes to the console is `hpcc-agent: exit CODE`. The code is that of the command, 128 and
//! the number of the signal that ended it, or one of [`launch`]'s and [`FAILED`].

#![forbid(unsafe_code)]

mod command;
mod console;
mod copy_up;
mod disk;
mod etc;
mod image;
mod launch;
mod line;
mod loopback;
mod mounts;
mod name;
mod pids;
mod status;
mod stop;
mod supervise;
mod sysctl;
mod terminal;
mod upper;
mod users;

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, Stdio};

use rustix::process::Pid;
use rustix::system::{RebootCommand, reboot};

use image::Image;
use line::{End, Line};
use status::Report;
use supervise::{Ended, Supervisor};

/// The exit code of a command that could not be started, for a reason outside the command.
const FAILED: u8 = 125;

/// The exit code of a command that was killed and never ended: 128 and the number of `SIGKILL`.
const KILLED: u8 = 137;

/// The file name under which the image holds this program, for messages.
const NAME: &str = "hpcc-agent";

fn main() -> ExitCode {
    if std::process::id() != 1 || pids::is_nested() {
        let mut arguments = std::env::args_os().skip(1);
        if arguments.next().is_some_and(|role| role == launch::ROLE) {
            return ExitCode::from(launch::run(arguments));
        }
        // Started by mistake, it would mount over the host's directories and switch the host off.
        say("runs as PID 1 of a virtual machine only");
        return ExitCode::FAILURE;
    }
    // Until the line is known: a machine without a power switch would halt at a power-off, and never end.
    let (mut end, mut report) = (End::Restart, Report::default());
    // The kernel panics when PID 1 panics, and then neither the host learns the exit code nor a drive is synced.
    let ended = catch_unwind(AssertUnwindSafe(|| run(&mut end, &mut report)));
    let ended = ended.unwrap_or_else(|_| Err("this agent panicked".to_owned()));
    let ended = ended.unwrap_or_else(|error| {
        say(&format!("error: {error}"));
        Ended::Code(FAILED)
    });
    let code = match ended {
        Ended::Code(code) => {
            supervise::kill_everything(None);
            code
        }
        Ended::Left(main) => supervise::kill_everything(Some(main)).unwrap_or(KILLED),
    };
    terminal::finish();
    // The command may have left its last line without an end.
    console::finish(&format!("\n{NAME}: exit {code}\n"));
    report.send(code);
    rustix::fs::sync();
    let (first, second) = match end {
        End::PowerOff => (RebootCommand::PowerOff, RebootCommand::Restart),
        End::Restart => (RebootCommand::Restart, RebootCommand::PowerOff),
    };
    for command in [first, second] {
        if let Err(error) = reboot(command) {
            say(&format!("error: cannot end the machine: {error}"));
        }
    }
    // The kernel panics when PID 1 exits, which ends a machine with `panic=` on its line.
    ExitCode::FAILURE
}

/// Reads how the machine ends and the port for its exit code, so that every later failure can be seen, and does the work.
fn run(end: &mut End, report: &mut Report) -> Result<Ended, String> {
    mounts::early()?;
    *end = End::of_machine();
    *report = Report::of_machine();
    work(report).inspect_err(|_| console::open_unless_open())
}

/// Sets the machine up, runs the command, and returns how it ended.
fn work(report: &mut Report) -> Result<Ended, String> {
    let line = Line::read()?;
    // Before the root can be written to, so that files that a tenant left on a second drive do not come first.
    let image = Image::read()?;
    let own = etc::OwnFiles::read()?;
    let before = mounts::identity()?;
    let writable = mounts::root(&line, &image.manifest)?;
    mounts::all()?;
    unchanged(before)?;
    console::open_both()?;
    if let Err(error) = loopback::up() {
        say(&format!(
            "warning: cannot enable the loopback device: {error}"
        ));
    }
    sysctl::set();
    let hostname = etc::install(&line, &own, writable)?;
    unchanged(before)?;

    let argv = command::argv(&image, &line)?;
    let account = users::of(line.user.as_deref().unwrap_or(&image.config.user))?;
    let environment = command::environment(&image, &line, &account.home, &hostname);
    let directory = line
        .directory
        .as_deref()
        .unwrap_or_else(|| image.directory());
    let stop_signal = stop::signal(&image.config.stop_signal).unwrap_or_else(|error| {
        say(&format!("warning: {error}; SIGTERM is used"));
        rustix::process::Signal::TERM
    });

    // Before the command starts, so that neither its end nor a request to stop is missed.
    let supervisor = Supervisor::new(line.stop_timeout)?;
    // Ctrl-Alt-Del of the host, which is how Firecracker asks a guest to stop, is then a SIGINT to PID 1.
    if let Err(error) = reboot(RebootCommand::CadOff) {
        say(&format!("warning: cannot handle Ctrl-Alt-Del: {error}"));
    }
    report.connect();
    let terminal = terminal::open()?;
    let output = terminal
        .try_clone()
        .map_err(|error| format!("cannot share the terminal of the command: {error}"))?;
    let mut launch = Command::new("/proc/self/exe");
    launch
        .args(launch::arguments(&account, directory, &argv))
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(terminal);
    let child = match line.own_pids {
        true => pids::spawn(&mut launch),
        false => launch.spawn(),
    };
    let child = child.map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => {
                "the command, its environment or its directory has a zero byte in it".to_owned()
            }
            ErrorKind::ArgumentListTooLong => {
                "the command and its environment are too long: Linux takes 128 KiB for each word or variable, and a quarter \
                 of the stack limit, usually 2 MiB, for all of them"
                    .to_owned()
            }
            _ => format!("cannot start a process: {error}"),
        })?;
    let main = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let main = main.ok_or("the kernel gave a process no number")?;
    Ok(supervisor.supervise(main, stop_signal))
}

/// Returns an error unless `/.hpcc` is still the directory from before anything was mounted.
fn unchanged(before: mounts::Identity) -> Result<(), String> {
    // A drive can hide what a mount needs.
    if mounts::identity().is_ok_and(|now| now == before) {
        return Ok(());
    }
    Err(
        "/.hpcc is another directory after the mounts than before; if a second drive holds the root, empty it"
            .to_owned(),
    )
}

/// Writes a line to the console, after the name of this program.
fn say(text: &str) {
    console::say(&format!("{NAME}: {text}\n"));
}
