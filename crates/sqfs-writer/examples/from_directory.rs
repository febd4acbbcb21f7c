//! Writes a directory of the host into an image: `from_directory DIRECTORY OUT.sqsh`.
//!
//! Run it as root to read every file and every extended attribute.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the summary is what a user wants to see, or what went wrong"
)]

use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::process::ExitCode;

use sqfs_writer::{ImageWriter, Options};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [source, out] = arguments.as_slice() else {
        eprintln!("usage: from_directory DIRECTORY OUT.sqsh");
        return ExitCode::from(2);
    };
    match convert(Path::new(source), Path::new(out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&*error),
    }
}

/// Prints one line: what failed, and why.
fn report(error: &dyn Error) -> ExitCode {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    eprintln!("from_directory: {}", causes.join(": "));
    ExitCode::FAILURE
}

fn convert(source: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    // Before anything is created, because a directory that does not exist must not leave an image behind.
    let source =
        fs::canonicalize(source).map_err(|error| format!("{}: {error}", source.display()))?;
    let file = File::create(out).map_err(|error| format!("{}: {error}", out.display()))?;
    let out = fs::canonicalize(out)?;
    let mut image = ImageWriter::new(file, &Options::default())?;
    // The image may lie in the directory, and is no part of it.
    image.directory_from_with("", &source, |path, _| source.join(path) != out)?;
    let (file, summary) = image.finish()?;
    file.sync_all()?;
    println!("{summary:#?}");
    Ok(())
}
