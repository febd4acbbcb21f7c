//! Blocks and elements by hand, and the steps that reading them takes.

use super::*;

/// Ends behind everything.
const END: u64 = u64::MAX;

/// A metadata block that is stored as it is.
fn raw(bytes: &[u8]) -> Vec<u8> {
    let header = RAW | u16::try_from(bytes.len()).unwrap();
    [&header.to_le_bytes(), bytes].concat()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn at(block: u64) -> Cursor {
    let (offset, end) = (0, END);
    Cursor { block, offset, end }
}

impl Metadata<'_> {
    /// Steps that are left.
    pub(in crate::tables) fn work(&self) -> u64 {
        self.work
    }

    /// Steps that a read takes.
    fn steps<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> u64 {
        let before = self.work;
        read(self).unwrap();
        before - self.work
    }

    fn byte(&mut self, block: u64) -> Result<[u8; 1], Error> {
        self.read(&mut at(block))
    }
}

#[test]
fn elements_are_found_by_number_in_any_table_block() {
    const COUNT: u64 = 1300;
    let element = |number: u64| [number.to_le_bytes(), (!number).to_le_bytes()].concat();
    let all: Vec<u8> = (0..COUNT).flat_map(element).collect();
    let (mut image, mut index) = (vec![0; 7], Vec::new());
    for block in all.chunks(METADATA_SIZE) {
        index.extend(u64::try_from(image.len()).unwrap().to_le_bytes());
        image.extend(raw(block));
    }
    let start = u64::try_from(image.len()).unwrap();
    image.extend(index);
    let source = image.as_slice();
    let mut metadata = Metadata::new(&source, 0).unwrap();
    for number in 0..COUNT {
        let found: [u8; 16] = metadata.element(start, number, start).unwrap();
        assert_eq!(found[..], element(number), "{number}");
    }
    let mut fails = |index, number| metadata.element::<16>(index, number, start).unwrap_err();
    assert!(matches!(fails(start, COUNT), Error::Damaged(_)));
    assert!(matches!(fails(start, 3 * 512), Error::Io(_)));
    assert!(matches!(fails(u64::MAX - 7, 512), Error::Damaged(_)));
}

#[test]
fn headers_without_a_possible_length_are_damage() {
    let long = u16::try_from(METADATA_SIZE).unwrap();
    for (header, says) in [
        (RAW, "no possible length"),
        (0, "no possible length"),
        (RAW | (long + 1), "no possible length"),
        (long + 1, "no possible length"),
        (RAW | 4, "ends after its table"),
        (4, "ends after its table"),
    ] {
        let image = [&header.to_le_bytes()[..], &[0; 9000]].concat();
        let source = image.as_slice();
        let mut metadata = Metadata::new(&source, 1).unwrap();
        let mut cursor = Cursor { end: 5, ..at(0) };
        let error = metadata.read::<1>(&mut cursor).unwrap_err().to_string();
        assert!(error.contains(says), "{header:#x}: {error}");
    }
    // A block may end where its table does.
    let source = &raw(&[7; 4])[..];
    let mut cursor = Cursor { end: 6, ..at(0) };
    let mut metadata = Metadata::new(&source, 1).unwrap();
    assert_eq!(metadata.read(&mut cursor).unwrap(), [7; 4]);
}

#[test]
fn data_is_read_as_declared_and_within_block_size() {
    let packed = zlib(&[b'x'; 500]);
    let length = u32::try_from(packed.len()).unwrap();
    let source = packed.as_slice();
    let mut metadata = Metadata::new(&source, 1).unwrap();
    assert_eq!(metadata.data(0, length, 500).unwrap(), [b'x'; 500]);
    assert_eq!(metadata.data(0, length | RAW_DATA, 500).unwrap(), packed);
    let room = packed.len();
    assert_eq!(metadata.data(0, length | RAW_DATA, room).unwrap(), packed);
    let error = metadata.data(0, length | RAW_DATA, room - 1).unwrap_err();
    assert!(error.to_string().contains("longer than the block size"));
    let error = metadata.data(0, length, 499).unwrap_err();
    assert!(error.to_string().contains("does not decompress"));
}

