//! Archives made of generated headers: every field, format, type, way to write a number, extended
//! header and sparse form, most of them with one odd thing at most.

use super::Odd;
use super::sparse::sparse;

pub(super) const BLOCK: usize = 512;

/// A generated case.
pub(super) struct Case {
    pub(super) seed: u64,
    /// Blocks of headers and contents, without the end of the archive.
    pub(super) entries: Vec<u8>,
    pub(super) end: Vec<u8>,
    /// What is odd about it.
    pub(super) odd: Vec<Odd>,
}

impl Case {
    /// Returns the whole archive, between two ordinary files that show whether a reader lost its place.
    pub(super) fn archive(&self) -> Vec<u8> {
        let is_last = !self.end.iter().all(|byte| *byte == 0) || self.end.len() < 2 * BLOCK;
        let after = if is_last { Vec::new() } else { plain("zz") };
        [plain("aa"), self.entries.clone(), after, self.end.clone()].concat()
    }
}

/// The generator's source of numbers: splitmix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let count = u64::try_from(from.len()).unwrap();
        from[usize::try_from(self.below(count)).unwrap()].clone()
    }
}

/// A header under construction.
pub(super) struct Header([u8; BLOCK]);

impl Header {
    pub(super) fn new(flag: u8, name: &[u8]) -> Self {
        let header = Self([0; BLOCK]).put(0, name).put(156, &[flag]);
        header
            .put(100, b"0000644\0")
            .put(257, b"ustar\x0000")
            .size(0)
    }

    pub(super) fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(super) fn size(self, size: usize) -> Self {
        self.put(124, format!("{size:011o}\0").as_bytes())
    }

    /// Its bytes with the checksum, and the contents after it, padded.
    pub(super) fn with(self, contents: &[u8]) -> Vec<u8> {
        let header = self.put(148, b"        ");
        let sum: u32 = header.0.iter().map(|byte| u32::from(*byte)).sum();
        let header = header.put(148, format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = [&header.0, contents].concat();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }
}

fn plain(name: &str) -> Vec<u8> {
    Header::new(b'0', name.as_bytes()).size(1).with(b"1")
}

pub(super) fn extended(flag: u8, records: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest + 1..).find(|n| *n == rest + n.to_string().len());
        body.extend(format!("{} {key}=", length.unwrap()).bytes());
        body.extend(value);
        body.push(b'\n');
    }
    Header::new(flag, b"PaxHeaders/f")
        .size(body.len())
        .with(&body)
}

fn long(flag: u8, name: &[u8]) -> Vec<u8> {
    let body = [name, b"\0"].concat();
    let header = Header::new(flag, b"././@LongLink").put(257, b"ustar  \0");
    header.size(body.len()).with(&body)
}

fn base256(number: i64, width: usize) -> Vec<u8> {
    let mut bytes = vec![if number < 0 { 0xFF } else { 0 }; width];
    let number = number.to_be_bytes();
    let digits = number.len().min(width);
    bytes[width - digits..].copy_from_slice(&number[number.len() - digits..]);
    bytes[0] |= 0x80;
    bytes
}

/// Returns a number in one of the ways that tar has.
fn number(random: &mut Random, value: u64, width: usize, odd: &mut Vec<Odd>) -> Vec<u8> {
    let digits = format!("{value:o}").into_bytes();
    let padded = |zero: u8, end: &[u8]| {
        let zeros = width.saturating_sub(digits.len() + end.len());
        [&vec![zero; zeros][..], &digits, end].concat()
    };
    let field = match random.below(40) {
        0 => padded(b' ', b"\0"),
        1 => padded(b' ', b" "),
        2 => padded(b'0', b" \0"),
        3 => padded(b'0', b" "),
        4 => padded(b'0', b""),
        5 => [&digits[..], b"\0"].concat(),
        6 => [&digits[..], b" "].concat(),
        7 | 8 => base256(i64::try_from(value).unwrap(), width),
        9 => {
            odd.push(Odd::LeadingNuls);
            let mut field = padded(b'0', b"\0");
            let count = usize::try_from(1 + random.below(3)).unwrap();
            field[..count].fill(0);
            field
        }
        10 if value == 0 => vec![0; width],
        11 if value == 0 => {
            odd.push(Odd::Blanks);
            vec![b' '; width]
        }
        12 => {
            odd.push(Odd::Garbage);
            random.pick(&[
                b"12x4\0".to_vec(),
                b"0000008\0".to_vec(),
                b"-1\0".to_vec(),
                b"+7\0".to_vec(),
                b"12 34\0".to_vec(),
                b"\t17\0".to_vec(),
                b"0x1F\0".to_vec(),
                [&[0x81][..], &[1; 7]].concat(),
                [&[0xC0][..], &[0; 7]].concat(),
                base256(-2, width),
                base256(1 << 33, 8),
                b"77777777".to_vec(),
            ])
        }
        _ => padded(b'0', b"\0"),
    };
    match field.len() {
        length if length <= width => field,
        _ => padded(b'0', b"\0"),
    }
}

