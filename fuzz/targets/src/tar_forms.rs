//! Archives in forms that other programs write, each with a few entries: seeds for readers of layers.

pub(crate) const BLOCK: usize = 512;

/// Fields of a header that differ from those of an empty regular file.
pub(crate) struct Header<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: u8,
    pub(crate) size: &'a [u8],
    pub(crate) mtime: &'a [u8],
    pub(crate) link: &'a str,
    pub(crate) magic: &'a [u8],
    pub(crate) prefix: &'a [u8],
}

pub(crate) const FILE: Header<'static> = Header {
    name: "",
    kind: b'0',
    size: b"00000000000",
    mtime: b"00000000000",
    link: "",
    magic: b"ustar\x0000",
    prefix: b"",
};

pub(crate) const GNU: &[u8] = b"ustar  \0";

impl Header<'_> {
    pub(crate) fn block(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, self.name.as_bytes());
        put(100, b"0000644");
        put(108, b"0000000");
        put(116, b"0000000");
        put(124, self.size);
        put(136, self.mtime);
        put(156, &[self.kind]);
        put(157, self.link.as_bytes());
        put(257, self.magic);
        put(345, self.prefix);
        seal(&mut block);
        block
    }
}

pub(crate) fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

pub(crate) fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// Returns an extended header of these records.
pub(crate) fn extended(kind: u8, records: &[&str]) -> Vec<u8> {
    let mut body = String::new();
    for record in records {
        let mut length = record.len() + 2;
        while length != length.to_string().len() + 2 + record.len() {
            length = length.to_string().len() + 2 + record.len();
        }
        body.push_str(&format!("{length} {record}\n"));
    }
    let size = format!("{:011o}", body.len());
    let header = Header {
        name: "pax",
        kind,
        size: size.as_bytes(),
        ..FILE
    };
    [header.block(), padded(body.as_bytes())].concat()
}

/// Returns a file in GNU's own sparse format: a hole, `data`, a hole.
fn old_sparse() -> Vec<u8> {
    let mut block = Header {
        name: "sparse",
        kind: b'S',
        size: b"00000000004",
        magic: GNU,
        ..FILE
    }
    .block();
    block[386..397].copy_from_slice(b"00000000010");
    block[398..409].copy_from_slice(b"00000000004");
    block[483..494].copy_from_slice(b"00000000024");
    seal(&mut block);
    [block, padded(b"data")].concat()
}

/// Archives that end as they should, with entries of each form.
pub(crate) fn forms() -> Vec<Vec<u8>> {
    let three = Header {
        size: b"00000000003",
        ..FILE
    };
    let file = |name| [Header { name, ..three }.block(), padded(b"abc")].concat();
    let end = vec![0; 2 * BLOCK];
    let whole = |parts: &[Vec<u8>]| [parts.concat(), end.clone()].concat();
    let sparse = |records: &[&str], body: &[u8]| {
        let size = format!("{:011o}", body.len());
        let header = Header {
            name: "GNUSparseFile.0/s",
            size: size.as_bytes(),
            ..FILE
        };
        whole(&[extended(b'x', records), header.block(), padded(body)])
    };
    let mut map = padded(b"1\n8\n4\n");
    map.extend(b"data");
    vec![
        // A prefix in GNU's format, as docker before 17.06 wrote it (golang/go#21005).
        whole(&[Header {
            name: "b",
            magic: GNU,
            prefix: b"directory",
            ..FILE
        }
        .block()]),
        // NULs before the digits of a number.
        whole(&[
            Header {
                name: "nul",
                size: b"\x00\x0000000003",
                ..FILE
            }
            .block(),
            padded(b"abc"),
        ]),
        // A last body without padding, and no end (opencontainers/umoci#436).
        [
            Header {
                name: "short",
                ..three
            }
            .block(),
            b"abc".to_vec(),
        ]
        .concat(),
        // Sizes without bodies.
        whole(&[
            file("a"),
            Header {
                name: "h",
                kind: b'1',
                link: "a",
                ..three
            }
            .block(),
            Header {
                name: "d/",
                kind: b'5',
                ..three
            }
            .block(),
        ]),
        // What aufs links to.
        whole(&[
            file(".wh..wh.plnk/7.9"),
            Header {
                name: "l",
                kind: b'1',
                link: ".wh..wh.plnk/7.9",
                ..FILE
            }
            .block(),
        ]),
        // An extended header that comes twice, after a global one.
        whole(&[
            extended(b'g', &["comment=0123456789abcdef"]),
            extended(b'x', &["path=second", "mtime=1.5", "SCHILY.xattr.user.a=b"]),
            extended(b'x', &["path=second", "mtime=1.5", "SCHILY.xattr.user.a=b"]),
            file("plain"),
        ]),
        // V7, and a time before 1970 in base 256.
        whole(&[
            Header {
                name: "v7/",
                kind: 0,
                magic: b"",
                ..FILE
            }
            .block(),
            Header {
                name: "old",
                mtime: b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe",
                magic: GNU,
                ..FILE
            }
            .block(),
        ]),
        whole(&[old_sparse(), file("after")]),
        sparse(
            &[
                "GNU.sparse.size=20",
                "GNU.sparse.numblocks=1",
                "GNU.sparse.offset=8",
                "GNU.sparse.numbytes=4",
            ],
            b"data",
        ),
        sparse(
            &[
                "GNU.sparse.size=20",
                "GNU.sparse.numblocks=1",
                "GNU.sparse.name=s",
                "GNU.sparse.map=8,4",
            ],
            b"data",
        ),
        sparse(
            &[
                "GNU.sparse.major=1",
                "GNU.sparse.minor=0",
                "GNU.sparse.name=s",
                "GNU.sparse.realsize=20",
            ],
            &map,
        ),
        // Names in the two parts of POSIX's header and of star's, and in members of their own.
        whole(&[
            Header {
                name: "name",
                prefix: b"directory/of/directories",
                ..FILE
            }
            .block(),
            star(),
            long(b'L', b"directory/of/a/long/name\0"),
            long(b'K', b"a\0"),
            Header {
                name: "short",
                kind: b'1',
                magic: GNU,
                ..FILE
            }
            .block(),
            long(b'K', b"../a"),
            Header {
                name: "d/symlink",
                kind: b'2',
                link: "b",
                ..FILE
            }
            .block(),
        ]),
        // Sizes in base 256, in a record, and with a checksum of signed bytes.
        whole(&[
            Header {
                name: "binary",
                size: b"\x80\0\0\0\0\0\0\0\0\0\0\x03",
                magic: GNU,
                ..FILE
            }
            .block(),
            padded(b"abc"),
            extended(b'x', &["size=3", "linkpath="]),
            file("record"),
            signed(),
        ]),
        whole(&[long_sparse(), file("after")]),
        // The size of a file before its long name, which has a size of its own (composefs/tar-rs#454).
        whole(&[
            extended(b'x', &["size=3"]),
            long(b'L', b"directory/of/a/long/name\0"),
            Header {
                name: "short",
                magic: GNU,
                ..FILE
            }
            .block(),
            padded(b"abc"),
            file("after"),
        ]),
    ]
}

