//! Running other programs.

use std::io::{ErrorKind, Read, Write, pipe};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs `command` in silence and returns what it wrote to its standard output.
///
/// A failure shows all that it wrote to its standard error; a program that is not there, how to get it.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| not_started(command))?;
    if !output.status.success() {
        bail!(
            "{}: {}\n{}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Result of a program whose output was shown.
pub(crate) struct Shown {
    /// Its exit status was 0.
    pub(crate) success: bool,
    /// All that it wrote, standard output and error together.
    pub(crate) output: String,
}

/// Runs `command` and shows what it writes, as it writes it.
pub(crate) fn show(command: &mut Command) -> Result<Shown> {
    println!("$ {}", shown(command));
    let (mut reader, writer) = pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    // Its colors would stand between the numbers and the code that counts them.
    command.env("CARGO_TERM_COLOR", "never");
    let mut child = command.spawn().with_context(|| not_started(command))?;
    // The command holds the pipe's writing end; while it does, the pipe has no end.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let mut output = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                std::io::stdout().write_all(bytes)?;
                std::io::stdout().flush()?;
                output.extend_from_slice(bytes);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let success = child.wait()?.success();
    Ok(Shown {
        success,
        output: String::from_utf8_lossy(&output).into_owned(),
    })
}

/// Returns whether `command` runs and succeeds, for questions such as whether a tool is there.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// `command` as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn not_started(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    format!("cannot run {program} (`cargo xtask packages` installs what is missing)")
}
