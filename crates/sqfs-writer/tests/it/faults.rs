//! Sinks that fail and bodies that break: an error every time, and never an image.

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

use sqfs_writer::{DataWriter, Error, ImageWriter, Kind, Metadata, NodeId, Tree};

use crate::expected::{CODEC, noise, options, text};

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
        Ok(())
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
    // All of the image goes through the sink, and the superblock a second time.
    let total = len + 96;
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
    let result = writer
        .begin()
        .append_bytes(bytes::Bytes::from_static(b"more"));
    assert!(matches!(result, Err(Error::Poisoned)), "{result:?}");
    let result = writer.finish(&Tree::new(Metadata::new(0o755)));
    assert!(matches!(result, Err(Error::Poisoned)));
}
