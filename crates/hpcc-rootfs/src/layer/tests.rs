//! Compressed layers: read completely, to the end, and nothing that does not belong to them.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use ociget::{DiffId, Digest};

use super::error::Error;
use super::input::{Input, Pieces};
use super::limits::Limits;
use super::measure::Measure;
use super::stream::Stream;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Returns contents that begin like an archive.
fn content() -> Vec<u8> {
    let mut bytes = vec![0; 700_000];
    let words = bytes.chunks_exact_mut(4).skip(200).zip(0u32..);
    words.for_each(|(word, n)| word.copy_from_slice(&n.wrapping_mul(2_654_435_761).to_le_bytes()));
    bytes
}

/// Returns data in pieces of odd sizes, as networks deliver it.
struct InPieces<R>(R, usize);

impl<R: Read> Read for InPieces<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.1);
        self.0.read(&mut buffer[..length])
    }
}

/// Decodes a blob however it is cut.
fn decode(blob: &[u8], expected: &[u8]) -> Result<(), Error> {
    // Around the header of a zstd frame, which is inspected as a whole.
    let small = blob.len() < 50_000;
    for piece in [1, 7, 17, 18, 19].iter().filter(|_| small) {
        decode_from(blob, *piece, blob.len(), expected)?;
    }
    decode_from(blob, 8191, blob.len(), expected)
}

fn decode_from(blob: impl Read, piece: usize, size: usize, expected: &[u8]) -> Result<(), Error> {
    let diff_id = DiffId(Digest::of(expected));
    let limits = Limits::default();
    let blob = InPieces(blob, piece);
    let mut stream = Stream::open(blob, size as u64, diff_id, &limits)?;
    let mut decoded = Vec::new();
    loop {
        let bytes = stream.take(10_000)?;
        if bytes.is_empty() {
            break;
        }
        decoded.extend_from_slice(&bytes);
    }
    assert!(decoded == expected);
    let _proof = stream.finish()?;
    Ok(())
}

#[test]
fn the_bytes_decide_how_it_is_compressed() {
    let content = content();
    for blob in [content.clone(), gzip(&content), zstd(&content)] {
        decode(&blob, &content).unwrap();
    }
    let error = decode(b"BZh91AY&SY", b"").unwrap_err().to_string();
    assert!(error.contains("neither tar nor gzip nor zstd"), "{error}");
}

#[test]
fn an_archive_may_begin_with_a_name_that_looks_compressed() {
    for name in [&b"\x1F\x8B"[..], b"\x28\xB5\x2F\xFD", b"\x50\x2A\x4D\x18"] {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name);
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        decode(&header, &header).unwrap();
    }
}

#[test]
fn every_member_of_a_gzip_file_counts() {
    let content = content();
    let mut blob = Vec::new();
    for piece in content.chunks(4000) {
        blob.extend(gzip(piece));
    }
    decode(&blob, &content).unwrap();
    blob.extend([0; 100_000]);
    decode(&blob, &content).unwrap();
}

#[test]
fn every_zstd_frame_counts_except_skippable_ones() {
    let content = content();
    let skip = [&[0x50, 0x2A, 0x4D, 0x18, 5, 0, 0, 0][..], b"12345"].concat();
    let mut blob = skip.clone();
    for piece in content.chunks(4000) {
        blob.extend(zstd(piece));
        blob.extend(&skip);
    }
    decode(&blob, &content).unwrap();
}

#[test]
fn members_and_frames_may_be_cut_anywhere_and_small() {
    let content = &content()[..5000];
    let (mut members, mut frames) = (Vec::new(), Vec::new());
    for piece in content.chunks(700) {
        members.extend(gzip(piece));
        frames.extend(zstd(piece));
        // Frames of eight bytes, more than one of which lie within the length of a header.
        frames.extend([0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0].repeat(3));
    }
    decode(&members, content).unwrap();
    decode(&frames, content).unwrap();
    decode(&content[..600], &content[..600]).unwrap();
}

#[test]
fn bytes_before_a_failure_of_the_source_are_kept() {
    let mut input = Input::new(Failures(vec![Some(b"ab"), Some(b"cd"), None, Some(b"ef")]));
    let mut head = [0; 5];
    assert!(input.head(&mut head).is_err());
    assert_eq!(input.available(), b"ab");
    assert_eq!(input.head(&mut head).unwrap(), 5);
    assert_eq!(&head, b"abcde");
    let mut all = Vec::new();
    input.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"abcdef");
    assert_eq!(input.head(&mut head).unwrap(), 0);
}