/// Returns a member that describes the next one, as GNU tar writes it.
pub(crate) fn long(kind: u8, name: &[u8]) -> Vec<u8> {
    let size = format!("{:011o}", name.len());
    let header = Header {
        name: "././@LongLink",
        kind,
        size: size.as_bytes(),
        magic: GNU,
        ..FILE
    };
    [header.block(), padded(name)].concat()
}

/// Returns a header in star's format, whose prefix is shorter than that of POSIX.
fn star() -> Vec<u8> {
    let mut block = Header {
        name: "name",
        prefix: b"directory",
        ..FILE
    }
    .block();
    block[476..487].copy_from_slice(b"00000000012");
    block[508..511].copy_from_slice(b"tar");
    seal(&mut block);
    block
}

/// Returns a header whose checksum is a sum of signed bytes.
fn signed() -> Vec<u8> {
    let mut block = Header {
        name: "\u{e4}",
        ..FILE
    }
    .block();
    block[148..156].fill(b' ');
    let sum: i32 = block.iter().map(|byte| i32::from(byte.cast_signed())).sum();
    block[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
    block
}

/// Returns a file in GNU's own sparse format whose map goes on after the header.
fn long_sparse() -> Vec<u8> {
    let mut block = Header {
        name: "sparse",
        kind: b'S',
        size: b"00000000005",
        magic: GNU,
        ..FILE
    }
    .block();
    let numbers = |number: usize| format!("{:011o}\0{:011o}\0", 8 * number, 1);
    for number in 0..4 {
        let at = 386 + 24 * number;
        block[at..at + 24].copy_from_slice(numbers(number).as_bytes());
    }
    block[482] = 1;
    block[483..494].copy_from_slice(b"00000000100");
    seal(&mut block);
    let mut more = vec![0; BLOCK];
    more[..24].copy_from_slice(numbers(4).as_bytes());
    [block, more, padded(b"datum")].concat()
}

#[cfg(test)]
mod tests {
    use hpcc_rootfs::layer::{Budget, Entry, Limits, Stream, TarReader};
    use ociget::{DiffId, Digest};

    use super::*;

    /// A seed that is refused at once leads nowhere.
    #[test]
    fn forms_are_read_to_their_ends() {
        for (number, archive) in forms().into_iter().enumerate() {
            let mut budget = Budget::new(Limits::default());
            let diff_id = DiffId(Digest::of(&archive));
            let length = archive.len() as u64;
            let stream = Stream::open(&archive[..], length, diff_id, budget.limits()).unwrap();
            let mut tar = TarReader::new(stream, &mut budget);
            let (mut entry, mut entries) = (Entry::default(), 0);
            while tar
                .read_entry(&mut entry)
                .unwrap_or_else(|error| panic!("{number}: {error}"))
            {
                entries += 1;
            }
            assert!(entries > 0, "{number}");
            let _proof = tar.finish().unwrap();
        }
    }
}
