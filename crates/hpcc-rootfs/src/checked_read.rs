//! Readers of a caller, which may say that they filled more than their buffer (rust-lang/rust#80895, #82892).

use std::io::{self, Read};

/// A reader whose counts are checked. After a wrong one it reads nothing more: it is unknown which bytes are missing.
#[derive(Debug)]
pub(crate) struct CheckedRead<R> {
    source: R,
    /// The count that was too large, and the length of the buffer.
    wrong: Option<(usize, usize)>,
}

impl<R> CheckedRead<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            wrong: None,
        }
    }
}

impl<R: Read> Read for CheckedRead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (len, room) = match self.wrong {
            Some(wrong) => wrong,
            None => (self.source.read(buffer)?, buffer.len()),
        };
        if len <= room {
            return Ok(len);
        }
        self.wrong = Some((len, room));
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("its reader returned {len} bytes for a buffer of {room}"),
        ))
    }
}