/// Fails in place of each piece that is `None`.
struct Failures(Vec<Option<&'static [u8]>>);

impl Pieces for Failures {
    fn next(&mut self) -> io::Result<Bytes> {
        if self.0.is_empty() {
            return Ok(Bytes::new());
        }
        self.0
            .remove(0)
            .map(Bytes::from_static)
            .ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

/// Says at its third call that it filled more than the buffer.
struct Overstating<R>(R, usize);

impl<R: Read> Read for Overstating<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 += 1;
        let count = self.0.read(buffer)?;
        Ok(if self.1 == 3 { buffer.len() + 1 } else { count })
    }
}

/// rust-lang/rust#80895, #82892
#[test]
fn reader_that_overstates_its_count_is_a_failed_source() {
    let content = content();
    for blob in [gzip(&content), zstd(&content), content] {
        let reader = Overstating(InPieces(&blob[..], 8191), 0);
        let mut stream = Stream::unverified(reader).unwrap();
        let mut all = || -> Result<(), Error> {
            while !stream.take(u64::MAX)?.is_empty() {}
            Ok(())
        };
        for _ in 0..2 {
            let Err(Error::Source(cause)) = all() else {
                panic!("the stream goes on");
            };
            assert_eq!(cause.kind(), io::ErrorKind::InvalidData);
            let expected = "its reader returned 65537 bytes for a buffer of 65536";
            assert_eq!(cause.to_string(), expected);
        }
    }
}

#[test]
fn damage_differs_from_a_failed_source() {
    let content = content();
    for (codec, blob) in [("gzip", gzip(&content)), ("zstd", zstd(&content))] {
        for cut in [blob.len() - 1, blob.len() / 2, 20] {
            let error = decode(&blob[..cut], &content).unwrap_err();
            assert!(
                matches!(error, Error::Compression { codec: c, .. } if c == codec),
                "{error}"
            );
            let failing = blob[..cut].chain(Failing);
            let error = decode_from(failing, 8191, blob.len(), &content).unwrap_err();
            let Error::Source(cause) = error else {
                panic!("{error}");
            };
            assert_eq!(cause.to_string(), "the cable is out");
        }
        let mut flipped = blob.clone();
        flipped[blob.len() / 2] ^= 0x10;
        // The codec does not notice every flipped bit; the digest notices all.
        let limits = Limits::default();
        let id = DiffId(Digest::of(&content));
        let stream = Stream::open(&flipped[..], flipped.len() as u64, id, &limits).unwrap();
        let error = stream.finish().unwrap_err();
        assert!(
            matches!(error, Error::Compression { .. } | Error::DiffId(_)),
            "{error}"
        );
        for garbage in [&b"x"[..], b"\0\0x", &[0x1F, 0x8B, 1]] {
            let blob = [&blob, garbage].concat();
            let error = decode(&blob, &content).unwrap_err();
            assert!(matches!(error, Error::Compression { .. }), "{error}");
        }
    }
    let error = decode_from(content.chain(Failing), 8191, 0, &content).unwrap_err();
    let Error::Source(cause) = error else {
        panic!("{error}");
    };
    assert_eq!(cause.to_string(), "the cable is out");
}

#[test]
fn bytes_before_damage_come_before_its_error() {
    let (first, last) = (b"first".repeat(1000), b"last".repeat(1000));
    for encode in [gzip, zstd] {
        let blob = [encode(&first), encode(&last)].concat();
        let cut = &blob[..blob.len() - 9];
        let (id, limits) = (DiffId(Digest::of(b"")), Limits::default());
        let layer = Stream::open(cut, cut.len() as u64, id, &limits).unwrap();
        for mut stream in [layer, Stream::unverified(cut).unwrap()] {
            assert!(stream.take(u64::MAX).unwrap().starts_with(&first));
            let mut rest = || loop {
                match stream.take(u64::MAX) {
                    Ok(bytes) if bytes.is_empty() => break Ok(()),
                    Ok(_) => {}
                    Err(error) => break Err(error),
                }
            };
            let error = rest().unwrap_err();
            assert!(matches!(error, Error::Compression { .. }), "{error}");
        }
    }
}

#[test]
fn limit_of_all_layers_at_the_end_of_a_chunk_is_no_end() {
    let content = content();
    for blob in [content.clone(), gzip(&content), zstd(&content)] {
        let (id, limits) = (DiffId(Digest::of(&content)), Limits::default());
        let open = || Stream::open(&blob[..], blob.len() as u64, id.clone(), &limits).unwrap();
        let chunk = open().take(u64::MAX).unwrap();
        assert!(chunk.len() < content.len());
        let mut stream = open();
        stream.allow(chunk.len() as u64, 1 << 30);
        assert_eq!(stream.take(u64::MAX).unwrap(), chunk);
        let error = stream.take(u64::MAX).unwrap_err();
        let is_limit = matches!(
            error,
            Error::Limit { what: Measure::UnpackedBytes, value, .. } if value == (1 << 30) + 1
        );
        assert!(is_limit, "{error}");
    }
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the cable is out"))
    }
}