const NAMES: &[&[u8]] = &[
    b"f", b"dir/f", b"a/b/c", b"./x", b"/abs", b"a//b", b"a/./b", b"d/", b"a/d/", b"...", b"-x",
    b"with space", b"a=b",
    b"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
];

/// Makes case number `seed`.
pub(super) fn case(seed: u64) -> Case {
    let mut random = Random(seed);
    let random = &mut random;
    let mut odd = Vec::new();
    let mut before = Vec::new();

    let flag = match random.below(20) {
        0..=8 => b'0',
        9 => 0,
        10 => b'7',
        11 | 12 => b'5',
        13 => b'2',
        14 | 15 => b'1',
        16 => b'3',
        17 => b'4',
        18 => b'6',
        _ => random.pick(b"8ADMNVXZas\xFF"),
    };
    let is_file = matches!(flag, 0 | b'0' | b'7');
    let name = random.pick(NAMES);
    let mut header = Header::new(flag, name);
    if flag == b'0' && name.ends_with(b"/") {
        odd.push(Odd::SlashFile);
    }
    if flag == b'7' && name.ends_with(b"/") {
        odd.push(Odd::SlashFile);
    }
    if name.len() < 90 && random.one_in(12) {
        header = header.put(name.len() + 1, b"garbage");
    }
    if matches!(flag, b'1' | b'2') || random.one_in(15) {
        let target: &[u8] = random.pick(&[&b"aa"[..], b"dir/t", b"./t", b"/t", b"t//u"]);
        header = header.put(157, target);
    }

    let magic = random.below(20);
    let mut gnu = false;
    match magic {
        0..=9 => {}
        10..=13 => {
            header = header.put(257, b"ustar  \0");
            gnu = true;
        }
        14 | 15 => header = header.put(257, &[0; 8]),
        16 => header = header.put(257, b"ustar\0\0\0"),
        17 => {
            header = header.put(508, b"tar\0");
            if random.one_in(2) {
                header = header.put(476, b"00000000001 ").put(488, b"00000000001 ");
            }
        }
        _ => {
            odd.push(Odd::Magic);
            let bad = random.pick(&[b"ustar  X", b"ustar 00", b"USTAR\x0000", b"ustarX00"]);
            header = header.put(257, bad);
        }
    }
    if random.one_in(5) {
        let prefix: &[u8] = random.pick(&[&b"p"[..], b"dir/sub", b"p/", b"long/prefix/of/a/name"]);
        header = header.put(345, prefix);
        match magic {
            10..=13 => odd.push(Odd::GnuPrefix),
            14 | 15 | 18.. => odd.push(Odd::Prefix),
            _ => {}
        }
    } else if gnu && random.one_in(3) {
        let time = |random: &mut Random| match random.below(3) {
            0 => vec![0; 12],
            1 => b"14000000000\0".to_vec(),
            _ => base256(1 << 34, 12),
        };
        let (access, change) = (time(random), time(random));
        if access[0] != 0 || change[0] != 0 {
            odd.push(Odd::GnuTimes);
        }
        header = header.put(345, &access).put(357, &change);
    }

    let (uid, gid) = (random.below(2000), random.below(2000));
    let mode = random.pick(&[0o644, 0o755, 0o600, 0o4755, 0o2755, 0o1777, 0o100_644, 0]);
    let mtime = random.pick(&[0, 1, 1_234_567_890, 4_294_967_295, 8_589_934_591]);
    let width =
        |random: &mut Random, value, width, odd: &mut Vec<Odd>| number(random, value, width, odd);
    let field = width(random, mode, 8, &mut odd);
    header = header.put(100, &[0; 8]).put(100, &field);
    let field = width(random, uid, 8, &mut odd);
    header = header.put(108, &field);
    let field = width(random, gid, 8, &mut odd);
    header = header.put(116, &field);
    let field = width(random, mtime, 12, &mut odd);
    header = header.put(136, &field);
    if matches!(flag, b'3' | b'4') || random.one_in(20) {
        let mut device = Vec::new();
        let major = width(random, 8, 8, &mut device);
        let minor = width(random, 1, 8, &mut device);
        if !matches!(flag, b'3' | b'4') && device.contains(&Odd::Garbage) {
            device.push(Odd::DeviceOfFile);
        }
        odd.extend(device);
        header = header.put(329, &major).put(337, &minor);
    }

    let length = usize::try_from(random.pick(&[0u64, 1, 5, 511, 512, 513, 1500])).unwrap();
    let mut contents = vec![b'c'; length];
    let mut declared = length;
    if !is_file {
        contents.clear();
        declared = 0;
        if random.one_in(12) {
            declared = usize::try_from(random.pick(&[1u64, 512, 777])).unwrap();
            odd.push(Odd::SizeWithoutContents);
            if random.one_in(4) {
                contents = vec![b'c'; declared];
            }
        }
    }
    let mut size = Vec::new();
    let field = width(random, u64::try_from(declared).unwrap(), 12, &mut size);
    if !is_file && size.contains(&Odd::Garbage) {
        size.push(Odd::SizeWithoutContents);
    }
    odd.extend(size);
    header = header.put(124, &field);

    let mut records: Vec<(&str, Vec<u8>)> = Vec::new();
    let text = |value: u64| value.to_string().into_bytes();
    if random.one_in(4) {
        for _ in 0..1 + random.below(3) {
            match random.below(16) {
                0 | 1 => records.push((
                    "path",
                    random
                        .pick(&[&b"pax/name"[..], b"other", b"./o", b"d/e/"])
                        .into(),
                )),
                2 => records.push(("linkpath", b"pax/target".to_vec())),
                3 => records.push(("uid", text(random.below(1 << 32)))),
                4 => records.push(("gid", text(random.below(1 << 32)))),
                5 => records.push((
                    "mtime",
                    random
                        .pick(&[
                            &b"12.5"[..],
                            b"1700000000.123456789",
                            b"-7",
                            b"-0.5",
                            b"9999999999",
                            b"3",
                        ])
                        .into(),
                )),
                6 if is_file => {
                    records.push(("size", text(u64::try_from(length).unwrap())));
                    header = header.size(random.pick(&[0, length, 7]));
                }
                7 => records.push(("SCHILY.xattr.user.k", b"a\n5 x=y\n\0".to_vec())),
                8 => records.push(("comment", b"text".to_vec())),
                9 => records.push(("atime", b"5.5".to_vec())),
                10 => records.push(("uname", b"root".to_vec())),
                11 => records.push(("VENDOR.key", b"v=w".to_vec())),
                12 => {
                    odd.push(Odd::EmptyRecord);
                    records.push((
                        random.pick(&["path", "linkpath", "uid", "gid", "mtime", "size"]),
                        Vec::new(),
                    ));
                }
                13 => {
                    odd.push(Odd::BadRecord);
                    let value: &[u8] = random.pick(&[
                        &b"x"[..],
                        b"-1",
                        b"+5",
                        b" 7",
                        b"7 ",
                        b"0x10",
                        b"1e3",
                        b"99999999999999999999",
                    ]);
                    let key = random.pick(&["uid", "gid", "mtime", "size"]);
                    if key == "mtime" && value.len() == 20 {
                        odd.push(Odd::FarTime);
                    }
                    records.push((key, value.into()));
                }
                _ => {}
            }
        }
    }
    let is_slash_record = |(key, value): &(&str, Vec<u8>)| *key == "path" && value.ends_with(b"/");
    if is_file && flag != 0 && records.iter().any(is_slash_record) {
        odd.push(Odd::SlashFile);
    }
    if flag == 0 && (name.ends_with(b"/") || records.iter().any(is_slash_record)) {
        odd.push(Odd::OldDirectory);
    }
    if !records.is_empty() {
        before.extend(extended(b'x', &records));
        if random.one_in(12) {
            odd.push(Odd::TwoHeaders);
            let second = match random.below(3) {
                0 => records.clone(),
                1 => vec![("uid", text(77))],
                _ => [records.clone(), vec![("gid", text(78))]].concat(),
            };
            before.extend(extended(b'x', &second));
        }
    }
    if random.one_in(12) {
        let name: &[u8] = random.pick(&[&b"long/name/by/gnu"[..], b"other", b"l/d/"]);
        if records.iter().any(|(key, _)| *key == "path") {
            odd.push(Odd::TwoNames);
        }
        if is_file && name.ends_with(b"/") {
            odd.push(Odd::SlashFile);
        }
        let header = long(b'L', name);
        // Before the records or after them.
        if random.one_in(2) {
            before.extend(&header);
        } else {
            before.splice(..0, header.clone());
        }
        if random.one_in(8) {
            odd.push(Odd::TwoHeaders);
            before.extend(long(b'L', random.pick(&[name, b"second"])));
        }
    }
    if flag == b'2' && random.one_in(6) {
        if records.iter().any(|(key, _)| *key == "linkpath") {
            odd.push(Odd::TwoNames);
        }
        before.splice(..0, long(b'K', b"long/target"));
    }
    if random.one_in(40) {
        odd.push(Odd::Global);
        let records = random.pick(&[
            vec![("comment", b"0123456789".to_vec())],
            vec![("uid", b"7".to_vec())],
            vec![("mtime", b"7".to_vec()), ("path", b"global".to_vec())],
        ]);
        before.splice(..0, extended(b'g', &records));
    }

    let mut entries = header.with(&contents);
    if is_file && records.is_empty() && random.one_in(8) {
        odd.retain(|odd| *odd == Odd::Global);
        before.retain(|_| false);
        entries = sparse(random, &mut odd);
    }
    let mut end = vec![0; 2 * BLOCK];
    match random.below(40) {
        0 => end.clear(),
        1 => end.truncate(BLOCK),
        2 => end.resize(20 * BLOCK, 0),
        3 => {
            odd.push(Odd::Padding);
            end.clear();
            let used = entries
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |at| at + 1);
            if used > BLOCK {
                entries.truncate(used);
            }
        }
        _ => {}
    }
    odd.sort_unstable();
    odd.dedup();
    Case {
        seed,
        entries: [before, entries].concat(),
        end,
        odd,
    }
}
