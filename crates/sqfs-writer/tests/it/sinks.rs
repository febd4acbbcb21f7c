//! Sinks that hold no image, or not where the writer puts it: an error, and nothing that mounts.

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

use sqfs_writer::{Error, ImageWriter, Metadata};

use crate::expected::{CODEC, noise, options};

#[test]
fn file_opened_for_appending_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    for before in ["", "#!/bin/sh"] {
        let path = directory.path().join("image");
        std::fs::write(&path, before).unwrap();
        let file = std::fs::OpenOptions::new().append(true).open(&path);
        let result = ImageWriter::new(file.unwrap(), &options(4096, CODEC, 1));
        let Err(Error::Sink(error)) = result else {
            panic!("{result:?}");
        };
        assert!(error.to_string().contains("not for appending"), "{error}");
    }
}

#[test]
fn writer_that_cannot_be_made_leaves_the_sink_alone() {
    let mut bytes = vec![7; 200];
    let mut invalid = options(4096, CODEC, 1);
    invalid.block_size = 5000;
    let result = ImageWriter::new(Cursor::new(&mut bytes), &invalid);
    assert!(matches!(result, Err(Error::Options(_))), "{result:?}");
    for threads in [1, 3] {
        let fails = || Err(io::Error::other("no codec"));
        let valid = options(4096, CODEC, threads);
        let result = ImageWriter::with_codec(Cursor::new(&mut bytes), &valid, fails);
        assert!(matches!(result, Err(Error::Codec { .. })), "{result:?}");
    }
    assert_eq!(bytes, [7; 200]);
}

/// Fails in the operation of that number, and in every later one too if `lasting`. A write takes 7 bytes at most.
struct FailsAt {
    taken: Cursor<Vec<u8>>,
    left: usize,
    lasting: bool,
}

impl FailsAt {
    fn step(&mut self) -> io::Result<()> {
        match self.left {
            0 if self.lasting => Err(io::Error::other("still broken")),
            0 => Ok(()),
            _ => {
                self.left -= 1;
                match self.left {
                    0 => Err(io::Error::other("broken")),
                    _ => Ok(()),
                }
            }
        }
    }
}

impl Write for FailsAt {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.step()?;
        self.taken.write(&bytes[..bytes.len().min(7)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.step()
    }
}

impl Seek for FailsAt {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.step()?;
        self.taken.seek(position)
    }
}

#[test]
fn failure_before_the_last_bytes_leaves_no_magic() {
    let write = |left, lasting| {
        let taken = Cursor::new(Vec::new());
        let mut sink = FailsAt {
            taken,
            left,
            lasting,
        };
        let image = ImageWriter::new(&mut sink, &options(4096, CODEC, 1));
        let result = image.and_then(|image| image.finish().map(drop));
        (result, sink.taken.into_inner())
    };
    let (result, whole) = write(0, false);
    result.unwrap();
    for lasting in [false, true] {
        let mut exposed = 0;
        for left in 1.. {
            let (result, bytes) = write(left, lasting);
            if result.is_ok() {
                assert!(bytes == whole);
                break;
            }
            assert!(matches!(result, Err(Error::Sink(_))), "{left}: {result:?}");
            if bytes.starts_with(b"hsqs") {
                exposed += 1;
                assert!(bytes == whole, "{left}");
            }
        }
        // After the last write: a look at the position, the seek to the end, and the flush.
        assert_eq!(exposed, if lasting { 3 } else { 0 });
    }
}

#[test]
fn sink_that_another_handle_moved_is_an_error() {
    let file = tempfile::tempfile().unwrap();
    let mut other = file.try_clone().unwrap();
    let mut image = ImageWriter::new(file, &options(4096, CODEC, 1)).unwrap();
    let content = noise(50_000, 1);
    image.file("a", Metadata::new(0o644), &content[..]).unwrap();
    other.seek(SeekFrom::Start(200)).unwrap();
    let error = image.finish().unwrap_err();
    let Error::Sink(error) = error else {
        panic!("{error:?}");
    };
    assert!(error.to_string().contains("moved"), "{error}");
    let mut start = [1; 96];
    other.rewind().unwrap();
    other.read_exact(&mut start).unwrap();
    assert_eq!(start, [0; 96]);
}

/// Takes every byte, and is always at the same position.
#[derive(Debug)]
struct Immovable(u64);

impl Write for Immovable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Immovable {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Ok(self.0)
    }
}

#[test]
fn sink_without_positions_for_an_image_is_refused() {
    // The first is as /dev/null on Linux.
    for (at, expected) in [
        (0, "does not keep its position"),
        (u64::MAX - 10, "no position 96 bytes after"),
    ] {
        let result = ImageWriter::new(Immovable(at), &options(4096, CODEC, 1));
        let Err(Error::Sink(error)) = result else {
            panic!("{result:?}");
        };
        assert!(error.to_string().contains(expected), "{error}");
    }
}
