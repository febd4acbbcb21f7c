//! The names in an artifact, for `inspect --tree`.

use std::fs::File;
use std::path::Path;

use anyhow::Context as _;
use hpcc_rootfs::tables::{Entry, EntryKind, Tables};
use serde_json::{Value, json};

/// Every name in an artifact, as lines for people and as JSON.
pub(crate) struct Tree {
    pub(crate) lines: Vec<String>,
    pub(crate) values: Vec<Value>,
}

impl Tree {
    /// Reads the tables of an artifact; only one of both is made.
    pub(crate) fn read(path: &Path, json: bool) -> anyhow::Result<Self> {
        let context = || format!("cannot read the tables of {}", path.display());
        let file = File::open(path).with_context(context)?;
        let mut tree = Self {
            lines: Vec::new(),
            values: Vec::new(),
        };
        Tables::open(&file)
            .and_then(|mut tables| {
                tables.walk(|entry| {
                    if json {
                        tree.values.push(value(entry));
                    } else {
                        tree.lines.push(line(entry));
                    }
                })
            })
            .with_context(context)?;
        Ok(tree)
    }
}

/// As `ls` has it, with owners and times as numbers: `-rwxr-xr-x 0:0 4711 0 /bin/sh`. Whatever is not
/// printable ASCII is escaped.
fn line(entry: &Entry<'_>) -> String {
    let (letter, size, target) = match entry.kind {
        EntryKind::Directory => ('d', String::new(), None),
        EntryKind::File { size } => ('-', size.to_string(), None),
        EntryKind::Symlink { target } => ('l', target.len().to_string(), Some(target)),
        EntryKind::BlockDevice { major, minor } => ('b', format!("{major}:{minor}"), None),
        EntryKind::CharDevice { major, minor } => ('c', format!("{major}:{minor}"), None),
        EntryKind::Fifo => ('p', String::new(), None),
        EntryKind::Socket => ('s', String::new(), None),
        _ => ('?', String::new(), None),
    };
    let owner = format!("{}:{}", entry.uid, entry.gid);
    let mut line = format!(
        "{letter}{} {owner:<11} {size:>12} {:>10} {}",
        permissions(entry.mode),
        entry.mtime,
        entry.path.escape_ascii()
    );
    if let Some(target) = target {
        line.push_str(&format!(" -> {}", target.escape_ascii()));
    }
    line
}

fn value(entry: &Entry<'_>) -> Value {
    let (kind, more) = match entry.kind {
        EntryKind::Directory => ("directory", None),
        EntryKind::File { size } => ("file", Some(("size", json!(size)))),
        EntryKind::Symlink { target } => {
            let target = target.escape_ascii().to_string();
            ("symlink", Some(("target", json!(target))))
        }
        EntryKind::BlockDevice { major, minor } => {
            ("block-device", Some(("device", json!([major, minor]))))
        }
        EntryKind::CharDevice { major, minor } => {
            ("char-device", Some(("device", json!([major, minor]))))
        }
        EntryKind::Fifo => ("fifo", None),
        EntryKind::Socket => ("socket", None),
        _ => ("unknown", None),
    };
    let mut value = json!({
        "path": entry.path.escape_ascii().to_string(),
        "type": kind,
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime": entry.mtime,
        "inode": entry.inode,
    });
    if let (Value::Object(map), Some((name, more))) = (&mut value, more) {
        map.insert(name.to_owned(), more);
    }
    value
}

/// `rwsr-xr-t`.
fn permissions(mode: u16) -> String {
    let special = [(0o4000, 's', 'S'), (0o2000, 's', 'S'), (0o1000, 't', 'T')];
    let mut text = String::with_capacity(9);
    for (shift, (bit, with, without)) in [6, 3, 0].into_iter().zip(special) {
        let has = |flag: u16| mode >> shift & flag != 0;
        text.push(if has(4) { 'r' } else { '-' });
        text.push(if has(2) { 'w' } else { '-' });
        text.push(match (mode & bit != 0, has(1)) {
            (true, true) => with,
            (true, false) => without,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_spelled_as_ls_does() {
        for (mode, text) in [
            (0o644, "rw-r--r--"),
            (0o4755, "rwsr-xr-x"),
            (0o6644, "rwSr-Sr--"),
            (0o1777, "rwxrwxrwt"),
            (0o1000, "--------T"),
        ] {
            assert_eq!(permissions(mode), text, "{mode:o}");
        }
    }
}
