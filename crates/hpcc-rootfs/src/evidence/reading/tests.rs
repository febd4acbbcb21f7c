//! Artifacts that change while they are read.

use std::cell::Cell;
use std::io::Write as _;

use ociget::Digest;

use super::*;
use crate::artifact::verity::BLOCK;
use crate::artifact::{ArtifactWriter, Digests, ImageOptions, Key, SUPERBLOCK};
use crate::staging::{StagedFile, Staging};

/// A source one byte of which differs in the first of two readings, or in the second.
#[derive(Debug)]
struct Changing<'f> {
    file: &'f File,
    at: u64,
    differs: bool,
    is_second: Cell<bool>,
}

impl ReadAt for Changing<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        ReadAt::read_exact_at(self.file, buffer, offset)?;
        let byte = self.at.checked_sub(offset).map(usize::try_from);
        let byte = byte.and_then(|at| buffer.get_mut(at.unwrap()));
        if let Some(byte) = byte
            && self.differs == self.is_second.get()
        {
            *byte ^= 1;
        }
        Ok(())
    }
}

/// Returns an artifact of 65 chunks and one block, with or without a tree of three levels.
fn artifact(verity: bool) -> (File, Record) {
    let directory = tempfile::tempdir().unwrap();
    let image = Digest::of(b"image");
    let options = ImageOptions {
        verity,
        ..ImageOptions::default()
    };
    let (platform, digests) = ("linux/amd64".into(), Digests::default());
    let key = Key::new(image.clone(), image, platform, digests, &options);
    let staged = StagedFile::create(directory.path(), Staging::outside(0)).unwrap();
    let mut writer = ArtifactWriter::new(staged, key).unwrap();
    writer.write_all(&vec![1; CHUNK - SUPERBLOCK]).unwrap();
    for chunk in 1..65 {
        writer.write_all(&vec![chunk; CHUNK]).unwrap();
    }
    writer.write_all(&[7; BLOCK]).unwrap();
    let sealed = writer.seal([0xAB; SUPERBLOCK]).unwrap();
    sealed.into_staged().publish("a".as_ref()).unwrap();
    let file = File::open(directory.path().join("a")).unwrap();
    let record = Record::read(&file).unwrap();
    (file, record)
}

/// Reads a few bytes of two chunks, and then the artifact.
fn read(source: &Changing<'_>, record: &Record) -> Option<String> {
    let reading = Reading::new(source);
    reading
        .read_exact_at(&mut [0; 100], CHUNK as u64 - 50)
        .unwrap();
    source.is_second.set(true);
    reading.verify(source.file, record).unwrap()
}

#[test]
fn artifact_that_changes_between_readings_has_no_digest() {
    for verity in [false, true] {
        let (file, record) = artifact(verity);
        let found = |at, differs| {
            let is_second = Cell::new(false);
            let source = Changing {
                file: &file,
                at,
                differs,
                is_second,
            };
            read(&source, &record)
        };
        // A byte that was not read before differs in neither.
        let expected = found(0, false).unwrap();
        let mut whole = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        ReadAt::read_exact_at(&file, &mut whole, 0).unwrap();
        assert_eq!(expected, Digest::of(&whole).hex());
        let chunk = CHUNK as u64;
        for at in [chunk - 1, chunk] {
            assert_eq!(found(at, false), None, "described bytes at {at}");
        }
        for at in [0, chunk, record.image_length - 1] {
            assert_eq!(found(at, true), None, "data at {at}");
        }
        let tree = record.image_length..record.image_length + record.tree_length();
        let block = BLOCK as u64;
        // Superblock, top, middle, and the first and the last of the leaves.
        let blocks = [0, 1, 2, 5, (record.tree_length() / block).saturating_sub(1)];
        for at in blocks
            .map(|number| tree.start + number * block)
            .iter()
            .filter(|_| verity)
        {
            assert_eq!(found(*at, true), None, "tree at {at}");
        }
    }
}
