//! Sinks that fail and bodies that break: an error every time, and never an image.

use std::cell::Cell;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use sqfs_writer::replay::{Fingerprints, Recipe, Run, Source, StoredFragment};
use sqfs_writer::{
    Bytes, Codec, DataWriter, Error, Fingerprint, ImageWriter, Kind, Metadata, NodeId, Tree,
};

use crate::expected::{CODEC, noise, options, text};
use crate::reader::Content;

/// Takes `left` bytes, a few at a time, is interrupted now and then, and then fails.
struct Failing {
    taken: Cursor<Vec<u8>>,
    left: usize,
    calls: usize,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.left == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = bytes.len().min(self.left).min(1000);
        self.left -= len;
        self.taken.write(&bytes[..len])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.calls += 1;
        match self.calls.is_multiple_of(3) {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    }
}

impl Seek for Failing {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.taken.seek(position)
    }
}

/// Ends in an error instead of at its end.
struct Broken<'b>(&'b [u8]);

impl Read for Broken<'_> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self.0.read(space)? {
            0 => Err(io::Error::other("connection lost")),
            len => Ok(len),
        }
    }
}

fn image(left: usize, threads: usize) -> Result<usize, Error> {
    let mut taken = Vec::new();
    let sink = Failing {
        taken: Cursor::new(Vec::new()),
        left,
        calls: 0,
    };
    let mut image = ImageWriter::new(sink, &options(4096, CODEC, threads))?;
    let metadata = Metadata::new(0o644);
    for n in 0..8 {
        let content = [noise(5000, n), text(3000, n)].concat();
        image.file(format!("d/{n}"), metadata.clone(), &content[..])?;
    }
    let (sink, summary) = image.finish()?;
    taken.extend(sink.taken.into_inner());
    assert_eq!(taken.len() as u64, summary.image_bytes);
    crate::reader::read(&taken);
    Ok(taken.len())
}