#[test]
fn bytes_after_the_archive_are_hashed() {
    let content = content();
    let other = [&content[..], b"more"].concat();
    let limits = Limits::default();
    let id = DiffId(Digest::of(&content));
    let mut stream = Stream::open(&other[..], 0, id, &limits).unwrap();
    let _some = stream.take(1000).unwrap();
    assert!(matches!(stream.finish(), Err(Error::DiffId(_))));
}

#[test]
fn a_zstd_bomb_stops_at_the_bytes_of_a_layer() {
    let max = 16 << 20;
    for more in [1, 48 << 20] {
        let blob = zstd(&vec![0; max + more]);
        let limits = Limits {
            layer_bytes: max as u64,
            ..Limits::default()
        };
        let id = DiffId(Digest::of(b""));
        let stream = Stream::open(&blob[..], blob.len() as u64, id, &limits).unwrap();
        let error = stream.finish().unwrap_err();
        let Error::Limit { value, max, .. } = error else {
            panic!("{error}");
        };
        assert_eq!((value, max), ((16 << 20) + 1, 16 << 20));
    }
}

#[test]
fn nothing_that_gzip_can_do_is_beyond_the_ratio() {
    let content = vec![0; 40 << 20];
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&content).unwrap();
    let blob = encoder.finish().unwrap();
    assert!(content.len() / blob.len() > 1000);
    decode(&blob, &content).unwrap();
}

#[test]
fn layer_may_have_its_ratio_and_not_a_byte_more() {
    let content = b"0123456789".repeat(70_000);
    let blob = gzip(&content);
    let needed = content.len().div_ceil(blob.len()) as u64;
    assert!(needed > 1);
    let read_with = |ratio| {
        let limits = Limits {
            ratio,
            ratio_floor: 0,
            ..Limits::default()
        };
        let id = DiffId(Digest::of(&content));
        Stream::open(&blob[..], blob.len() as u64, id, &limits)?.finish()
    };
    let _proof = read_with(needed).unwrap();
    let error = read_with(needed - 1).unwrap_err();
    let Error::Limit { max, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(max, (needed - 1) * blob.len() as u64);
}

#[test]
fn window_at_the_cap_is_read_and_larger_one_refused() {
    let with_window = |log| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(&content()).unwrap();
        encoder.finish().unwrap()
    };
    decode(&with_window(27), &content()).unwrap();
    let read_with = |log, zstd_window| {
        let blob = with_window(log);
        let limits = Limits {
            zstd_window,
            ..Limits::default()
        };
        let id = DiffId(Digest::of(&content()));
        Stream::open(&blob[..], blob.len() as u64, id, &limits)?.finish()
    };
    let _proof = read_with(12, 4096).unwrap();
    let _proof = read_with(28, 1 << 28).unwrap();
    for (log, allowed) in [(28, 128 << 20), (12, 4095), (28, (1 << 28) - 1)] {
        let error = read_with(log, allowed).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Limit {
                    what: Measure::ZstdWindow,
                    value,
                    max,
                    ..
                } if value == 1 << log && max == allowed
            ),
            "{error}"
        );
    }
}

/// Decompresses a blob of that tar within a ratio of 10 and a floor of `floor` bytes.
fn within_ratio(blob: &[u8], content: &[u8], floor: usize) -> Result<(), String> {
    let id = DiffId(Digest::of(content));
    let limits = Limits {
        ratio: 10,
        ratio_floor: floor as u64,
        ..Limits::default()
    };
    let stream = Stream::open(blob, blob.len() as u64, id, &limits);
    let finished = stream.and_then(Stream::finish);
    finished.map(drop).map_err(|error| error.to_string())
}

#[test]
fn ratio_limits_zeros_in_gzip_above_the_floor() {
    let content = vec![0; 1 << 20];
    let blob = gzip(&content);
    within_ratio(&blob, &content, content.len()).unwrap();
    let error = within_ratio(&blob, &content, content.len() - 1).unwrap_err();
    let words = ["for its compressed size", "1048575", "Limits::ratio"];
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
}

#[test]
fn zeros_in_zstd_and_plain_tar_have_no_ratio() {
    let content = vec![0; 1 << 20];
    for blob in [zstd(&content), content.clone()] {
        within_ratio(&blob, &content, 0).unwrap();
    }
}

#[test]
fn decoder_without_memory_says_nothing_about_the_layer() {
    let shortage = io::Error::from(io::ErrorKind::OutOfMemory);
    let error = Input::new(Failures(Vec::new())).blame("zstd", shortage);
    assert!(matches!(error, Error::Shortage(_)), "{error}");
}