#[test]
fn blocks_that_were_read_are_kept_up_to_a_number() {
    let one = raw(b"x");
    let image = one.repeat(2 * KEPT + 2);
    let source = image.as_slice();
    let mut metadata = Metadata::new(&source, 0).unwrap();
    let place = |number: usize| u64::try_from(number * one.len()).unwrap();
    for number in 0..2 * KEPT + 2 {
        let new = metadata.steps(|metadata| metadata.byte(place(number)));
        // The one before, and the one before that unless all were given up in between.
        let last = metadata.steps(|metadata| metadata.byte(place(number)));
        assert!(last < new, "{number}");
        assert!(metadata.blocks.len() <= KEPT, "{number}");
    }
    let mut metadata = Metadata::new(&source, 0).unwrap();
    for number in (0..KEPT).chain(0..KEPT) {
        metadata.byte(place(number)).unwrap();
        assert!(metadata.blocks.contains_key(&place(0)), "{number}");
    }
}

#[test]
fn every_read_costs_steps_for_bytes_and_system_calls() {
    let (plain, packed) = (raw(&[1; 300]), zlib(&[2; 300]));
    let header = u16::try_from(packed.len()).unwrap().to_le_bytes();
    let second = u64::try_from(plain.len()).unwrap();
    let image = [&plain[..], &header, &packed, &second.to_le_bytes()].concat();
    let index = u64::try_from(image.len() - 8).unwrap();
    let source = image.as_slice();
    let mut metadata = Metadata::new(&source, 1).unwrap();
    let block = 32 * READ_COST + METADATA_SIZE as u64;
    let read = |bytes: u64| READ_COST + bytes;
    let decoded = metadata.codec.cost(packed.len());
    assert_eq!(
        metadata.steps(|m| m.read::<100>(&mut at(0))),
        block + read(100)
    );
    assert_eq!(metadata.steps(|m| m.read::<100>(&mut at(0))), read(100));
    let steps = metadata.steps(|m| m.byte(second));
    assert_eq!(steps, block + decoded + read(1));
    assert_eq!(metadata.steps(|m| m.byte(second)), read(1));
    let steps = metadata.steps(|m| m.element::<4>(index, 0, END));
    assert_eq!(steps, 16 * READ_COST + read(4));
    let word = u32::try_from(packed.len()).unwrap();
    let data = 32 * READ_COST + 4096;
    assert_eq!(
        metadata.steps(|m| m.data(second + 2, word | RAW_DATA, 4096)),
        data
    );
    assert_eq!(
        metadata.steps(|m| m.data(second + 2, word, 4096)),
        data + decoded
    );
    metadata.charge(metadata.work).unwrap();
    let error = metadata.byte(0).unwrap_err();
    assert!(error.to_string().contains("steps of work"), "{error}");
}

/// A few bytes can make a decoder start again from nothing, and more of them cost more. Yet a full block takes less than
/// a 4096th of the limit: the tables of a million files have fewer.
#[test]
fn decompressing_costs_more_than_copying_within_share_of_limit() {
    let all = [
        1,
        6,
        #[cfg(feature = "xz")]
        4,
        #[cfg(feature = "lz4")]
        5,
    ];
    for number in all {
        let codec = Codec::new(number).unwrap();
        for stored in [1, 100, METADATA_SIZE] {
            let least = (1 << 10) + 4 * stored as u64;
            assert!(codec.cost(stored) >= least, "{codec:?} {stored}");
        }
        assert!(codec.cost(METADATA_SIZE) < WORK_MAX >> 12, "{codec:?}");
    }
    assert_eq!(Codec::none().cost(METADATA_SIZE), 0);
}