#[test]
fn failing_sink_is_an_error_and_short_writes_are_not() {
    let len = image(usize::MAX, 1).unwrap();
    // All of the image goes through the sink, and its first 96 bytes two more times.
    let total = len + 2 * 96;
    for left in (0..total).step_by(97).chain([total - 1]) {
        for threads in [1, 3] {
            let result = image(left, threads);
            let Err(Error::Sink(error)) = result else {
                panic!("{left}: {result:?}");
            };
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }
    assert_eq!(image(total, 3).unwrap(), len);
}

#[test]
fn nothing_is_mountable_before_finish() {
    let mut bytes = Vec::new();
    let sink = Cursor::new(&mut bytes);
    let mut image = ImageWriter::new(sink, &options(4096, CODEC, 1)).unwrap();
    image
        .file("a", Metadata::new(0o644), &noise(50_000, 1)[..])
        .unwrap();
    drop(image);
    assert!(bytes.len() > 40_000);
    assert_eq!(bytes[..96], [0; 96]);
}

#[test]
fn a_broken_body_is_discarded_and_the_writer_goes_on() {
    for threads in [1, 2] {
        let options = options(4096, CODEC, threads);
        let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
        let mut tree = Tree::new(Metadata::new(0o755));
        for len in [0, 10, 4096, 10_000] {
            let result = writer.add(Broken(&noise(len, 1)));
            assert!(
                matches!(&result, Err(Error::Body(error)) if error.to_string() == "connection lost"),
                "{result:?}"
            );
            let data = writer.add(&b"whole"[..]).unwrap();
            let name = format!("after-{len}");
            let kind = Kind::File(data);
            tree.insert(NodeId::ROOT, name.as_bytes(), Metadata::new(0), kind)
                .unwrap();
        }
        let sealed = writer.finish(&tree).unwrap();
        let image = crate::reader::read(&[&sealed.superblock[..], &sealed.sink].concat());
        assert_eq!(image.entries.len(), 5);
        assert_eq!(sealed.summary.body_bytes, 4 * 5);
    }
}

#[test]
fn broken_body_of_a_path_is_named_and_leaves_nothing() {
    let sink = Cursor::new(Vec::new());
    let mut image = ImageWriter::new(sink, &options(4096, CODEC, 1)).unwrap();
    let metadata = Metadata::new(0o644);
    let result = image.file("etc/\n", metadata.clone(), Broken(&noise(9000, 1)));
    assert!(
        matches!(&result, Err(Error::File { path, source })
            if path == "etc/\\n" && source.to_string() == "connection lost"),
        "{result:?}"
    );
    image.file("other", metadata, &b"whole"[..]).unwrap();
    let (sink, _) = image.finish().unwrap();
    let image = crate::reader::read(&sink.into_inner());
    assert_eq!(image.entries.len(), 2);
}

#[test]
fn after_a_failure_every_call_says_so() {
    let sink = Failing {
        taken: Cursor::new(Vec::new()),
        left: 5000,
        calls: 0,
    };
    let mut writer = DataWriter::new(sink, &options(4096, CODEC, 1)).unwrap();
    let result = writer.add(&noise(9000, 1)[..]);
    assert!(matches!(result, Err(Error::Sink(_))), "{result:?}");
    let result = writer.add(&b"more"[..]);
    assert!(matches!(result, Err(Error::Poisoned)), "{result:?}");
    let result = writer.begin().write(b"more").unwrap_err();
    let inner = result.into_inner().unwrap().downcast::<Error>().unwrap();
    assert!(matches!(*inner, Error::Poisoned));
    let result = writer.begin().append_bytes(Bytes::from_static(b"more"));
    assert!(matches!(result, Err(Error::Poisoned)), "{result:?}");
    let result = writer.finish(&Tree::new(Metadata::new(0o755)));
    assert!(matches!(result, Err(Error::Poisoned)));
}

/// Takes everything, and panics once: in the write of that number, after half of its bytes.
struct Panicking {
    taken: Cursor<Vec<u8>>,
    left: usize,
}

impl Write for Panicking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.wrapping_sub(1);
        if self.left == 0 {
            self.taken.write_all(&bytes[..bytes.len() / 2])?;
            panic!("the sink panics");
        }
        self.taken.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Panicking {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.taken.seek(position)
    }
}

/// Adds files to a writer, goes on after panics, and returns how many there were, and how it ended.
fn go_on(writer: ImageWriter<Panicking>) -> (usize, Result<(), Error>) {
    let mut writer = writer;
    let mut panics = 0;
    for n in 0..6 {
        let file = || {
            let content = noise(20_000, n);
            writer.file(format!("{n}"), Metadata::new(0o644), &content[..])
        };
        panics += usize::from(catch_unwind(AssertUnwindSafe(file)).is_err());
    }
    (panics, writer.finish().map(drop))
}

#[test]
fn writer_ends_at_a_panic_of_sink_or_listener() {
    // The first four writes are those of its beginning.
    for left in 5..12 {
        let taken = Cursor::new(Vec::new());
        let sink = Panicking { taken, left };
        let (panics, ended) = go_on(ImageWriter::new(sink, &options(4096, CODEC, 1)).unwrap());
        assert_eq!(panics, 1, "{left}");
        assert!(matches!(ended, Err(Error::Poisoned)), "{left}: {ended:?}");
    }
    let taken = Cursor::new(Vec::new());
    let sink = Panicking { taken, left: 0 };
    let mut writer = ImageWriter::new(sink, &options(4096, CODEC, 1)).unwrap();
    let mut calls = 0;
    writer.data().on_progress(move |_| {
        calls += 1;
        assert_ne!(calls, 2, "the listener panics");
    });
    let (panics, ended) = go_on(writer);
    assert_eq!(panics, 1);
    assert!(matches!(ended, Err(Error::Poisoned)), "{ended:?}");
}

