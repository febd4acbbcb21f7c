//! Hostile or damaged images, as `inspect --tree`, `inspect --sizes` and the readers of the description inside read them:
//! paths are absolute, plain and all different, contents are as long as they are said to be, and it ends.

use std::ops::ControlFlow;

use hpcc_rootfs::tables::{EntryKind, Sizes, Tables};

/// Files whose contents are read.
const FILES: usize = 3;
/// Names of an image in which contents are read, because each file costs a walk.
const NAMES: u64 = 500;
/// Most bytes of a file.
const CONTENTS: usize = 64 << 10;

/// A file of an image, as a walk reports it.
struct Found {
    path: Vec<u8>,
    size: u64,
}

/// Panics if a promise is broken.
pub fn check(image: &[u8]) {
    let Some((names, files)) = walk(image) else {
        return;
    };
    if names > NAMES {
        return;
    }
    if let Ok(sizes) = Sizes::read(&image, image.len() as u64) {
        assert_eq!(sizes.names, names);
        assert!(sizes.files <= names);
        let parts = sizes.parts.iter().map(|(_, bytes)| bytes);
        assert!(parts.sum::<u64>() <= image.len() as u64);
    }
    for Found { path, size } in files {
        contents(image, &path, size);
    }
}

/// Returns the number of names, and some files with their sizes.
fn walk(image: &[u8]) -> Option<(u64, Vec<Found>)> {
    let mut tables = Tables::open(&image).ok()?;
    let (mut count, mut files) = (0, Vec::<Found>::new());
    let walked = tables.walk(|entry| {
        let first = count == 0;
        assert_eq!(first, entry.path == b"/");
        let mut names = entry.path.split(|&byte| byte == b'/');
        assert_eq!(names.next(), Some(&b""[..]));
        assert!(
            first || names.all(|name| !matches!(name, b"" | b"." | b"..") && !name.contains(&0))
        );
        count += 1;
        if let EntryKind::File { size } = entry.kind
            && files.len() < FILES
            && files.iter().all(|file| file.path != entry.path)
        {
            let path = entry.path.to_vec();
            files.push(Found { path, size });
        }
    });
    walked.is_ok().then_some((count, files))
}

/// Reads a file whole and in part. If the whole can be read, so can the part.
fn contents(image: &[u8], path: &[u8], size: u64) {
    let open = || Tables::open(&image).ok();
    let whole = open().and_then(|mut tables| tables.contents(path, CONTENTS).ok());
    let part = usize::try_from(size / 2).unwrap_or(CONTENTS).min(CONTENTS);
    let start = open().and_then(|mut tables| tables.start(path, part).ok());
    if let Some(start) = &start {
        assert!(start.as_ref().is_some_and(|start| start.len() <= part));
    }
    if let Some(whole) = whole {
        let (whole, start) = (whole.unwrap(), start.unwrap().unwrap());
        assert_eq!(whole.len() as u64, size);
        assert_eq!(start, whole[..part]);
    }
    // The walk ends at the file that is looked for.
    let found = open().and_then(|mut tables| {
        let found = tables.walk_until(|entry| match entry.path == path {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
        found.ok()
    });
    assert!(matches!(found, Some(ControlFlow::Break(()))));
}
