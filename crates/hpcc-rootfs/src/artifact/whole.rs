//! Reads an artifact once, from its start to its end, and passes on the bytes that it compares with the record.

use std::fs::File;
use std::io;

use super::record::{CHUNK, Record, RecordError};
use super::verity::{Read, Sequence};

/// Passes all bytes of an artifact to `visit`, in order and with their offsets: chunks of the image first. Returns
/// whether they are the ones that `record` was written for. `read` reads image and hash tree, and `file` the record.
pub(crate) fn read_whole(
    file: &File,
    record: &Record,
    read: impl Read,
    mut visit: impl FnMut(&[u8], u64),
) -> Result<bool, RecordError> {
    let mut sealed = record.verity.as_ref().and_then(Sequence::new);
    let mut buffer = vec![0; CHUNK];
    let (mut start, mut is_intact) = (0, true);
    record.chunks(file, |expected| {
        if !is_intact {
            return Ok(());
        }
        let end = record.image_length.min(start + CHUNK as u64);
        let length = usize::try_from(end - start).map_err(io::Error::other)?;
        let chunk = buffer.get_mut(..length).unwrap_or_default();
        read(chunk, start)?;
        is_intact = blake3::hash(chunk) == blake3::Hash::from_bytes(*expected);
        visit(chunk, start);
        if let Some(sealed) = &mut sealed {
            sealed.data(chunk)?;
        }
        start = end;
        Ok(())
    })?;
    if !is_intact {
        return Ok(false);
    }
    if let Some(sealed) = sealed {
        let visit = |bytes: &[u8]| {
            visit(bytes, start);
            start += bytes.len() as u64;
        };
        if !sealed.tree(read, visit)? {
            return Ok(false);
        }
    }
    let found = Record::read_passing(file, |bytes| {
        visit(bytes, start);
        start += bytes.len() as u64;
    })?;
    Ok(found == *record)
}