#[test]
fn forgotten_body_leaves_the_others_whole() {
    for (threads, len) in [(1, 20_000), (3, 20_000), (1, 5000), (3, 6 << 20)] {
        let taken = Cursor::new(Vec::new());
        let mut writer = ImageWriter::new(taken, &options(4096, CODEC, threads)).unwrap();
        let mut body = writer.data().begin();
        body.write_all(&noise(len, 1)).unwrap();
        std::mem::forget(body);
        for n in 2..5 {
            let content = noise(20_000, n);
            let metadata = Metadata::new(0o644);
            writer.file(format!("{n}"), metadata, &content[..]).unwrap();
        }
        let (sink, _) = writer.finish().unwrap();
        let image = crate::reader::read(&sink.into_inner());
        for n in 2..5 {
            let entry = &image.entries[format!("/{n}").as_bytes()];
            let whole =
                matches!(&entry.content, Content::File(bytes) if *bytes == noise(20_000, n));
            assert!(whole, "{threads} {len} {n}");
        }
    }
}

/// Is interrupted before every piece.
struct Interrupted<'b> {
    content: &'b [u8],
    calls: usize,
}

impl Read for Interrupted<'_> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        match self.calls.is_multiple_of(2) {
            false => Err(io::ErrorKind::Interrupted.into()),
            true => self.content.read(space),
        }
    }
}

#[test]
fn interrupted_reader_is_read_again() {
    let content = noise(20_000, 1);
    let taken = Cursor::new(Vec::new());
    let mut writer = ImageWriter::new(taken, &options(4096, CODEC, 1)).unwrap();
    let reader = Interrupted {
        content: &content,
        calls: 0,
    };
    writer.file("f", Metadata::new(0o644), reader).unwrap();
    let (sink, _) = writer.finish().unwrap();
    let image = crate::reader::read(&sink.into_inner());
    assert!(
        matches!(&image.entries[&b"/f"[..]].content, Content::File(bytes) if *bytes == content)
    );
}

/// Fills the buffer, and returns more than its length.
struct Lying;

impl Read for Lying {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        space.fill(7);
        Ok(space.len() + 5000)
    }
}

#[test]
fn reader_that_returns_more_than_its_buffer_is_refused() {
    let mut writer = DataWriter::new(Vec::new(), &options(4096, CODEC, 1)).unwrap();
    let error = writer.add(Lying).unwrap_err();
    let Error::Body(error) = error else {
        panic!("{error:?}");
    };
    let expected = "its reader returned 9096 bytes for a buffer of 4096";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn body_that_lacks_bytes_takes_no_more_and_never_ends() {
    let mut writer = DataWriter::new(Vec::new(), &options(4096, CODEC, 1)).unwrap();
    let ways: [fn(&mut sqfs_writer::Body<'_, Vec<u8>>); 3] = [
        |body| drop(body.append(Broken(&noise(9000, 1))).unwrap_err()),
        |body| drop(body.hole(u64::MAX).unwrap_err()),
        |body| {
            struct Panics;
            impl Read for Panics {
                fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                    panic!("the reader panics")
                }
            }
            body.write_all(b"lost").unwrap();
            assert!(catch_unwind(AssertUnwindSafe(|| body.append(Panics))).is_err());
        },
    ];
    for way in ways {
        let mut body = writer.begin();
        way(&mut body);
        assert!(matches!(body.append(&b"x"[..]), Err(Error::Discarded)));
        assert!(matches!(body.hole(1), Err(Error::Discarded)));
        let bytes = Bytes::from_static(b"x");
        assert!(matches!(body.append_bytes(bytes), Err(Error::Discarded)));
        assert!(body.write(b"x").is_err());
        assert!(matches!(body.finish(), Err(Error::Discarded)));
        writer.add(&b"whole"[..]).unwrap();
    }
}

struct Faulty;

impl Codec for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn compress(&mut self, _: &[u8], _: &mut Vec<u8>) -> io::Result<bool> {
        panic!("the codec panics")
    }
}

