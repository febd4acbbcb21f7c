//! Agents and interpreters as a tenant chooses them: every build succeeds, and its warning is one line of printable text.
//! If a chain of scripts ends in a missing or wrong file, a warning says so, and a chain that ends in a program has none.
//!
//! The first byte chooses the architecture. Then there are files, each behind a byte for its place, one for its form, and
//! two for its length. The first is the agent.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;

use hpcc_rootfs::tables::{EntryKind, Tables};
use hpcc_rootfs::{Agents, Options, Platform, Summary};

use crate::archive::{Item, What, tar};

const BLOCK: usize = 512;
const ARCHITECTURES: [&str; 8] = [
    "amd64", "386", "arm64", "arm", "s390x", "mips", "riscv64", "quantum",
];
/// Places of the files below the root.
const PLACES: [&str; 12] = [
    "a",
    "b",
    "c",
    "d",
    "lib",
    "bin/sh",
    "bin/a",
    "bin/b",
    "usr/lib/ld",
    "usr/lib/b",
    "usr/bin",
    "usr/a",
];
/// Most bytes of a symlink's target.
const PATH_MAX: usize = 4095;
/// Interpreters of one another, as the kernel counts them.
const SCRIPTS: usize = 5;

/// Panics if a promise is broken.
pub fn check(input: &[u8]) {
    let Some((&how, mut rest)) = input.split_first() else {
        return;
    };
    let architecture = ARCHITECTURES[usize::from(how) % ARCHITECTURES.len()];
    let Some(agent) = take(&mut rest) else {
        return;
    };
    let mut items = BTreeMap::new();
    while let Some(file) = take(&mut rest) {
        items.insert(PLACES[usize::from(file.place) % PLACES.len()], file);
    }
    let Some((summary, image)) = build(architecture, &agent.contents(), &items) else {
        return;
    };
    let problem = summary.agent_problem;
    if let Some(text) = &problem {
        assert!(
            text.chars().all(|char| !char.is_control()),
            "{text:?} is not one line"
        );
    }
    let image = Image::of(&image);
    match image.executes(b"/.hpcc/agent", 0) {
        Some(true) if architecture == "amd64" => assert_eq!(problem, None),
        Some(false) => assert!(problem.is_some(), "no warning"),
        _ => {}
    }
}

/// A file of the input.
struct File<'i> {
    place: u8,
    form: u8,
    bytes: &'i [u8],
}

fn take<'i>(input: &mut &'i [u8]) -> Option<File<'i>> {
    let (&[place, form, low, high], rest) = input.split_first_chunk()?;
    let length = usize::from(u16::from_le_bytes([low, high]));
    let (bytes, rest) = rest.split_at(length.min(rest.len()));
    *input = rest;
    Some(File { place, form, bytes })
}

impl File<'_> {
    /// Returns the bytes, a script of them, or a program.
    fn contents(&self) -> Vec<u8> {
        match self.form & 3 {
            0 => self.bytes.to_vec(),
            1 => [b"#!", self.bytes].concat(),
            2 => program(),
            // Beyond a block of the image.
            _ => [b"#!", self.bytes, b"\n", &[b'x'; 5000]].concat(),
        }
    }

    /// Appends the entry of an archive.
    fn append(&self, name: &str, archive: &mut Vec<u8>) {
        let entry = |what, mode| {
            let mut item = Item::new(name, what);
            item.mode = mode;
            let mut entry = tar(&[item]);
            entry.truncate(entry.len() - 2 * BLOCK);
            entry
        };
        if self.form & 4 != 0 {
            let target = String::from_utf8_lossy(self.bytes).replace('\0', "/");
            let mut length = target.len().min(PATH_MAX);
            while !target.is_char_boundary(length) {
                length -= 1;
            }
            let target = if target.is_empty() {
                "."
            } else {
                &target[..length]
            };
            archive.extend(entry(What::Symlink(target.into()), 0o777));
            return;
        }
        let contents = self.contents();
        let mode = if self.form & 8 == 0 { 0o755 } else { 0o644 };
        let dummy = What::File("-".repeat(contents.len()));
        let mut entry = entry(dummy, mode);
        entry[BLOCK..BLOCK + contents.len()].copy_from_slice(&contents);
        archive.extend(entry);
    }
}

