//! Puts an image behind something else in the same file: `embed_at_offset HEAD OUT`.
//!
//! `HEAD` might be a boot loader, or a program that mounts what it carries. `OUT` must not exist. The image begins at the
//! next multiple of 4 KiB: `mount -t squashfs -o loop,offset=N OUT DIR` with the printed number.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the offset is the result, or what went wrong"
)]

use std::error::Error;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;
use std::process::ExitCode;

use sqfs_writer::{ImageWriter, Metadata, Options};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [head, out] = arguments.as_slice() else {
        eprintln!("usage: embed_at_offset HEAD OUT");
        return ExitCode::from(2);
    };
    match embed(Path::new(head), Path::new(out)) {
        Ok(offset) => {
            println!("{offset}");
            ExitCode::SUCCESS
        }
        Err(error) => report(&*error),
    }
}

/// Prints one line: what failed, and why.
fn report(error: &dyn Error) -> ExitCode {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    eprintln!("embed_at_offset: {}", causes.join(": "));
    ExitCode::FAILURE
}

/// Returns where the image begins.
fn embed(head: &Path, out: &Path) -> Result<u64, Box<dyn Error>> {
    let named = |path: &Path, error| format!("{}: {error}", path.display());
    let mut source = File::open(head).map_err(|error| named(head, error))?;
    // A file that exists may be HEAD under another name, and the copy would destroy it.
    let mut file = File::create_new(out).map_err(|error| named(out, error))?;
    let copied = io::copy(&mut source, &mut file)?;
    file.set_permissions(source.metadata()?.permissions())?;
    let offset = copied.next_multiple_of(4096);
    file.seek(SeekFrom::Start(offset))?;

    // The image begins where the file stands, and everything in it is counted from there.
    let mut image = ImageWriter::new(file, &Options::default())?;
    image.file("hello", Metadata::new(0o644), &b"from inside\n"[..])?;
    let (file, _) = image.finish()?;
    file.sync_all()?;
    Ok(offset)
}
