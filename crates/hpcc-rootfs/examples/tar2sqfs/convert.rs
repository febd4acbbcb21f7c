//! From the entries of an archive to the nodes of an image.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::Read;

use hpcc_rootfs::layer::{Budget, Entry, EntryKind, Limits, Segment, Stream, TarReader};
use sqfs_writer::{FileData, ImageWriter, Kind, NodeId, Options, Summary};

use super::choice::Choice;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Returns what failed and why, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

/// Writes an archive into an image. Returns what was written, and notes on what was left out or changed.
pub(crate) fn convert(
    archive: impl Read,
    file: File,
    options: &Options,
    choice: Choice,
) -> Result<(Summary, Vec<String>)> {
    let mut target = Target {
        image: ImageWriter::new(file, options)?,
        waiting: BTreeMap::new(),
        choice,
        left_out: LeftOut::default(),
    };
    let mut budget = Budget::new(trusting());
    let mut tar = TarReader::new(Stream::unverified(archive)?, &mut budget);
    let mut entry = Entry::default();
    while tar.read_entry(&mut entry)? {
        let path = entry.path.clone();
        let added = target.add(std::mem::take(&mut entry), &mut tar);
        added.map_err(|error| named(&path, &*error))?;
    }
    tar.drain()?;
    target.link_waiting()?;
    let LeftOut {
        acls,
        xattrs,
        overlay,
        times,
    } = target.left_out;
    let left_out = [
        (acls, "access control lists", "squashfs holds none"),
        (
            xattrs,
            "extended attributes",
            "squashfs cannot store their names",
        ),
        (
            overlay,
            "extended attributes",
            "an overlay file system would obey them",
        ),
    ];
    let left_out = left_out.iter().filter(|(count, ..)| *count > 0);
    let left_out = left_out.map(|(count, what, why)| format!("left out {count} {what}: {why}"));
    let moved = (times > 0).then(|| {
        format!("changed {times} times before 1970 or after 2106: squashfs holds the nearest")
    });
    let notes = left_out.chain(moved).collect();
    // Like tar and gzip it leaves syncing to its caller.
    let (_file, summary) = target.image.finish()?;
    Ok((summary, notes))
}

/// Returns limits that no archive of one's own exceeds.
fn trusting() -> Limits {
    let mut limits = Limits::default();
    limits.entries = u64::MAX;
    limits.logical_bytes = u64::MAX;
    limits.unpacked_bytes = u64::MAX;
    limits.sparse_segments = usize::MAX;
    limits
}

/// An image that an archive is written into.
struct Target {
    image: ImageWriter<File>,
    /// Hard links whose targets have not come yet, by path.
    waiting: BTreeMap<Vec<u8>, Box<[u8]>>,
    choice: Choice,
    /// What the image can't hold, and was left out.
    left_out: LeftOut,
}

#[derive(Default)]
struct LeftOut {
    acls: u64,
    xattrs: u64,
    overlay: u64,
    /// Times that were changed to the nearest that an image can have.
    times: u64,
}

impl Target {
    fn add(&mut self, mut entry: Entry, tar: &mut TarReader<'_>) -> Result<()> {
        self.left_out.acls += u64::from(entry.acls);
        self.left_out.xattrs += u64::from(entry.unstorable_xattrs);
        self.left_out.overlay += u64::from(entry.overlay_xattrs);
        let Some(path) = self.choice.path(&entry.path) else {
            return Ok(());
        };
        let path = path.to_vec();
        let mtime = entry.metadata.mtime;
        self.choice.apply(&mut entry.metadata);
        // A time that the options set is not the archive's.
        let is_kept = entry.metadata.mtime == mtime;
        self.left_out.times += u64::from(entry.clamped_time && is_kept);
        let mut metadata = entry.metadata;
        let kind = match entry.kind {
            EntryKind::File { .. } => Kind::File(self.body(tar)?),
            EntryKind::Directory => {
                self.waiting.remove(&path);
                self.image.directory(path, metadata)?;
                return Ok(());
            }
            EntryKind::HardLink(target) => return self.link(path, target),
            // Linux has no other mode for one.
            EntryKind::Symlink(target) => {
                self.waiting.remove(&path);
                metadata.mode = 0o777;
                self.image.symlink(path, metadata, target)?;
                return Ok(());
            }
            EntryKind::CharDevice(device) => Kind::CharDevice(device),
            EntryKind::BlockDevice(device) => Kind::BlockDevice(device),
            EntryKind::Fifo => Kind::Fifo,
        };
        self.waiting.remove(&path);
        self.image.insert(path, metadata, kind)?;
        Ok(())
    }

    fn body(&mut self, tar: &mut TarReader<'_>) -> Result<FileData> {
        let mut body = self.image.data().begin();
        while let Some(segment) = tar.segment()? {
            match segment {
                Segment::Data(bytes) => body.append_bytes(bytes)?,
                Segment::Hole(length) => body.hole(length)?,
            }
        }
        Ok(body.finish()?)
    }

    /// Makes a hard link, or keeps it until its target comes.
    fn link(&mut self, path: Vec<u8>, target: Box<[u8]>) -> Result<()> {
        let inside = self.choice.path(&target).map(<[u8]>::to_vec);
        let Some(inside) = inside else {
            return Err(format!(
                "it is a hard link to \"{}\", which the options leave out",
                target.escape_ascii()
            )
            .into());
        };
        self.waiting.remove(&path);
        match lookup(&mut self.image, &inside)? {
            Some(node) => self.image.link(path, node)?,
            None => {
                self.waiting.insert(path, inside.into());
            }
        }
        Ok(())
    }

    /// Makes the links that waited, also those to one another.
    fn link_waiting(&mut self) -> Result<()> {
        loop {
            let waiting = std::mem::take(&mut self.waiting);
            let before = waiting.len();
            for (path, target) in waiting {
                match lookup(&mut self.image, &target)? {
                    Some(node) => {
                        let linked = self.image.link(&path, node);
                        linked.map_err(|error| named(&path, &error))?;
                    }
                    None => {
                        self.waiting.insert(path, target);
                    }
                }
            }
            let Some((path, target)) = self.waiting.first_key_value() else {
                return Ok(());
            };
            if self.waiting.len() == before {
                return Err(format!(
                    "cannot add \"{}\": it is a hard link to \"{}\", which the archive does not have",
                    path.escape_ascii(),
                    target.escape_ascii()
                )
                .into());
            }
        }
    }
}

/// Returns the node at a path, for hard links.
fn lookup(image: &mut ImageWriter<File>, path: &[u8]) -> Result<Option<NodeId>> {
    let mut at = NodeId::ROOT;
    for name in path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty())
    {
        let tree = image.tree();
        if !tree.get(at).is_some_and(|node| node.kind().is_directory()) {
            return Ok(None);
        }
        match tree.lookup(at, name)? {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

fn named(path: &[u8], error: &dyn Error) -> Box<dyn Error> {
    let causes = chain(error);
    format!("cannot add \"{}\": {causes}", path.escape_ascii()).into()
}