#[test]
fn codec_that_panics_is_an_error_on_any_thread() {
    for threads in [1, 3] {
        let options = options(4096, CODEC, threads);
        let make = || Ok(Box::new(Faulty) as Box<dyn Codec>);
        let mut writer = ImageWriter::with_codec(Cursor::new(Vec::new()), &options, make).unwrap();
        let metadata = Metadata::new(0o644);
        let added = writer.file("f", metadata, &noise(50_000, 1)[..]);
        let error = added.map(drop).and_then(|()| writer.finish().map(drop));
        let expected = matches!(&error, Err(Error::Codec { source, .. }) if source.to_string() == "it panicked");
        assert!(expected, "{threads}: {error:?}");
    }
}

/// Stores the same byte everywhere.
struct Ones;

impl Source for Ones {
    fn block(&mut self, _: u64, len: u32) -> io::Result<Bytes> {
        Ok(vec![1; len as usize].into())
    }

    fn fragment(&mut self, _: &Fingerprint) -> io::Result<Option<StoredFragment>> {
        Ok(None)
    }

    fn tail(&mut self, at: u64, len: u32) -> io::Result<Bytes> {
        self.block(at, len)
    }
}

/// Each clone returns the runs of the next list, or of the last.
struct Changing {
    passes: Rc<Cell<usize>>,
    lists: Vec<Vec<Run>>,
    runs: std::vec::IntoIter<Run>,
}

impl Clone for Changing {
    fn clone(&self) -> Self {
        let pass = self.passes.replace(self.passes.get() + 1);
        Self {
            passes: Rc::clone(&self.passes),
            lists: self.lists.clone(),
            runs: self.lists[pass.min(self.lists.len() - 1)]
                .clone()
                .into_iter(),
        }
    }
}

impl Iterator for Changing {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        self.runs.next()
    }
}

#[test]
fn recipe_whose_blocks_change_between_iterations_is_an_error() {
    let stored = |len| Run::Stored { len, raw: false };
    let holes = |blocks| Run::Holes { blocks };
    let first = vec![holes(2), stored(10), stored(20)];
    let replay = |lists: Vec<Vec<Run>>| {
        let blocks = Changing {
            passes: Rc::default(),
            lists,
            runs: Vec::new().into_iter(),
        };
        let fingerprint = Fingerprint::from_bytes([0; 32]);
        let fingerprints = Fingerprints::new(4 * 4096, Some(fingerprint), None);
        let mut writer = DataWriter::new(Vec::new(), &options(4096, CODEC, 1)).unwrap();
        writer.replay_from(Ones);
        let outcome = writer.replay(&Recipe::new(fingerprints, blocks, 96, 0));
        let outcome = outcome.map(drop);
        outcome.and_then(|()| writer.finish(&Tree::new(Metadata::new(0o755))).map(drop))
    };
    replay(vec![first.clone()]).unwrap();
    for other in [
        vec![],
        vec![holes(2), stored(10)],
        vec![holes(2), stored(10), stored(20), stored(30)],
    ] {
        for lists in [
            vec![first.clone(), other.clone()],
            vec![first.clone(), first.clone(), other],
        ] {
            let outcome = replay(lists);
            assert!(matches!(outcome, Err(Error::Source(_))), "{outcome:?}");
        }
    }
    for other in [
        vec![holes(u64::MAX), stored(10), stored(20)],
        vec![holes(3), stored(10), stored(20)],
        vec![holes(2), stored(10), stored(21)],
        vec![holes(1), stored(10), holes(1), stored(10), stored(10)],
    ] {
        let outcome = replay(vec![first.clone(), other]);
        assert!(matches!(outcome, Err(Error::Source(_))), "{outcome:?}");
    }
}
