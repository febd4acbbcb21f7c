use super::*;

/// Not compressible, not constant, the same every time.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8))
        .flat_map(|_| step())
        .take(len)
        .collect()
}

#[test]
fn levels_out_of_range_are_refused() {
    for compressor in [
        Compressor::Gzip { level: 0 },
        Compressor::Gzip { level: 10 },
        Compressor::Zstd { level: 0 },
        Compressor::Zstd { level: -5 },
        Compressor::Zstd { level: 23 },
        Compressor::Xz { level: 10 },
    ] {
        assert!(
            matches!(compressor.resolve(131_072, None), Err(Error::Options(_))),
            "{compressor:?}"
        );
    }
}

#[test]
fn options_are_stored_when_readers_would_assume_others() {
    let cases = [
        #[cfg(feature = "gzip")]
        (Compressor::Gzip { level: 9 }, None),
        #[cfg(feature = "gzip")]
        (Compressor::Gzip { level: 6 }, Some(8)),
        #[cfg(feature = "zstd")]
        (Compressor::Zstd { level: 15 }, None),
        #[cfg(feature = "zstd")]
        (Compressor::Zstd { level: 3 }, Some(4)),
        (Compressor::None, None),
        #[cfg(feature = "xz")]
        (Compressor::Xz { level: 1 }, None),
        // Always: the kernel refuses to mount without.
        #[cfg(feature = "lz4")]
        (Compressor::Lz4 { high: false }, Some(8)),
    ];
    for (compressor, expected) in cases {
        let codecs = compressor.resolve(131_072, None).unwrap();
        assert_eq!(
            codecs.options.map(|options| options.len()),
            expected,
            "{compressor:?}"
        );
    }
}

#[test]
fn what_a_codec_returns_depends_on_the_block_alone() {
    let text = b"all work and no play ".repeat(400);
    let noise = noise(8192);
    let all: &[Compressor] = &[
        #[cfg(feature = "gzip")]
        Compressor::Gzip { level: 6 },
        #[cfg(feature = "zstd")]
        Compressor::Zstd { level: 3 },
        #[cfg(feature = "xz")]
        Compressor::Xz { level: 3 },
        #[cfg(feature = "lz4")]
        Compressor::Lz4 { high: false },
        #[cfg(feature = "lz4")]
        Compressor::Lz4 { high: true },
    ];
    for compressor in all {
        let codecs = compressor.resolve(131_072, None).unwrap();
        let mut fresh = Vec::new();
        assert!(codecs.make().unwrap().compress(&text, &mut fresh).unwrap());
        let mut used = codecs.make().unwrap();
        let mut output = Vec::new();
        for input in [&noise[..], &text[..100], b"x", &text] {
            let shrank = used.compress(input, &mut output).unwrap();
            assert_eq!(shrank, input.len() > 90 && input != noise, "{compressor:?}");
        }
        assert_eq!(output, fresh, "{compressor:?}");
    }
}

#[test]
fn two_compressors_that_differ_look_different() {
    let all = [
        Compressor::Gzip { level: 6 },
        Compressor::Gzip { level: 9 },
        Compressor::Zstd { level: 6 },
        Compressor::Xz { level: 6 },
        Compressor::Lz4 { high: false },
        Compressor::Lz4 { high: true },
        Compressor::None,
    ];
    let names: std::collections::HashSet<_> = all.iter().map(ToString::to_string).collect();
    assert_eq!(names.len(), all.len());
}

/// Says that it shrank a block, whatever it did.
struct Boasting(usize);

impl Codec for Boasting {
    fn name(&self) -> &'static str {
        "boasting"
    }

    fn compress(&mut self, _: &[u8], output: &mut Vec<u8>) -> io::Result<bool> {
        output.clear();
        output.resize(self.0, 1);
        Ok(true)
    }
}

#[test]
fn result_that_readers_would_misread_is_not_stored() {
    for (len, stored) in [
        (0, false),
        (1, true),
        (99, true),
        (100, false),
        (101, false),
    ] {
        let shrank = compress(&mut Boasting(len), &[7; 100], &mut Vec::new()).unwrap();
        assert_eq!(shrank, stored, "{len}");
    }
}
