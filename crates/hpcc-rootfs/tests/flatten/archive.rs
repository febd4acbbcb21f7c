//! Layers as lists of entries, and as tar archives.

/// One entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) path: String,
    pub(crate) what: What,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) mtime: u64,
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
    /// Access control lists as text: the ends of their keys, and the lists.
    pub(crate) acls: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Directory,
    File(String),
    Symlink(String),
    Link(String),
    Fifo,
    Char(u32, u32),
}

impl Item {
    pub(crate) fn new(path: &str, what: What) -> Self {
        Self {
            path: path.into(),
            mode: if what == What::Directory {
                0o755
            } else {
                0o644
            },
            what,
            uid: 0,
            mtime: 1,
            xattrs: Vec::new(),
            acls: Vec::new(),
        }
    }

    /// `a/` a directory, `a` a file that contains its path, `a=text` a file, `a->b` a symlink,
    /// `a==b` a hard link; each with `@0700` behind it for another mode.
    pub(crate) fn parse(token: &str) -> Self {
        let (token, mode) = match token.rsplit_once('@') {
            Some((token, mode)) => (token, Some(u16::from_str_radix(mode, 8).unwrap())),
            None => (token, None),
        };
        let mut item = if let Some((path, target)) = token.split_once("->") {
            Self::new(path, What::Symlink(target.into()))
        } else if let Some((path, target)) = token.split_once("==") {
            Self::new(path, What::Link(target.into()))
        } else if let Some((path, text)) = token.split_once('=') {
            Self::new(path, What::File(text.into()))
        } else if token.ends_with('/') {
            Self::new(token, What::Directory)
        } else {
            Self::new(token, What::File(token.into()))
        };
        item.mode = mode.unwrap_or(item.mode);
        item
    }
}

/// Returns a layer from the notation of [`Item::parse`], entries separated by spaces.
pub(crate) fn layer(text: &str) -> Vec<Item> {
    text.split_whitespace().map(Item::parse).collect()
}

/// Returns the layer as an archive.
pub(crate) fn tar(items: &[Item]) -> Vec<u8> {
    let mut tar = Vec::new();
    for item in items {
        let (flag, link, body, device) = match &item.what {
            What::Directory => (b'5', "", "", (0, 0)),
            What::File(text) => (b'0', "", text.as_str(), (0, 0)),
            What::Symlink(target) => (b'2', target.as_str(), "", (0, 0)),
            What::Link(target) => (b'1', target.as_str(), "", (0, 0)),
            What::Fifo => (b'6', "", "", (0, 0)),
            What::Char(major, minor) => (b'3', "", "", (*major, *minor)),
        };
        let mut records = Vec::new();
        if item.path.len() > 100 {
            record(&mut records, "path", item.path.as_bytes());
        }
        if link.len() > 100 {
            record(&mut records, "linkpath", link.as_bytes());
        }
        for (name, value) in &item.xattrs {
            record(&mut records, &format!("SCHILY.xattr.{name}"), value);
        }
        for (name, text) in &item.acls {
            record(&mut records, &format!("SCHILY.acl.{name}"), text.as_bytes());
        }
        if !records.is_empty() {
            let header = Header {
                flag: b'x',
                ..Header::new("pax", records.len())
            };
            header.write(&mut tar);
            push_body(&mut tar, &records);
        }
        let header = Header {
            flag,
            link,
            mode: item.mode,
            uid: item.uid,
            mtime: item.mtime,
            device,
            ..Header::new(&item.path, body.len())
        };
        header.write(&mut tar);
        push_body(&mut tar, body.as_bytes());
    }
    tar.extend([0; 1024]);
    tar
}

fn push_body(tar: &mut Vec<u8>, body: &[u8]) {
    tar.extend(body);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// A PAX record counts the digits of its own length.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length += 1;
    }
    records.extend(format!("{length} {key}=").bytes());
    records.extend(value);
    records.push(b'\n');
}

struct Header<'a> {
    flag: u8,
    path: &'a str,
    link: &'a str,
    mode: u16,
    uid: u32,
    mtime: u64,
    size: usize,
    device: (u32, u32),
}

impl<'a> Header<'a> {
    fn new(path: &'a str, size: usize) -> Self {
        Self {
            flag: b'0',
            path,
            link: "",
            mode: 0o644,
            uid: 0,
            mtime: 0,
            size,
            device: (0, 0),
        }
    }

    fn write(&self, tar: &mut Vec<u8>) {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.path.as_bytes()[..self.path.len().min(100)]);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, format!("{:07o}", self.uid).as_bytes());
        put(116, format!("{:07o}", self.uid).as_bytes());
        put(124, format!("{:011o}", self.size).as_bytes());
        put(136, format!("{:011o}", self.mtime).as_bytes());
        put(148, b"        ");
        put(156, &[self.flag]);
        put(157, &self.link.as_bytes()[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}", self.device.0).as_bytes());
        put(337, format!("{:07o}", self.device.1).as_bytes());
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend(block);
    }
}