/// Returns a static ELF program for amd64.
fn program() -> Vec<u8> {
    let mut file = b"\x7FELF\x02\x01\x01".to_vec();
    file.resize(120, 0);
    for (at, value) in [(16, 2), (18, 62), (32, 64), (54, 56), (56, 1), (64, 1)] {
        file[at] = value;
    }
    file
}

/// Returns the result of a build, with the artifact, or `None` if the agent is refused.
fn build(
    architecture: &str,
    agent: &[u8],
    files: &BTreeMap<&str, File<'_>>,
) -> Option<(Summary, Vec<u8>)> {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let mut archive = Vec::new();
    for (name, file) in files {
        file.append(name, &mut archive);
    }
    archive.extend([0; 2 * BLOCK]);
    fs::write(at("root.tar"), archive).unwrap();
    fs::write(at("agent"), agent).unwrap();
    let mut options = Options::default();
    options.platform = format!("linux/{architecture}").parse::<Platform>().unwrap();
    options.agents = Agents::default().with(architecture, at("agent"));
    options.image.block_size = 4096;
    options.threads = NonZeroUsize::MIN;
    options.store.min_free = 0;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let source = format!("tar:{}", at("root.tar").display());
    let built = runtime.block_on(hpcc_rootfs::build(&source, None, at("image"), &options));
    match built {
        Ok(built) => Some((built.summary, fs::read(at("image")).unwrap())),
        Err(hpcc_rootfs::Error::Agent { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// The names of an image, all at once.
struct Image(BTreeMap<Vec<u8>, Node>);

enum Node {
    Directory,
    File(u16, Vec<u8>),
    Symlink(Vec<u8>),
    Other,
}

impl Image {
    fn of(image: &[u8]) -> Self {
        let mut nodes = BTreeMap::new();
        let walked = Tables::open(&image).unwrap().walk(|entry| {
            let node = match entry.kind {
                EntryKind::Directory => Node::Directory,
                EntryKind::File { .. } => Node::File(entry.mode, Vec::new()),
                EntryKind::Symlink { target } => Node::Symlink(target.to_vec()),
                _ => Node::Other,
            };
            nodes.insert(entry.path.to_vec(), node);
        });
        walked.unwrap();
        for (path, node) in &mut nodes {
            if let Node::File(_, contents) = node {
                let found = Tables::open(&image).unwrap().contents(path, 1 << 20);
                *contents = found.unwrap().unwrap();
            }
        }
        Self(nodes)
    }

    /// Returns whether a kernel of amd64 executes a file, or `None` if that depends on an ELF header.
    fn executes(&self, path: &[u8], scripts: usize) -> Option<bool> {
        let (mode, contents) = match self.find(b"", path, &mut 0) {
            Some(found) => match &self.0[&found] {
                Node::File(mode, contents) => (mode, contents),
                _ => return Some(false),
            },
            None => return Some(false),
        };
        if mode & 0o111 == 0 {
            return Some(false);
        }
        let Some(line) = contents.strip_prefix(b"#!") else {
            return match contents.starts_with(b"\x7FELF") {
                true => (*contents == program()).then_some(true),
                false => Some(false),
            };
        };
        if scripts == SCRIPTS {
            return Some(false);
        }
        // The kernel adds zero bytes to a short file.
        let line = [
            &line[..line.len().min(254)],
            &[0].repeat(254usize.saturating_sub(line.len())),
        ]
        .concat();
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if line.contains(&b'\r') {
            return None;
        }
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let begin = line.iter().position(|byte| !blank(byte))?;
        let name = &line[begin..];
        let end = name.iter().position(|byte| blank(byte) || *byte == 0);
        if end.is_none() && line.len() == 254 {
            return Some(false);
        }
        let name = &name[..end.unwrap_or(name.len())];
        self.executes(name, scripts + 1)
    }

    /// Returns the path without symlinks of the file to which a path leads from a directory.
    fn find(&self, from: &[u8], path: &[u8], links: &mut usize) -> Option<Vec<u8>> {
        if path.is_empty() || path.len() > 4095 {
            return None;
        }
        let mut at = if path[0] == b'/' {
            Vec::new()
        } else {
            from.to_vec()
        };
        for name in path.split(|byte| *byte == b'/') {
            if !at.is_empty() && !matches!(self.0.get(&at), Some(Node::Directory)) {
                return None;
            }
            match name {
                b"" | b"." => continue,
                b".." => {
                    let up = at.iter().rposition(|byte| *byte == b'/');
                    at.truncate(up.unwrap_or_default());
                    continue;
                }
                _ => {}
            }
            let parent = at.clone();
            at.push(b'/');
            at.extend(name);
            if let Node::Symlink(target) = self.0.get(&at)? {
                *links += 1;
                if *links > 40 {
                    return None;
                }
                at = self.find(&parent, target, links)?;
                if at == b"/" {
                    at.clear();
                }
            }
        }
        Some(if at.is_empty() { b"/".to_vec() } else { at })
    }
}

/// Chains of scripts through symlinks, with each way in which they end.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    const FILE: u8 = 0;
    const SCRIPT: u8 = 1;
    const PROGRAM: u8 = 2;
    const LONG: u8 = 3;
    const LINK: u8 = 4;
    const PLAIN: u8 = 8;
    let place = |name: &str| PLACES.iter().position(|place| *place == name).unwrap();
    let seed = |agent: (u8, &[u8]), files: &[(&str, u8, &[u8])]| {
        let agent = ("a", agent.0, agent.1);
        let mut seed = vec![0];
        for (name, form, bytes) in [&[agent], files].concat() {
            seed.extend([u8::try_from(place(name)).unwrap(), form]);
            seed.extend(u16::try_from(bytes.len()).unwrap().to_le_bytes());
            seed.extend(bytes);
        }
        seed
    };
    let mut dynamic = program();
    dynamic[56] = 2;
    dynamic.resize(64 + 2 * 56, 0);
    for (at, value) in [(120, 3), (128, 176), (152, 12)] {
        dynamic[at] = value;
    }
    dynamic.extend(b"/usr/lib/ld\0");
    vec![
        seed((PROGRAM, b""), &[]),
        seed((FILE, &dynamic), &[("usr/lib/ld", PROGRAM, b"")]),
        seed(
            (SCRIPT, b" /bin/sh -e\n"),
            &[
                ("bin/sh", LINK, b"../lib/../a"),
                ("usr/a", PROGRAM, b""),
                ("lib", LINK, b"/usr/lib"),
                ("usr/lib/b", FILE, b"x"),
            ],
        ),
        seed(
            (LONG, b"/bin/sh"),
            &[
                ("bin/sh", LONG, b"/b"),
                ("b", SCRIPT, b"c"),
                ("c", FILE, &dynamic),
                ("usr/lib/ld", PLAIN | PROGRAM, b""),
            ],
        ),
        seed((SCRIPT, b"/a\n"), &[("a", LINK, b".hpcc/agent")]),
        seed((SCRIPT, b"/a/\n"), &[("a", LINK, b"b/"), ("b", LINK, b"a")]),
        seed((SCRIPT, b"/d\r\n"), &[("d", FILE, b"text")]),
        seed((FILE, b"text"), &[]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_reach_both_answers_of_the_model() {
        let answers = seeds().into_iter().map(|seed| {
            let mut rest = &seed[1..];
            let agent = take(&mut rest).unwrap();
            let mut files = BTreeMap::new();
            while let Some(file) = take(&mut rest) {
                files.insert(PLACES[usize::from(file.place)], file);
            }
            let (summary, image) = build("amd64", &agent.contents(), &files).unwrap();
            let executes = Image::of(&image).executes(b"/.hpcc/agent", 0);
            (executes, summary.agent_problem.is_none())
        });
        assert_eq!(
            answers.collect::<Vec<_>>(),
            [
                (Some(true), true),
                (None, true),
                (Some(true), true),
                (None, false),
                (Some(false), false),
                (Some(false), false),
                (None, false),
                (Some(false), false),
            ]
        );
    }
}
