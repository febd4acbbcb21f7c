//! An image as text: superblock, tables, and an entry a line. Snapshots are of this, so that a change
//! of the structure shows as the lines it changes.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::reader::{Content, read};
use crate::tables::{u16_at, u32_at, u64_at};

const SUPERBLOCK: [(&str, usize, usize); 19] = [
    ("s_magic", 0, 4),
    ("inodes", 4, 4),
    ("mkfs_time", 8, 4),
    ("block_size", 12, 4),
    ("fragments", 16, 4),
    ("compression", 20, 2),
    ("block_log", 22, 2),
    ("flags", 24, 2),
    ("no_ids", 26, 2),
    ("s_major", 28, 2),
    ("s_minor", 30, 2),
    ("root_inode", 32, 8),
    ("bytes_used", 40, 8),
    ("id_table_start", 48, 8),
    ("xattr_id_table_start", 56, 8),
    ("inode_table_start", 64, 8),
    ("directory_table_start", 72, 8),
    ("fragment_table_start", 80, 8),
    ("lookup_table_start", 88, 8),
];

const TYPES: [&str; 7] = ["dir", "file", "symlink", "block", "char", "fifo", "socket"];

/// The whole image as text, read by the reader that refuses what the kernel refuses.
pub(crate) fn dump(bytes: &[u8]) -> String {
    let image = read(bytes);
    let mut text = String::new();
    for (name, at, len) in SUPERBLOCK {
        let value = match len {
            2 => u16_at(bytes, at).into(),
            4 => u32_at(bytes, at).into(),
            _ => u64_at(bytes, at),
        };
        writeln!(text, "{name} {value:#x}").unwrap();
    }
    writeln!(text, "index points {}", image.index_points).unwrap();
    for (path, entry) in &image.entries {
        let number = image.inode_types[path];
        let long = if number > 7 { "l" } else { "" };
        let kind = TYPES[usize::from((number - 1) % 7)];
        write!(
            text,
            "/{} {long}{kind} {:o} {}:{} {} links {}",
            path.strip_prefix(b"/").unwrap_or(path).escape_ascii(),
            entry.mode,
            entry.uid,
            entry.gid,
            entry.mtime,
            entry.nlink
        )
        .unwrap();
        match &entry.content {
            Content::File(content) => {
                let blocks = &image.blocks[path];
                write!(text, " size {} blocks {blocks:?}", content.len()).unwrap();
            }
            Content::Symlink(target) => write!(text, " -> {}", target.escape_ascii()).unwrap(),
            Content::Block(device) | Content::Char(device) => {
                write!(text, " device {device:#x}").unwrap();
            }
            Content::Directory | Content::Fifo | Content::Socket => {}
        }
        if entry.first_path != *path {
            write!(text, " is {}", entry.first_path.escape_ascii()).unwrap();
        }
        xattrs(&mut text, &entry.xattrs);
        text.push('\n');
    }
    text
}

fn xattrs(text: &mut String, xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) {
    for (name, value) in xattrs {
        let (name, value) = (name.escape_ascii(), value.escape_ascii());
        write!(text, " {name}={value}").unwrap();
    }
}
