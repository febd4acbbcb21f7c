//! What a kernel needs, apart from an agent's file, to execute it: a loader, an interpreter, or nothing.

use std::io;

use sqfs_writer::{Kind, NodeId, Tree};

use crate::flatten;

/// Number of symlinks that are followed from the name of a loader to its file, as in a kernel.
const LINKS_MAX: usize = 40;
/// Largest name of an interpreter in bytes; a kernel takes fewer after `#!` (`BINPRM_BUF_SIZE`).
const NAME_MAX: usize = 4096;

/// Longer than any file. Offsets below it can be added to, and read at.
const FILE_MAX: u64 = 1 << 48;

/// The kind of a file to the kernel that executes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// An ELF program that needs nothing.
    Static,
    /// An ELF program whose `PT_INTERP` names this loader.
    Dynamic(Vec<u8>),
    /// A script that begins with `#!` and the name of this interpreter.
    Script(Vec<u8>),
    /// Neither of these, or an ELF program that cannot be read.
    Unknown,
}

impl Program {
    /// Inspects a file through `read`, which reads as many bytes as fit from an offset on, and fewer at the end.
    pub(super) fn of(read: impl Fn(&mut [u8], u64) -> io::Result<usize>) -> io::Result<Self> {
        let bytes = |offset, length| -> io::Result<Vec<u8>> {
            let mut buffer = vec![0; length];
            let read = read(&mut buffer, offset)?;
            buffer.truncate(read);
            Ok(buffer)
        };
        let head = bytes(0, NAME_MAX)?;
        if let Some(line) = head.strip_prefix(b"#!") {
            let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let line = line.trim_ascii_start();
            let name = line.split(u8::is_ascii_whitespace).next();
            let name = name.filter(|name| !name.is_empty());
            return Ok(name.map_or(Self::Unknown, |name| Self::Script(name.to_vec())));
        }
        let Some(elf) = Elf::of(&head) else {
            return Ok(Self::Unknown);
        };
        for number in 0..elf.count {
            let entry = bytes(elf.table + number * elf.entry, 56)?;
            let Some((kind, offset, length)) = elf.segment(&entry) else {
                return Ok(Self::Unknown);
            };
            const PT_INTERP: u64 = 3;
            if kind == PT_INTERP && offset >= FILE_MAX {
                return Ok(Self::Unknown);
            }
            if kind == PT_INTERP {
                let length = usize::try_from(length).unwrap_or(NAME_MAX).min(NAME_MAX);
                let name = bytes(offset, length)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                return Ok(Self::Dynamic(name.to_vec()));
            }
        }
        Ok(Self::Static)
    }

    /// Returns the reason why a guest cannot start this program in an image, for people, or `None` if no reason is
    /// known.
    pub(super) fn problem<B>(&self, tree: &Tree<B>) -> Option<String> {
        let (what, name) = match self {
            Self::Static => return None,
            Self::Unknown => {
                return Some(
                    "is neither an ELF program nor a script with #!; a kernel cannot execute it"
                        .to_owned(),
                );
            }
            Self::Dynamic(name) => ("loader", name),
            Self::Script(name) => ("interpreter", name),
        };
        (!is_program(tree, name)).then(|| {
            format!(
                "needs the {what} {}, which the image does not have as a program; use a static agent",
                name.escape_ascii()
            )
        })
    }
}

/// The fields of an ELF header that lead to the segments.
struct Elf {
    wide: bool,
    little: bool,
    table: u64,
    entry: u64,
    count: u64,
}

impl Elf {
    fn of(head: &[u8]) -> Option<Self> {
        let (wide, little) = match *head {
            [0x7F, b'E', b'L', b'F', class @ 1..=2, order @ 1..=2, ..] => (class == 2, order == 1),
            _ => return None,
        };
        let mut elf = Self {
            wide,
            little,
            table: 0,
            entry: 0,
            count: 0,
        };
        let (table, entry) = if wide { (32, 54) } else { (28, 42) };
        elf.table = elf.number(head, table, if wide { 8 } else { 4 })?;
        elf.entry = elf.number(head, entry, 2)?;
        elf.count = elf.number(head, entry + 2, 2)?;
        (elf.table < FILE_MAX && elf.count > 0).then_some(elf)
    }

    /// Returns type, offset and length of a segment.
    fn segment(&self, entry: &[u8]) -> Option<(u64, u64, u64)> {
        let kind = self.number(entry, 0, 4)?;
        let (offset, length, width) = if self.wide { (8, 32, 8) } else { (4, 16, 4) };
        let offset = self.number(entry, offset, width)?;
        Some((kind, offset, self.number(entry, length, width)?))
    }

    fn number(&self, bytes: &[u8], at: usize, width: usize) -> Option<u64> {
        let bytes = bytes.get(at..at + width)?;
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.little {
            bytes.iter().rev().fold(0, add)
        } else {
            bytes.iter().fold(0, add)
        })
    }
}

