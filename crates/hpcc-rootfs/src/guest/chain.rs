//! The programs that a kernel opens to execute an agent: interpreters of scripts, and a loader at the end.

use super::machine::{Fit, Machine};
use super::program::Program;
use crate::tables::{Error, Opened, ReadAt, Stray, Tables};

/// Number of scripts that may be interpreters of one another (`exec_binprm` of fs/exec.c).
const SCRIPTS_MAX: usize = 5;
/// Path of the agent, which cannot be its own interpreter.
const AGENT: &[u8] = b"/.hpcc/agent";
/// Steps of work of all paths and files, about a quarter of a second of processor time. A path through a directory of 100 000
/// names takes an eighth of it.
const WORK_MAX: u64 = 64 << 20;
/// Bytes of an ELF header up to the end of `e_machine`.
const HEAD: usize = 20;

/// Returns the reason why a guest cannot, or may not be able to start a program in an image, for people, or `None` if no
/// reason is known. `machine` is that of the program, if it is an ELF one.
///
/// # Errors
/// Returns [`Error`] if the image cannot be read.
pub(super) fn problem(
    program: &Program,
    machine: Option<Machine>,
    architecture: &str,
    image: &dyn ReadAt,
) -> Result<Option<String>, Error> {
    let mut tables = Tables::open(image)?;
    tables.limit_work(WORK_MAX);
    let mut chain = Chain {
        tables,
        architecture,
        scripts: 0,
    };
    chain.problem(program, machine)
}

struct Chain<'a> {
    tables: Tables<'a>,
    architecture: &'a str,
    /// Number of scripts up to here.
    scripts: usize,
}

impl Chain<'_> {
    /// Returns the reason as the rest of a sentence whose subject is the program.
    fn problem(
        &mut self,
        program: &Program,
        machine: Option<Machine>,
    ) -> Result<Option<String>, Error> {
        let (what, name) = match program {
            Program::Static => return Ok(None),
            Program::Unknown => {
                return Ok(Some(
                    "is neither an ELF program nor a script with #!; a kernel cannot execute it"
                        .to_owned(),
                ));
            }
            Program::Refused(reason) => {
                return Ok(Some(format!("{reason}; a kernel cannot execute it")));
            }
            Program::Dynamic(name) => ("loader", name),
            Program::Script(name) | Program::ScriptWithCr(name) => {
                self.scripts += 1;
                ("interpreter", name)
            }
        };
        if name == AGENT {
            return Ok(Some(format!(
                "names itself as its {what}; a kernel cannot execute it"
            )));
        }
        if self.scripts > SCRIPTS_MAX {
            return Ok(Some(format!(
                "is a script, and Linux executes at most {SCRIPTS_MAX} scripts that are interpreters of one another"
            )));
        }
        let shown = name.escape_ascii().to_string();
        let opened = match self.tables.open_file(name) {
            Ok(Ok(opened)) => opened,
            Ok(Err(stray)) => return Ok(Some(stray_problem(what, name, &shown, &stray))),
            // An image chooses how much work its symlinks and directories are. What was not found out must be told.
            Err(Error::TooMuch { what: unit, max }) => {
                return Ok(Some(format!(
                    "needs the {what} {shown}, and the image was not searched for it to the end, because that takes more \
                     than {max} {unit}; use a static agent"
                )));
            }
            Err(error) => return Err(error),
        };
        if opened.mode & 0o111 == 0 {
            return Ok(Some(format!(
                "needs the {what} {shown}, which has mode {:04o} and is not executable; set its mode to 755",
                opened.mode & 0o7777
            )));
        }
        let head = self.head(&opened)?;
        let (found, of) = (self.read(&opened)?, Machine::of(&head));
        let problem = match program {
            Program::Dynamic(_) => loader_problem(&found, of, machine),
            _ if head.is_empty() => Some("is empty; a kernel cannot execute it".to_owned()),
            _ => match of.and_then(|of| self.machine_problem(of)) {
                None => self.problem(&found, of)?,
                problem => problem,
            },
        };
        if let Some(problem) = problem {
            return Ok(Some(format!("needs the {what} {shown}, which {problem}")));
        }
        Ok(matches!(program, Program::ScriptWithCr(_)).then(|| {
            "is a script whose first line ends with CR LF, so that the interpreter receives CR as a part of its \
             argument; end the line with LF alone"
                .to_owned()
        }))
    }

    fn head(&mut self, opened: &Opened) -> Result<Vec<u8>, Error> {
        let mut head = vec![0; HEAD];
        let length = self.tables.read_at(opened, &mut head, 0)?;
        head.truncate(length);
        Ok(head)
    }

    fn read(&mut self, opened: &Opened) -> Result<Program, Error> {
        Program::of(|buffer, offset| self.tables.read_at(opened, buffer, offset))
    }

    /// Returns why a kernel for the image may not execute an interpreter.
    fn machine_problem(&self, machine: Machine) -> Option<String> {
        let architecture = self.architecture;
        match machine.fit(architecture) {
            Fit::Same | Fit::Unknown => None,
            Fit::WiderThanImage => Some(format!(
                "is an ELF program for {machine}, which a kernel for {architecture} cannot execute"
            )),
            Fit::Other if machine.is_narrow_of(architecture) => Some(format!(
                "is an ELF program for {machine}, which many kernels for {architecture} cannot execute"
            )),
            Fit::Other => Some(format!(
                "is an ELF program for {machine}, and the image is for {architecture}"
            )),
        }
    }
}

/// Returns why a kernel does not load a loader for a program of this machine (`load_elf_interp` of fs/binfmt_elf.c).
fn loader_problem(
    found: &Program,
    of: Option<Machine>,
    program: Option<Machine>,
) -> Option<String> {
    match (found, of.zip(program)) {
        (Program::Refused(reason), _) => Some((*reason).to_owned()),
        (Program::Static | Program::Dynamic(_), Some((of, program))) if of != program => Some(
            format!("is an ELF file for {of}, and the program is for {program}"),
        ),
        (Program::Static | Program::Dynamic(_), _) => None,
        _ => Some("is not an ELF file that a kernel can load".to_owned()),
    }
}

/// Returns the problem of a name that leads to no file.
fn stray_problem(what: &str, name: &[u8], shown: &str, stray: &Stray) -> String {
    // Without a symlink on the way, the path that is missing is the name or the beginning of it.
    let is_on_way = |path: &[u8]| {
        let rest = name.strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    let problem = match stray {
        Stray::Missing(path) if is_on_way(path) => {
            if let Some(short) = shown.strip_suffix("\\r") {
                return format!(
                    "needs the {what} {shown}, because its first line ends with CR LF; end it with LF alone, so that it \
                     names {short}"
                );
            }
            "which the image does not have as a program; use a static agent".to_owned()
        }
        Stray::Missing(path) => format!(
            "which leads to {}, and the image does not have that; use a static agent",
            path.escape_ascii()
        ),
        Stray::Directory => "which is a directory; use a static agent".to_owned(),
        Stray::Special => "which is a device, a FIFO or a socket; use a static agent".to_owned(),
        Stray::Links => "whose symlinks do not end; use a static agent".to_owned(),
        Stray::TooLong => "which is a longer path than Linux takes; use a static agent".to_owned(),
    };
    format!("needs the {what} {shown}, {problem}")
}

#[cfg(test)]
mod tests;
