//! What a kernel needs, apart from an agent's file, to execute it: a loader, an interpreter, or nothing.

use std::io;

use sqfs_writer::{Kind, NodeId, Tree};

use crate::flatten;

/// Number of symlinks that are followed from the name of a loader to its file, as in a kernel.
const LINKS_MAX: usize = 40;
/// Bytes of a script that a kernel looks at for the name of the interpreter (`BINPRM_BUF_SIZE`).
const LINE_MAX: usize = 256;
/// Largest name of a loader in bytes, with the zero byte after it (`PATH_MAX`).
const NAME_MAX: u64 = 4096;
/// Most bytes of the table of segments (`load_elf_phdrs`).
const TABLE_MAX: u64 = 65_536;
/// Path of the agent, which cannot be its own interpreter.
const AGENT: &[u8] = b"/.hpcc/agent";

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
    /// A script or an ELF file that no kernel executes, for this reason.
    Refused(&'static str),
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
        let head = bytes(0, LINE_MAX)?;
        if head.starts_with(b"#!") {
            return Ok(Self::of_script(&head));
        }
        let Some(elf) = Elf::of(&head) else {
            return Ok(Self::Unknown);
        };
        if let Some(reason) = elf.refused() {
            return Ok(Self::Refused(reason));
        }
        let (mut loads, mut loader) = (false, None);
        for number in 0..elf.count {
            let entry = bytes(elf.table + number * elf.entry, 56)?;
            let Some((kind, offset, length)) = elf.segment(&entry) else {
                return Ok(Self::Unknown);
            };
            const PT_LOAD: u64 = 1;
            const PT_INTERP: u64 = 3;
            loads |= kind == PT_LOAD;
            if kind != PT_INTERP || loader.is_some() {
                continue;
            }
            let invalid = Self::Refused("is an ELF program whose PT_INTERP names no loader");
            if offset >= FILE_MAX || !(2..=NAME_MAX).contains(&length) {
                return Ok(invalid);
            }
            let name = bytes(offset, usize::try_from(length).unwrap_or_default())?;
            if !name.ends_with(&[0]) || !usize::try_from(length).is_ok_and(|it| it == name.len()) {
                return Ok(invalid);
            }
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            loader = Some(name.to_vec());
        }
        if !loads {
            return Ok(Self::Refused("is an ELF file without a segment to load"));
        }
        Ok(loader.map_or(Self::Static, Self::Dynamic))
    }

    /// Reads the first line as `load_script` of fs/binfmt_script.c does, after zero bytes were added to the file.
    fn of_script(head: &[u8]) -> Self {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let ends = |byte: &u8| blank(byte) || *byte == 0;
        let mut line = head.to_vec();
        line.resize(LINE_MAX, 0);
        let line = line.get(2..).unwrap_or_default();
        let whole = line.iter().position(|byte| *byte == b'\n');
        let line = line.get(..whole.unwrap_or(line.len())).unwrap_or_default();
        let begin = line.iter().position(|byte| !blank(byte));
        let name = begin
            .and_then(|begin| line.get(begin..))
            .unwrap_or_default();
        let end = name.iter().position(ends);
        if end.is_none() && whole.is_none() && !name.is_empty() {
            return Self::Refused(
                "is a script whose interpreter has a name that ends after byte 255 of the file",
            );
        }
        match name.get(..end.unwrap_or(name.len())) {
            Some(name @ [_, ..]) => Self::Script(name.to_vec()),
            _ => Self::Unknown,
        }
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
            Self::Refused(reason) => {
                return Some(format!("{reason}; a kernel cannot execute it"));
            }
            Self::Dynamic(name) => ("loader", name),
            Self::Script(name) => ("interpreter", name),
        };
        if name == AGENT {
            return Some(format!(
                "names itself as its {what}; a kernel cannot execute it"
            ));
        }
        if is_program(tree, name) {
            return None;
        }
        let name = name.escape_ascii();
        Some(match name.to_string().strip_suffix("\\r") {
            Some(short) => format!(
                "needs the {what} {name}, because its first line ends with CR LF; end it with LF alone, so that it names {short}"
            ),
            None => format!(
                "needs the {what} {name}, which the image does not have as a program; use a static agent"
            ),
        })
    }
}

