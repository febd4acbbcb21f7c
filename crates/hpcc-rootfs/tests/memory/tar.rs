//! Archives of many small things.

/// Bytes of a tar block.
const BLOCK: usize = 512;

/// An archive under construction.
#[derive(Default)]
pub(crate) struct Tar {
    bytes: Vec<u8>,
    owner: (usize, usize),
}

impl Tar {
    /// An empty regular file.
    pub(crate) fn file(&mut self, name: &str) {
        self.long(b'L', name);
        self.header(b'0', name, "", 0);
    }

    /// A regular file that holds that text.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.long(b'L', name);
        self.header(b'0', name, "", text.len());
        self.body(text.as_bytes());
    }

    pub(crate) fn directory(&mut self, name: &str) {
        self.long(b'L', name);
        self.header(b'5', name, "", 0);
    }

    pub(crate) fn symlink(&mut self, name: &str, target: &str) {
        self.long(b'L', name);
        self.long(b'K', target);
        self.header(b'2', name, target, 0);
    }

    pub(crate) fn link(&mut self, name: &str, target: &str) {
        self.long(b'L', name);
        self.long(b'K', target);
        self.header(b'1', name, target, 0);
    }

    /// Extended attributes of the entry that follows.
    pub(crate) fn xattrs(&mut self, xattrs: impl IntoIterator<Item = (String, String)>) {
        let mut records = Vec::new();
        for (name, value) in xattrs {
            let rest = format!(" SCHILY.xattr.{name}={value}\n");
            let mut length = rest.len();
            while length.to_string().len() + rest.len() != length {
                length = length.to_string().len() + rest.len();
            }
            records.extend(format!("{length}{rest}").into_bytes());
        }
        self.header(b'x', "pax", "", records.len());
        self.body(&records);
    }

    /// An extended header of `length` bytes that says nothing of the entry that follows.
    pub(crate) fn comment(&mut self, length: usize) {
        let start = format!("{length} comment=");
        let filling = "x".repeat(length - start.len() - 1);
        let record = format!("{start}{filling}\n");
        self.header(b'x', "pax", "", record.len());
        self.body(record.as_bytes());
    }

    /// An empty regular file of two owners.
    pub(crate) fn owned(&mut self, name: &str, uid: usize, gid: usize) {
        self.owner = (uid, gid);
        self.file(name);
        self.owner = (0, 0);
    }

    /// A file of `runs` single bytes, each with a hole of one byte before it (POSIX, version 1.0).
    pub(crate) fn sparse(&mut self, name: &str, runs: usize) {
        let mut records = String::new();
        for (key, value) in [
            ("major", "1".to_owned()),
            ("minor", "0".to_owned()),
            ("name", name.to_owned()),
            ("realsize", (2 * runs).to_string()),
        ] {
            let rest = format!(" GNU.sparse.{key}={value}\n");
            // All of them have a length of two digits.
            records.push_str(&format!("{}{rest}", rest.len() + 2));
        }
        self.header(b'x', "pax", "", records.len());
        self.body(records.as_bytes());
        let mut map = format!("{runs}\n");
        for run in 0..runs {
            map.push_str(&format!("{}\n1\n", 2 * run + 1));
        }
        let mut body = map.into_bytes();
        body.resize(body.len().next_multiple_of(BLOCK), 0);
        body.resize(body.len() + runs, b'd');
        self.header(b'0', name, "", body.len());
        self.body(&body);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }

    /// A name that no header has space for.
    fn long(&mut self, flag: u8, name: &str) {
        if name.len() > 100 {
            self.header(flag, "././@LongLink", "", name.len());
            self.body(name.as_bytes());
        }
    }

    fn body(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.bytes
            .resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }

    fn header(&mut self, flag: u8, name: &str, link: &str, size: usize) {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, text: &[u8]| {
            let length = text.len().min(100);
            header[at..at + length].copy_from_slice(&text[..length]);
        };
        put(0, name.as_bytes());
        put(100, b"0000644");
        put(108, format!("{:07o}", self.owner.0).as_bytes());
        put(116, format!("{:07o}", self.owner.1).as_bytes());
        put(124, format!("{size:011o}").as_bytes());
        put(136, b"00000000000");
        put(148, b"        ");
        put(156, &[flag]);
        put(157, link.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend(header);
    }
}
