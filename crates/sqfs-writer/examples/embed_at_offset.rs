//! Puts an image behind something else in the same file: `embed_at_offset HEAD OUT`.
//!
//! `HEAD` might be a boot loader, or a program that mounts what it carries. The image begins at the
//! next multiple of 4 KiB: `mount -t squashfs -o loop,offset=N OUT DIR` with the printed number.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the offset is the result, or what went wrong"
)]

use std::error::Error;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
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
        Err(error) => {
            eprintln!("embed_at_offset: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns where the image begins.
fn embed(head: &Path, out: &Path) -> Result<u64, Box<dyn Error>> {
    let copied = fs::copy(head, out)
        .map_err(|error| format!("{} to {}: {error}", head.display(), out.display()))?;
    let offset = copied.next_multiple_of(4096);
    let mut file = File::options().write(true).open(out)?;
    file.seek(SeekFrom::Start(offset))?;

    // The image begins where the file stands, and everything in it is counted from there.
    let mut image = ImageWriter::new(file, &Options::default())?;
    image.file("hello", Metadata::new(0o644), &b"from inside\n"[..])?;
    let (file, _) = image.finish()?;
    file.sync_all()?;
    Ok(offset)
}
