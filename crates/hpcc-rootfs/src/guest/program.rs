//! What a kernel needs, apart from a program's file, to execute it: a loader, an interpreter, or nothing.

/// Bytes of a script that a kernel looks at for the name of the interpreter (`BINPRM_BUF_SIZE`).
const LINE_MAX: usize = 256;
/// Largest name of a loader in bytes, with the zero byte after it (`PATH_MAX`).
const NAME_MAX: u64 = 4096;
/// Most bytes of the table of segments (`load_elf_phdrs`).
const TABLE_MAX: u64 = 65_536;

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
    /// A script whose interpreter receives an argument that ends with CR.
    ScriptWithCr(Vec<u8>),
    /// Neither of these, or an ELF program that cannot be read.
    Unknown,
    /// A script or an ELF file that no kernel executes, for this reason.
    Refused(&'static str),
}

impl Program {
    /// Inspects a file through `read`, which reads as many bytes as fit from an offset on, and fewer at the end.
    pub(super) fn of<E>(
        mut read: impl FnMut(&mut [u8], u64) -> Result<usize, E>,
    ) -> Result<Self, E> {
        let mut bytes = |offset, length| -> Result<Vec<u8>, E> {
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
        // `refused` limits its length.
        let size = usize::try_from(elf.count * elf.entry).unwrap_or_default();
        let table = bytes(elf.table, size)?;
        let (mut loads, mut loader) = (false, None);
        for number in 0..elf.count {
            let at = usize::try_from(number * elf.entry).unwrap_or_default();
            let entry = table.get(at..).unwrap_or_default();
            let Some((kind, offset, length)) = elf.segment(entry) else {
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
            Some(found @ [_, ..]) => {
                // The rest of the line is one argument, up to a zero byte.
                let rest = name.get(found.len()..).unwrap_or_default();
                let rest = rest.split(|byte| *byte == 0).next().unwrap_or_default();
                match whole.is_some() && rest.ends_with(b"\r") {
                    true => Self::ScriptWithCr(found.to_vec()),
                    false => Self::Script(found.to_vec()),
                }
            }
            _ => Self::Unknown,
        }
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

#[cfg(test)]
mod tests;