/// Returns whether a path of the image leads to a file that can be executed.
fn is_program<B>(tree: &Tree<B>, path: &[u8]) -> bool {
    let mut path = path.to_vec();
    for _ in 0..LINKS_MAX {
        let end = path.iter().rposition(|byte| *byte == b'/');
        let (way, name) = path.split_at(end.map_or(0, |at| at + 1));
        let only_root = way.iter().all(|byte| *byte == b'/');
        let directory = if only_root {
            Some(NodeId::ROOT)
        } else {
            flatten::walk_to(tree, way).map(|walk| walk.target)
        };
        let found = directory.and_then(|directory| tree.lookup(directory, name).ok()?);
        let Some(node) = found.and_then(|found| tree.get(found)) else {
            return false;
        };
        match node.kind() {
            Kind::File(_) => return node.metadata().mode & 0o111 != 0,
            Kind::Symlink(target) if target.starts_with(b"/") => path = target.to_vec(),
            Kind::Symlink(target) => path = [way, target].concat(),
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use sqfs_writer::Metadata;

    use super::*;

    fn program(content: &[u8]) -> Program {
        let read = |buffer: &mut [u8], offset: u64| {
            let rest = content.get(usize::try_from(offset).unwrap()..);
            let mut rest = rest.unwrap_or_default();
            io::Read::read(&mut rest, buffer)
        };
        Program::of(read).unwrap()
    }

    /// Returns an ELF file with one segment of this type, which holds `name`.
    fn elf(wide: bool, little: bool, kind: u32, name: &[u8]) -> Vec<u8> {
        let number = |value: u64, width: usize| {
            let bytes = value.to_le_bytes();
            let mut bytes = bytes[..width].to_vec();
            if !little {
                bytes.reverse();
            }
            bytes
        };
        let width = if wide { 8 } else { 4 };
        let mut file = vec![
            0x7F,
            b'E',
            b'L',
            b'F',
            1 + u8::from(wide),
            2 - u8::from(little),
        ];
        file.resize(if wide { 32 } else { 28 }, 0);
        file.extend(number(64, width));
        file.resize(if wide { 54 } else { 42 }, 0);
        file.extend(number(56, 2));
        file.extend(number(1, 2));
        file.resize(64, 0);
        file.extend(number(kind.into(), 4));
        file.resize(64 + if wide { 8 } else { 4 }, 0);
        file.extend(number(120, width));
        file.resize(64 + if wide { 32 } else { 16 }, 0);
        file.extend(number(u64::try_from(name.len()).unwrap(), width));
        file.resize(120, 0);
        file.extend(name);
        file
    }

    #[test]
    fn loader_of_an_elf_program_is_found_in_every_form() {
        for (wide, little) in [(true, true), (true, false), (false, true), (false, false)] {
            let dynamic = elf(wide, little, 3, b"/lib/ld.so\0");
            assert_eq!(program(&dynamic), Program::Dynamic(b"/lib/ld.so".into()));
            let alone = elf(wide, little, 1, b"/lib/ld.so\0");
            assert_eq!(program(&alone), Program::Static);
            assert_eq!(program(&alone[..70]), Program::Unknown);
            assert_eq!(program(&alone[..20]), Program::Unknown);
        }
    }

    #[test]
    fn script_needs_its_interpreter_and_other_files_are_unknown() {
        for (content, interpreter) in [
            (&b"#!/bin/sh\n"[..], Some("/bin/sh")),
            (b"#! \t/usr/bin/env sh -x\nexit", Some("/usr/bin/env")),
            (b"#!/bin/sh", Some("/bin/sh")),
            (b"#!\n/bin/sh", None),
            (b"MZ", None),
            (b"", None),
        ] {
            let expected =
                interpreter.map_or(Program::Unknown, |name| Program::Script(name.into()));
            assert_eq!(program(content), expected, "{content:?}");
        }
    }

    #[test]
    fn interpreter_is_looked_for_through_links_of_the_image() {
        let mut tree: Tree<()> = Tree::new(Metadata::new(0o755));
        let root = NodeId::ROOT;
        let directory = |tree: &mut Tree<()>, at, name: &[u8]| {
            let kind = Kind::directory();
            tree.insert(at, name, Metadata::new(0o755), kind).unwrap()
        };
        let usr = directory(&mut tree, root, b"usr");
        let lib = directory(&mut tree, usr, b"lib");
        let link = |tree: &mut Tree<()>, at, name: &[u8], target: &[u8]| {
            let kind = Kind::Symlink(target.into());
            tree.insert(at, name, Metadata::new(0o777), kind).unwrap();
        };
        link(&mut tree, root, b"lib64", b"usr/lib");
        link(&mut tree, lib, b"ld.so", b"../lib/ld-2.so");
        link(&mut tree, root, b"loop", b"loop");
        for (name, mode) in [(&b"ld-2.so"[..], 0o755), (b"data", 0o644)] {
            let metadata = Metadata::new(mode);
            tree.insert(lib, name, metadata, Kind::File(())).unwrap();
        }
        for (path, found) in [
            ("/lib64/ld.so", true),
            ("/usr/lib/ld-2.so", true),
            ("/usr/lib/data", false),
            ("/usr/lib", false),
            ("/usr/lib/none", false),
            ("/none/ld.so", false),
            ("/loop", false),
            ("", false),
        ] {
            let program = Program::Dynamic(path.into());
            assert_eq!(program.problem(&tree).is_none(), found, "{path}");
        }
        assert!(Program::Unknown.problem(&tree).is_some());
        assert!(Program::Static.problem(&tree).is_none());
    }
}
