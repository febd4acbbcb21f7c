//! The process that becomes the command: takes on the user, enters the directory, executes.
//!
//! Its exit codes for a command that never ran are those of a shell: 127 if it was not found, 126 if it could not be
//! executed.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::fs::{Access, access, fchown};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, chdir, setsid};
use rustix::termios::isatty;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::users::Account;
use crate::{FAILED, command, say};

/// The first argument of a process in this role.
pub(crate) const ROLE: &str = "--launch";

/// Groups in one argument. Linux takes arguments of at most 128 KiB (`MAX_ARG_STRLEN`), and a user can have 65 536
/// groups of 10 digits.
const GROUPS: usize = 4096;

/// Returns the arguments of a process in this role: user, group, the number of lists of groups, the lists, directory,
/// command.
pub(crate) fn arguments(account: &Account, directory: &OsStr, argv: &[OsString]) -> Vec<OsString> {
    let lists = account.groups.chunks(GROUPS).map(|groups| {
        let groups: Vec<_> = groups.iter().map(u32::to_string).collect();
        OsString::from(groups.join(","))
    });
    let mut arguments: Vec<OsString> = vec![
        ROLE.into(),
        account.user.to_string().into(),
        account.group.to_string().into(),
        lists.len().to_string().into(),
    ];
    arguments.extend(lists);
    arguments.push(directory.into());
    arguments.extend_from_slice(argv);
    arguments
}

/// Becomes the command, or prints the reason why not and returns an exit code.
pub(crate) fn run(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    let become_user = |arguments: &mut dyn Iterator<Item = OsString>| -> Result<(), String> {
        let mut next = || arguments.next().ok_or("arguments are missing");
        let (user, group, lists) = (number(&next()?)?, number(&next()?)?, number(&next()?)?);
        let mut groups = Vec::new();
        for _ in 0..lists {
            for group in next()?.to_str().unwrap_or_default().split(',') {
                groups.push(number(OsStr::new(group)).map(Gid::from_raw)?);
            }
        }
        let directory = next()?;
        enter(Path::new(&directory)).map_err(|error| {
            format!(
                "cannot enter the working directory {}: {error}",
                directory.display()
            )
        })?;
        // A session of its own: a signal for the group of PID 1 is not for the command.
        setsid().map_err(|error| format!("cannot begin a session: {error}"))?;
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        if let Err(error) = give_console(user) {
            say(&format!(
                "warning: cannot give the console to the user: {error}"
            ));
        }
        // These are calls for one thread, and this process has no other. The groups go first, because the user may
        // not be allowed to change them.
        set_thread_groups(&groups)
            .and_then(|()| set_thread_res_gid(group, group, group))
            .and_then(|()| set_thread_res_uid(user, user, user))
            .map_err(|error| {
                format!(
                    "cannot become user {} and group {} with {} groups in all: {error}",
                    user.as_raw(),
                    group.as_raw(),
                    groups.len()
                )
            })
    };
    if let Err(error) = become_user(&mut arguments) {
        say(&format!("error: {error}"));
        return FAILED;
    }
    let Some(program) = arguments.next() else {
        return FAILED;
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usable = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    let Some(file) = command::find(&program, &path, usable, Path::exists) else {
        say(&format!(
            "error: {} is not in {}",
            program.display(),
            path.display()
        ));
        return 127;
    };
    let error = Command::new(&file).arg0(&program).args(arguments).exec();
    say(&format!(
        "error: cannot execute {}: {error}",
        file.display()
    ));
    match error.kind() {
        ErrorKind::NotFound => 127,
        _ => 126,
    }
}

/// Makes the user the owner of the console, because programs open `/dev/stdout` and `/dev/stderr` by name, and that opens
/// the device again. PID 1 has a descriptor of its own. Standard input is `/dev/null`, which stays what it is.
fn give_console(user: Uid) -> Result<(), Errno> {
    let streams = [rustix::stdio::stdout(), rustix::stdio::stderr()];
    let mut terminals = streams.into_iter().filter(|stream| isatty(stream));
    terminals.try_for_each(|stream| fchown(stream, Some(user), None))
}

/// Enters the directory, and makes it if it does not exist, as Docker does.
fn enter(directory: &Path) -> std::io::Result<()> {
    // A relative directory begins at the root, where PID 1 is.
    match chdir(directory) {
        Err(Errno::NOENT) => {
            std::fs::create_dir_all(directory)?;
            Ok(chdir(directory)?)
        }
        entered => Ok(entered?),
    }
}

fn number(text: &OsStr) -> Result<u32, String> {
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("{} is not a number", text.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_hold_user_groups_directory_and_command() {
        let mut account = Account {
            user: 7,
            group: 8,
            groups: vec![9, 10],
            home: "/".into(),
        };
        let argv = ["/bin/x".into(), "--launch".into()];
        assert_eq!(
            arguments(&account, "/w d".as_ref(), &argv),
            [
                "--launch", "7", "8", "1", "9,10", "/w d", "/bin/x", "--launch"
            ]
        );
        account.groups.clear();
        assert_eq!(arguments(&account, "/".as_ref(), &argv)[3..5], ["0", "/"]);
    }

    #[test]
    fn most_groups_of_linux_fit_into_arguments() {
        let account = Account {
            user: 1,
            group: 1,
            groups: (0..65_536).map(|group| 0x7FFF_0000 + group).collect(),
            home: "/".into(),
        };
        let arguments = arguments(&account, "/".as_ref(), &[]);
        assert_eq!(arguments[3], "16");
        // MAX_ARG_STRLEN of Linux, with the zero byte.
        assert!(arguments.iter().all(|argument| argument.len() < 131_072));
        let total: usize = arguments.iter().map(|argument| argument.len()).sum();
        assert!(total < 1 << 20, "{total}");
    }
}
