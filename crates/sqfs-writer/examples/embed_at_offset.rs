//! Puts an image behind something else in the same file: `embed_at_offset HEAD OUT`.
//!
//! `HEAD` might be a boot loader, or a program that mounts what it carries. The image begins at the
//! next multiple of 4 KiB: `mount -t squashfs -o loop,offset=N OUT DIR` with the printed number.

#![expect(clippy::print_stdout, reason = "the offset is the result")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom};

use sqfs_writer::{ImageWriter, Metadata, Options};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [head, out] = arguments.as_slice() else {
        return Err("usage: embed_at_offset HEAD OUT".into());
    };
    let offset = fs::copy(head, out)?.next_multiple_of(4096);
    let mut file = File::options().write(true).open(out)?;
    file.seek(SeekFrom::Start(offset))?;

    // The image begins where the file stands, and everything in it is counted from there.
    let mut image = ImageWriter::new(file, &Options::default())?;
    image.file("hello", Metadata::new(0o644), &b"from inside\n"[..])?;
    let (file, _) = image.finish()?;
    file.sync_all()?;
    println!("{offset}");
    Ok(())
}
