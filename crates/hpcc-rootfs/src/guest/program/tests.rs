use super::*;

fn program(content: &[u8]) -> Program {
    let read = |buffer: &mut [u8], offset: u64| {
        let rest = content.get(usize::try_from(offset).unwrap()..);
        let mut rest = rest.unwrap_or_default();
        std::io::Read::read(&mut rest, buffer)
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
        let expected = interpreter.map_or(Program::Unknown, |name| Program::Script(name.into()));
        assert_eq!(program(content), expected, "{}", content.escape_ascii());
    }
    for (content, has_cr) in [
        (&b"#!/bin/sh -e\r\nexit\r\n"[..], true),
        (b"#!/bin/sh \r\n", true),
        (b"#! /bin/sh\t-e\r\n", true),
        // A kernel removes blanks at the end alone, and reads no further than a zero byte.
        (b"#!/bin/sh -e\r \n", false),
        (b"#!/bin/sh -e\0\r\n", false),
        (b"#!/bin/sh -e\n\r\n", false),
    ] {
        let expected = match has_cr {
            true => Program::ScriptWithCr(b"/bin/sh".into()),
            false => Program::Script(b"/bin/sh".into()),
        };
        assert_eq!(program(content), expected, "{}", content.escape_ascii());
    }
    for content in [format!("{cut}xx"), format!("{cut}x\n")] {
        let refused = program(content.as_bytes());
        assert!(matches!(refused, Program::Refused(_)), "{content}");
    }
    let blank = [&b"#!"[..], &[b' '; 300], b"/bin/sh\n"].concat();
    assert_eq!(program(&blank), Program::Unknown);
}