/// The fields of an ELF header that lead to the segments.
struct Elf {
    wide: bool,
    little: bool,
    kind: u64,
    machine: u64,
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
            kind: 0,
            machine: 0,
            table: 0,
            entry: 0,
            count: 0,
        };
        let (table, entry) = if wide { (32, 54) } else { (28, 42) };
        elf.kind = elf.number(head, 16, 2)?;
        elf.machine = elf.number(head, 18, 2)?;
        elf.table = elf.number(head, table, if wide { 8 } else { 4 })?;
        elf.entry = elf.number(head, entry, 2)?;
        elf.count = elf.number(head, entry + 2, 2)?;
        (elf.table < FILE_MAX && elf.count > 0).then_some(elf)
    }

    /// Returns the reason why no kernel loads a file with this header (`load_elf_binary` of fs/binfmt_elf.c).
    fn refused(&self) -> Option<&'static str> {
        const ET_EXEC_AND_DYN: [u64; 2] = [2, 3];
        const EM_X86_64: u64 = 62;
        let entry = if self.wide { 56 } else { 32 };
        if !ET_EXEC_AND_DYN.contains(&self.kind) {
            return Some(
                "is an ELF file that is not a program, such as an object file or a core dump",
            );
        }
        if self.machine == EM_X86_64 && !self.wide {
            return Some("is an ELF program for x32, which kernels leave out or disable");
        }
        if self.entry != entry || self.count * entry > TABLE_MAX {
            return Some("is an ELF file whose table of segments has a wrong size");
        }
        None
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

    /// The parts of an ELF file with one segment to load, and one of type `kind` that holds `name`.
    #[derive(Clone, Copy)]
    struct Parts<'a> {
        wide: bool,
        little: bool,
        file: u64,
        machine: u64,
        entry: u64,
        count: u64,
        load: u64,
        kind: u64,
        name: &'a [u8],
    }

    impl Parts<'_> {
        const fn new(name: &[u8]) -> Parts<'_> {
            Parts {
                wide: true,
                little: true,
                file: 2,
                machine: 62,
                entry: 56,
                count: 2,
                load: 1,
                kind: 3,
                name,
            }
        }

        fn bytes(self) -> Vec<u8> {
            let Self { wide, little, .. } = self;
            let mut file = vec![
                0x7F,
                b'E',
                b'L',
                b'F',
                1 + u8::from(wide),
                2 - u8::from(little),
            ];
            let mut put = |at: usize, value: u64, width: usize| {
                let mut bytes = value.to_le_bytes()[..width].to_vec();
                if !little {
                    bytes.reverse();
                }
                file.resize(file.len().max(at + width), 0);
                file[at..at + width].copy_from_slice(&bytes);
            };
            let width = if wide { 8 } else { 4 };
            put(16, self.file, 2);
            put(18, self.machine, 2);
            put(if wide { 32 } else { 28 }, 64, width);
            let entry = if wide { 54 } else { 42 };
            put(entry, self.entry, 2);
            put(entry + 2, self.count, 2);
            let second = 64 + usize::try_from(self.entry).unwrap();
            put(64, self.load, 4);
            put(second, self.kind, 4);
            put(second + if wide { 8 } else { 4 }, 256, width);
            let length = u64::try_from(self.name.len()).unwrap();
            put(second + if wide { 32 } else { 16 }, length, width);
            file.resize(256, 0);
            file.extend(self.name);
            file
        }
    }

    #[test]
    fn loader_of_an_elf_program_is_found_in_every_form() {
        for (wide, little) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut parts = Parts::new(b"/lib/ld.so\0");
            (parts.wide, parts.little) = (wide, little);
            (parts.entry, parts.machine) = if wide { (56, 62) } else { (32, 3) };
            let loader = Program::Dynamic(b"/lib/ld.so".into());
            assert_eq!(program(&parts.bytes()), loader);
            parts.kind = 4;
            let alone = parts.bytes();
            assert_eq!(program(&alone), Program::Static);
            assert_eq!(program(&alone[..70]), Program::Unknown);
            assert_eq!(program(&alone[..20]), Program::Unknown);
        }
    }

    #[test]
    fn elf_file_that_no_kernel_loads_is_refused() {
        let good = Parts::new(b"/lib/ld.so\0");
        let long = [&[b'/'; 4096][..], b"\0"].concat();
        for (parts, says) in [
            (Parts { file: 1, ..good }, "not a program"),
            (Parts { file: 4, ..good }, "not a program"),
            (Parts { file: 0, ..good }, "not a program"),
            (
                Parts {
                    wide: false,
                    entry: 32,
                    ..good
                },
                "x32",
            ),
            (Parts { entry: 32, ..good }, "wrong size"),
            (
                Parts {
                    count: 1171,
                    ..good
                },
                "wrong size",
            ),
            (Parts { load: 4, ..good }, "without a segment to load"),
            (
                Parts {
                    name: b"/lib/ld.so",
                    ..good
                },
                "PT_INTERP",
            ),
            (
                Parts {
                    name: b"\0",
                    ..good
                },
                "PT_INTERP",
            ),
            (
                Parts {
                    name: &long,
                    ..good
                },
                "PT_INTERP",
            ),
        ] {
            let Program::Refused(reason) = program(&parts.bytes()) else {
                panic!("{says}");
            };
            assert!(reason.contains(says), "{reason}");
        }
        let cut = good.bytes();
        assert!(matches!(program(&cut[..260]), Program::Refused(_)));
        // A name of the largest length, and an empty one, which leads to nothing.
        let most = Parts {
            name: &long[1..],
            ..good
        };
        assert!(matches!(program(&most.bytes()), Program::Dynamic(_)));
        let empty = Parts {
            name: b"\0\0",
            ..good
        };
        assert_eq!(program(&empty.bytes()), Program::Dynamic(Vec::new()));
    }

    #[test]
    fn script_needs_its_interpreter_and_other_files_are_unknown() {
        let name = format!("/{}", "x".repeat(252));
        let longest = format!("#!{name}\n");
        let cut = format!("#!{name}");
        let argument = format!("#!/bin/sh {}\n", "x".repeat(400));
        for (content, interpreter) in [
            (&b"#!/bin/sh\n"[..], Some("/bin/sh")),
            (b"#! \t/usr/bin/env sh -x\nexit", Some("/usr/bin/env")),
            (b"#!/bin/sh", Some("/bin/sh")),
            (b"#!/bin/sh\0x\n", Some("/bin/sh")),
            // Only space, tab and NUL end a name.
            (b"#!/bin/sh\r\nexit\r\n", Some("/bin/sh\r")),
            (b"#!/bin/sh\x0b-e\n", Some("/bin/sh\x0b-e")),
            (longest.as_bytes(), Some(&name)),
            (cut.as_bytes(), Some(&name)),
            (argument.as_bytes(), Some("/bin/sh")),
            (b"#!\n/bin/sh", None),
            (b"#!  \t\n/bin/sh", None),
            (b"#!\0/bin/sh\n", None),
            (b"MZ", None),
            (b"", None),
        ] {
            let expected =
                interpreter.map_or(Program::Unknown, |name| Program::Script(name.into()));
            assert_eq!(program(content), expected, "{}", content.escape_ascii());
        }
        for content in [format!("{cut}xx"), format!("{cut}x\n")] {
            let refused = program(content.as_bytes());
            assert!(matches!(refused, Program::Refused(_)), "{content}");
        }
        let blank = [&b"#!"[..], &[b' '; 300], b"/bin/sh\n"].concat();
        assert_eq!(program(&blank), Program::Unknown);
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
        let problem = |program: Program| program.problem(&tree).unwrap();
        assert!(problem(Program::Script(b"/bin/sh\r".into())).contains("names /bin/sh"));
        assert!(problem(Program::Script(AGENT.into())).contains("names itself"));
        assert!(problem(Program::Refused("is odd")).starts_with("is odd; "));
        assert!(Program::Unknown.problem(&tree).is_some());
        assert!(Program::Static.problem(&tree).is_none());
    }
}
