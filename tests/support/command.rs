//! Runs other people's programs, and says everything when they fail.

use std::process::{Command, Output};

use crate::{Failure, Result};

/// Runs to the end and gives what was printed on stdout; anything but exit 0 is a failure that
/// carries the command line and both outputs.
pub(crate) fn run(command: &mut Command) -> Result<Vec<u8>> {
    let line = describe(command);
    let output = command.output().map_err(Failure::when(format!(
        "cannot start `{line}` (is its Debian package installed?)"
    )))?;
    checked(&line, output)
}

/// Returns the same as text, for programs that print nothing else.
pub(crate) fn run_text(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&run(command)?).into_owned())
}

fn checked(line: &str, output: Output) -> Result<Vec<u8>> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Failure::new(format!(
        "`{line}` failed with {}\nstdout: {}\nstderr: {}",
        output.status,
        tail(&output.stdout),
        tail(&output.stderr),
    )))
}

/// Returns the last part of an output: what explains a failure stands at its end.
fn tail(bytes: &[u8]) -> String {
    const KEPT: usize = 4000;
    let start = bytes.len().saturating_sub(KEPT);
    String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned()
}

fn describe(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
