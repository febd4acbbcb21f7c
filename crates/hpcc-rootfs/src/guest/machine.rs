//! Architectures of images, and the ELF programs that are made for them.

use std::fmt;

/// The fields of an ELF header that say which machine executes the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    /// Whether addresses have 64 bits (`EI_CLASS`).
    wide: bool,
    /// Whether the least significant byte comes first (`EI_DATA`).
    little: bool,
    /// `e_machine`.
    number: u16,
}

const fn machine(bits: u8, little: bool, number: u16) -> Machine {
    Machine {
        wide: bits == 64,
        little,
        number,
    }
}

/// Names of Go, which the image specification takes, with the numbers of elf.h.
const MACHINES: &[(&str, Machine)] = &[
    ("386", machine(32, true, 3)),
    ("amd64", machine(64, true, 62)),
    ("arm", machine(32, true, 40)),
    ("armbe", machine(32, false, 40)),
    ("arm64", machine(64, true, 183)),
    ("arm64be", machine(64, false, 183)),
    ("loong64", machine(64, true, 258)),
    ("mips", machine(32, false, 8)),
    ("mipsle", machine(32, true, 8)),
    ("mips64", machine(64, false, 8)),
    ("mips64le", machine(64, true, 8)),
    ("ppc", machine(32, false, 20)),
    ("ppc64", machine(64, false, 21)),
    ("ppc64le", machine(64, true, 21)),
    ("riscv", machine(32, true, 243)),
    ("riscv64", machine(64, true, 243)),
    ("s390", machine(32, false, 22)),
    ("s390x", machine(64, false, 22)),
    ("sparc", machine(32, false, 2)),
    ("sparc64", machine(64, false, 43)),
    // x32, which has the registers of amd64. `Program` knows what kernels do with it.
    ("amd64", machine(32, true, 62)),
];

/// Architectures of 32 bits with those whose kernels can execute their programs, if they are built so.
const COMPATIBLE: &[(&str, &str)] = &[
    ("386", "amd64"),
    ("arm", "arm64"),
    ("mips", "mips64"),
    ("mipsle", "mips64le"),
    ("ppc", "ppc64"),
    ("riscv", "riscv64"),
    ("s390", "s390x"),
    ("sparc", "sparc64"),
];

/// Whether a guest of an architecture executes a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Same,
    /// The image is of the 32 bits of this program's architecture, so its kernel may be of 64 bits.
    WiderThanImage,
    /// No program for this architecture has such a header.
    Other,
    /// The architecture is not in the table.
    Unknown,
}

impl Machine {
    /// Reads the first 20 bytes of an ELF file. Returns `None` for other files, and for a class or byte order that ELF
    /// does not have.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let (wide, little) = match *head {
            [0x7F, b'E', b'L', b'F', class @ 1..=2, order @ 1..=2, ..] => (class == 2, order == 1),
            _ => return None,
        };
        let number = *head.get(18..)?.first_chunk()?;
        Some(Self {
            wide,
            little,
            number: if little {
                u16::from_le_bytes(number)
            } else {
                u16::from_be_bytes(number)
            },
        })
    }

    pub(super) fn fit(self, architecture: &str) -> Fit {
        let of = |name: &str| MACHINES.contains(&(name, self));
        let is_known = MACHINES.iter().any(|(name, _)| *name == architecture);
        let is_wider = COMPATIBLE
            .iter()
            .any(|(narrow, wide)| *narrow == architecture && of(wide));
        match is_known {
            false => Fit::Unknown,
            _ if of(architecture) => Fit::Same,
            _ if is_wider => Fit::WiderThanImage,
            _ => Fit::Other,
        }
    }

    /// Returns whether some kernels for an architecture execute this machine's programs, which have half its bits.
    pub(super) fn is_narrow_of(self, architecture: &str) -> bool {
        COMPATIBLE
            .iter()
            .any(|(narrow, wide)| *wide == architecture && MACHINES.contains(&(narrow, self)))
    }
}

/// The architecture, or the fields of the header if no architecture has them.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = MACHINES.iter().find(|(_, machine)| machine == self) {
            return f.write_str(name);
        }
        let bits = if self.wide { 64 } else { 32 };
        let order = if self.little { "little" } else { "big" };
        write!(f, "machine {} ({bits} bits, {order}-endian)", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(class: u8, order: u8, number: u16) -> Vec<u8> {
        let mut head = vec![0x7F, b'E', b'L', b'F', class, order];
        head.resize(18, 0);
        head.extend(match order {
            1 => number.to_le_bytes(),
            _ => number.to_be_bytes(),
        });
        head
    }

    #[test]
    fn program_fits_an_image_by_class_order_and_number() {
        for (class, order, number, shown, same, wider) in [
            (2, 1, 62, "amd64", "amd64", Some("386")),
            (1, 1, 3, "386", "386", None),
            (2, 1, 183, "arm64", "arm64", Some("arm")),
            (1, 1, 40, "arm", "arm", None),
            (2, 2, 22, "s390x", "s390x", Some("s390")),
            (2, 1, 21, "ppc64le", "ppc64le", None),
            (2, 2, 21, "ppc64", "ppc64", Some("ppc")),
            (2, 1, 243, "riscv64", "riscv64", Some("riscv")),
            (2, 1, 258, "loong64", "loong64", None),
            (1, 2, 8, "mips", "mips", None),
            (2, 1, 8, "mips64le", "mips64le", Some("mipsle")),
            (2, 2, 62, "machine 62 (64 bits, big-endian)", "", None),
            (2, 1, 0, "machine 0 (64 bits, little-endian)", "", None),
            (2, 1, 247, "machine 247 (64 bits, little-endian)", "", None),
            (1, 1, 183, "machine 183 (32 bits, little-endian)", "", None),
        ] {
            let machine = Machine::of(&head(class, order, number)).unwrap();
            assert_eq!(machine.to_string(), shown);
            for (name, _) in MACHINES {
                let expected = match *name {
                    name if name == same => Fit::Same,
                    name if Some(name) == wider => Fit::WiderThanImage,
                    _ => Fit::Other,
                };
                assert_eq!(machine.fit(name), expected, "{shown} on {name}");
            }
            assert_eq!(machine.fit("quantum"), Fit::Unknown);
        }
    }

    #[test]
    fn file_without_an_elf_header_has_no_machine() {
        for head in [
            &b"#!/bin/sh\nexec sleep infinity"[..],
            b"",
            &head(2, 1, 62)[..19],
            &head(3, 1, 62),
            &head(2, 0, 62),
        ] {
            assert_eq!(Machine::of(head), None);
        }
    }
}
