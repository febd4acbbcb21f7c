//! Archives made header by header, for forms that current writers no longer produce or should never have produced.

/// A header under construction.
pub(crate) struct Raw(pub(crate) [u8; 512]);

pub(crate) fn raw(flag: u8, name: &[u8]) -> Raw {
    let raw = Raw([0; 512]);
    let raw = raw.put(0, name).put(100, b"0000644\0").put(156, &[flag]);
    raw.put(257, b"ustar\x0000").size(0)
}

impl Raw {
    pub(crate) fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn size(self, size: usize) -> Self {
        self.put(124, format!("{size:011o}\0").as_bytes())
    }

    pub(crate) fn link(self, target: &[u8]) -> Self {
        self.put(157, target)
    }

    pub(crate) fn gnu(self) -> Self {
        self.put(257, b"ustar  \0")
    }

    pub(crate) fn sum(&self) -> i64 {
        self.0.iter().map(|byte| i64::from(*byte)).sum()
    }

    /// Returns the header with its checksum, and the body, padded.
    pub(crate) fn with(self, body: &[u8]) -> Vec<u8> {
        let raw = self.put(148, b"        ");
        let sum = format!("{:06o}\0 ", raw.sum());
        let mut bytes = raw.put(148, sum.as_bytes()).0.to_vec();
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.with(b"")
    }
}

pub(crate) fn file(name: &[u8], body: &[u8]) -> Vec<u8> {
    raw(b'0', name).size(body.len()).with(body)
}

pub(crate) fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest + 1..).find(|n| *n == rest + n.to_string().len());
        body.extend(format!("{} {key}=", length.unwrap()).bytes());
        body.extend(*value);
        body.push(b'\n');
    }
    raw(b'x', b"pax").size(body.len()).with(&body)
}

pub(crate) fn long(flag: u8, name: &[u8]) -> Vec<u8> {
    let body = [name, b"\0"].concat();
    raw(flag, b"././@LongLink")
        .gnu()
        .size(body.len())
        .with(&body)
}
