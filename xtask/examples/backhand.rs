//! A tar to a squashfs image by the backhand crate, as a program that a bench can run.
//!
//! `backhand TAR OUT`: zstd 3, blocks of 128 KiB. Hard links become files, which its duplicates find again; extended attributes
//! are left out, as it has no place for them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use backhand::compression::{CompressionOptions, Compressor, Zstd};
use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};
use tar::{Archive, EntryType};

/// A file's bytes where the tar has them.
#[derive(Clone)]
struct Content {
    tar: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = self
            .tar
            .read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let mut next = || arguments.next().context("usage: backhand TAR OUT");
    let (input, output) = (next()?, next()?);
    let tar = Arc::new(File::open(&input)?);
    let mut writer = FilesystemWriter::default();
    writer.set_block_size(128 << 10);
    let level = CompressionOptions::Zstd(Zstd {
        compression_level: 3,
    });
    writer.set_compressor(FilesystemCompressor::new(Compressor::Zstd, Some(level))?);

    let mut files: HashMap<PathBuf, Content> = HashMap::new();
    let mut archive = Archive::new(BufReader::with_capacity(1 << 20, File::open(&input)?));
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let (header, path) = (entry.header(), entry.path()?.into_owned());
        let id = |id: u64| u32::try_from(id);
        let node = NodeHeader::new(
            u16::try_from(header.mode()? & 0o7777)?,
            id(header.uid()?)?,
            id(header.gid()?)?,
            u32::try_from(header.mtime()?)?,
        );
        let device = || -> io::Result<u32> {
            let part = |part: Option<u32>| part.unwrap_or(0);
            let (major, minor) = (header.device_major()?, header.device_minor()?);
            Ok(part(major) << 8 | part(minor))
        };
        let target = entry.link_name()?.map(|target| target.into_owned());
        match header.entry_type() {
            EntryType::Directory if path.components().count() < 2 => {}
            EntryType::Directory => writer.push_dir(path, node)?,
            EntryType::Symlink => writer.push_symlink(target.context("no target")?, path, node)?,
            EntryType::Link => {
                let content = files.get(&target.context("no target")?);
                let content = content.context("a hard link to nothing")?.clone();
                writer.push_file(content, path, node)?;
            }
            EntryType::Char => writer.push_char_device(device()?, path, node)?,
            EntryType::Block => writer.push_block_device(device()?, path, node)?,
            EntryType::Fifo => writer.push_fifo(path, node)?,
            _ => {
                let content = Content {
                    tar: Arc::clone(&tar),
                    at: entry.raw_file_position(),
                    left: entry.size(),
                };
                files.insert(path.clone(), content.clone());
                writer.push_file(content, path, node)?;
            }
        }
    }
    writer.write(&mut BufWriter::new(File::create(output)?))?;
    Ok(())
}
