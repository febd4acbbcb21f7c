use std::io::Cursor;

use sqfs_writer::{Compressor, ImageWriter, Kind, Metadata, Options};

use super::*;

/// Bytes of a data block.
const BLOCK: usize = 4096;

/// An ELF program of 64 bits with one segment to load, and a loader if `loader` is not empty. Its table of segments and
/// the loader's name lie at `far`.
fn elf(machine: u16, loader: &str, far: usize) -> Vec<u8> {
    let mut file = b"\x7FELF\x02\x01\x01".to_vec();
    file.resize(far, 0);
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &2_u16.to_le_bytes());
    put(18, &machine.to_le_bytes());
    put(32, &(far as u64).to_le_bytes());
    put(54, &56_u16.to_le_bytes());
    put(56, &(1 + u16::from(!loader.is_empty())).to_le_bytes());
    let name = [loader.as_bytes(), b"\0"].concat();
    for (kind, offset, length) in [(1_u32, 0, 0), (3, far + 112, name.len())] {
        let mut entry = kind.to_le_bytes().to_vec();
        entry.resize(56, 0);
        entry[8..16].copy_from_slice(&(offset as u64).to_le_bytes());
        entry[32..40].copy_from_slice(&(length as u64).to_le_bytes());
        file.extend(entry);
    }
    file.extend(name);
    file
}

/// An image of files with their modes, and of symlinks, which have the mode 0.
fn image(files: &[(&str, u16, Vec<u8>)]) -> Vec<u8> {
    let mut options = Options::default();
    options.compressor = Compressor::Gzip { level: 1 };
    options.block_size = u32::try_from(BLOCK).unwrap();
    let mut image = ImageWriter::new(Cursor::new(Vec::new()), &options).unwrap();
    for directory in ["/bin", "/usr", "/usr/lib"] {
        let kind = Kind::directory();
        image.insert(directory, Metadata::new(0o755), kind).unwrap();
    }
    let pipe = Metadata::new(0o755);
    image.insert("/bin/pipe", pipe, Kind::Fifo).unwrap();
    for (name, mode, content) in files {
        let metadata = Metadata::new(*mode);
        match mode {
            0 => {
                image.symlink(name, metadata, content.clone()).unwrap();
            }
            _ => {
                image.file(name, metadata, &content[..]).unwrap();
            }
        }
    }
    image.finish().unwrap().0.into_inner()
}

fn script(interpreter: &str) -> Vec<u8> {
    format!("#!{interpreter}\n").into_bytes()
}

fn files() -> Vec<(&'static str, u16, Vec<u8>)> {
    let musl = "/usr/lib/ld.so";
    let mut files = vec![
        ("/bin/static", 0o755, elf(62, "", 64)),
        ("/bin/sh", 0o755, elf(62, musl, 64)),
        // patchelf writes the table of segments to the end of a file.
        ("/bin/far", 0o755, elf(62, musl, 2 * BLOCK - 100)),
        ("/bin/far-none", 0o755, elf(62, "/none", 3 * BLOCK + 7)),
        ("/bin/lost", 0o755, elf(62, "/none", 64)),
        ("/bin/arm", 0o755, elf(183, "", 64)),
        ("/bin/odd", 0o755, elf(62, "/bin/arm", 64)),
        ("/bin/by-script", 0o755, elf(62, "/bin/1", 64)),
        ("/bin/text", 0o755, b"echo hello\n".to_vec()),
        ("/bin/empty", 0o755, Vec::new()),
        ("/bin/data", 0o644, elf(62, "", 64)),
        ("/bin/by-text", 0o755, script("/bin/text")),
        ("/bin/self", 0o755, script("/bin/self")),
        ("/bin/cr", 0o755, b"#!/bin/static -e\r\n".to_vec()),
        ("/usr/lib/ld.so", 0o755, elf(62, "", 64)),
        ("/bin/1", 0o755, script("/bin/static")),
        ("/bin/2", 0o755, script("/bin/1")),
        ("/bin/3", 0o755, script("/bin/2")),
        ("/bin/4", 0o755, script("/bin/3")),
        ("/bin/5", 0o755, script("/bin/4")),
    ];
    for (name, target) in [
        ("/sbin", "bin"),
        ("/bin/link", "../sbin/../usr/../../bin/./sh"),
        ("/bin/absolute", "/sbin/sh"),
        ("/bin/dangling", "../usr/lib/none"),
        ("/bin/round", "/bin/trip"),
        ("/bin/trip", "round"),
        ("/bin/slash", "sh/"),
    ] {
        files.push((name, 0, target.as_bytes().to_vec()));
    }
    files
}

/// Linux 6.18 judged real programs at these paths alike, except `far` and `far-none`, which it was not given.
#[test]
fn interpreter_is_judged_by_its_contents() {
    let image = image(&files());
    for (interpreter, says) in [
        ("/bin/static", ""),
        ("bin/static", ""),
        ("/bin/sh", ""),
        ("/bin/far", ""),
        ("/sbin/link", ""),
        ("/bin/absolute", ""),
        ("/bin/4", ""),
        ("/bin/5", "at most 5 scripts"),
        ("/bin/self", "at most 5 scripts"),
        (
            "/bin/lost",
            "which needs the loader /none, which the image does not have",
        ),
        (
            "/bin/far-none",
            "which needs the loader /none, which the image does not have",
        ),
        (
            "/bin/arm",
            "which is an ELF program for arm64, and the image is for amd64",
        ),
        (
            "/bin/odd",
            "the loader /bin/arm, which is an ELF file for arm64, and the program is for amd64",
        ),
        (
            "/bin/by-script",
            "the loader /bin/1, which is not an ELF file",
        ),
        (
            "/bin/text",
            "/bin/text, which is neither an ELF program nor a script",
        ),
        (
            "/bin/by-text",
            "/bin/by-text, which needs the interpreter /bin/text, which is neither",
        ),
        ("/bin/empty", "/bin/empty, which is empty"),
        ("/bin/data", "which has mode 0644 and is not executable"),
        (
            "/bin/cr",
            "/bin/cr, which is a script whose first line ends with CR LF",
        ),
        (
            "/bin/dangling",
            "which leads to /usr/lib/none, and the image does not have that",
        ),
        ("/bin/round", "whose symlinks do not end"),
        (
            "/bin/slash",
            "which leads to /bin/sh/., and the image does not have that",
        ),
        ("/bin/sh/x", "which the image does not have"),
        ("/lib64/ld.so", "which the image does not have as a program"),
        ("/usr", "which is a directory"),
        ("/", "which is a directory"),
        ("/bin/pipe", "which is a device, a FIFO or a socket"),
        ("/.hpcc/agent", "names itself as its interpreter"),
    ] {
        let agent = Program::Script(interpreter.into());
        let found = problem(&agent, None, "amd64", &image.as_slice()).unwrap();
        match says {
            "" => assert_eq!(found, None, "{interpreter}"),
            says => assert!(
                found.as_ref().is_some_and(|it| it.contains(says)),
                "{found:?}"
            ),
        }
    }
}

#[test]
fn loader_of_an_agent_is_judged_by_its_contents() {
    let image = image(&files());
    let machine = Machine::of(&elf(62, "", 64));
    for (loader, says) in [
        ("/usr/lib/ld.so", ""),
        // Its own loader is not looked at.
        ("/bin/lost", ""),
        (
            "/bin/arm",
            "is an ELF file for arm64, and the program is for amd64",
        ),
        ("/bin/1", "is not an ELF file that a kernel can load"),
        ("/bin/empty", "is not an ELF file that a kernel can load"),
        ("/bin/data", "has mode 0644 and is not executable"),
        ("", "which the image does not have"),
    ] {
        let agent = Program::Dynamic(loader.into());
        let found = problem(&agent, machine, "amd64", &image.as_slice()).unwrap();
        match says {
            "" => assert_eq!(found, None, "{loader}"),
            says => assert!(
                found.as_ref().is_some_and(|it| it.contains(says)),
                "{found:?}"
            ),
        }
    }
}

#[test]
fn agent_that_needs_nothing_is_judged_alone() {
    let image = image(&files());
    let judge = |program: Program| problem(&program, None, "amd64", &image.as_slice()).unwrap();
    assert_eq!(judge(Program::Static), None);
    assert!(judge(Program::Unknown).unwrap().starts_with("is neither"));
    assert!(
        judge(Program::Refused("is odd"))
            .unwrap()
            .starts_with("is odd; ")
    );
    let cr = judge(Program::Script(b"/bin/bash\r".into())).unwrap();
    assert!(cr.contains("names /bin/bash"), "{cr}");
    let cr = judge(Program::ScriptWithCr(b"/bin/sh".into())).unwrap();
    assert!(cr.contains("CR LF"), "{cr}");
    let cr = judge(Program::ScriptWithCr(b"/bin/bash".into())).unwrap();
    assert!(cr.contains("does not have"), "{cr}");
    let narrow = problem(
        &Program::Script(b"/bin/sh".into()),
        None,
        "386",
        &image.as_slice(),
    );
    assert!(
        narrow
            .unwrap()
            .unwrap()
            .contains("a kernel for 386 cannot execute")
    );
}

/// Symlinks of an image can make a path pass a large directory thousands of times. A kernel would follow them.
#[test]
fn path_with_too_much_work_is_reported() {
    let mut files = files();
    let names: Vec<_> = (0..2000).map(|n| format!("/usr/a{n:04}")).collect();
    files.extend(names.iter().map(|name| (&**name, 0o644, Vec::new())));
    let links: Vec<_> = (0..8).map(|n| format!("/bin/far{n}")).collect();
    for pair in links.windows(2) {
        let target = format!("/usr/{}..{}", "lib/../".repeat(570), pair[1]);
        files.push((&pair[0], 0, target.into_bytes()));
    }
    files.push((&links[7], 0, b"static".to_vec()));
    let image = image(&files);
    let agent = Program::Script(b"/bin/far0".to_vec());
    let found = problem(&agent, None, "amd64", &image.as_slice()).unwrap();
    let told = found.unwrap();
    assert!(
        told.contains("needs the interpreter /bin/far0, and the image was not searched"),
        "{told}"
    );
    let agent = Program::Script(b"/bin/far7".to_vec());
    let found = problem(&agent, None, "amd64", &image.as_slice()).unwrap();
    assert_eq!(found, None);
}
