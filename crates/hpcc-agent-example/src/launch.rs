//! The process that becomes the command: takes on the user, enters the directory, executes.
//!
//! Its exit codes for a command that never ran are those of a shell: 127 if it was not found, 126 if it could not be
//! executed.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::execve;
use rustix::fs::{Access, access, fchown};
use rustix::io::Errno;
use rustix::process::{Gid, Resource, Rlimit, Uid, chdir, setrlimit, setsid};
use rustix::termios::isatty;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use signal_hook::consts::signal::SIGPIPE;

use crate::users::Account;
use crate::{FAILED, command, pids, say};

/// The first argument of a process in this role.
pub(crate) const ROLE: &str = "--launch";

/// Groups in one argument. Linux takes arguments of at most 128 KiB (`MAX_ARG_STRLEN`), and a user can have 65 536
/// groups of 10 digits.
const GROUPS: usize = 4096;

/// Symlinks that are followed while a directory is made, as many as Linux follows (`MAXSYMLINKS`).
const LINKS_MAX: usize = 40;

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
        if std::process::id() == 1 {
            pids::mount_proc()
                .map_err(|error| format!("cannot mount a /proc for the command: {error}"))?;
        }
        enter(Path::new(&directory)).map_err(|error| {
            format!(
                "cannot enter the working directory {}: {error}",
                directory.display()
            )
        })?;
        // A session of its own: a signal for the group of PID 1 is not for the command.
        setsid().map_err(|error| format!("cannot begin a session: {error}"))?;
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        if let Err(error) = give_terminal(user) {
            say(&format!(
                "warning: cannot give the terminal to the user: {error}"
            ));
        }
        set_limits();
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
            "error: {} was not found in PATH ({})",
            program.display(),
            path.display()
        ));
        return 127;
    };
    let mut argv = vec![program];
    argv.extend(arguments);
    let error = execute(&file, argv);
    let (code, reason) = match error {
        nix::Error::ENOENT if file.exists() => (126, "its interpreter or loader does not exist"),
        nix::Error::ENOENT => (127, error.desc()),
        error => (126, error.desc()),
    };
    say(&format!(
        "error: cannot execute {}: {reason}",
        file.display()
    ));
    code
}

/// Executes a file, or returns the reason why not.
///
/// [`std::process::Command`] would give a file that the kernel does not know, such as a program for another
/// architecture, to `/bin/sh`, which executes what it takes for commands.
fn execute(file: &Path, argv: Vec<OsString>) -> nix::Error {
    // Rust ignores this signal, which the command would inherit. A handler becomes the default action.
    let _ = signal_hook::flag::register(SIGPIPE, Arc::default());
    let text = |text: OsString| CString::new(text.into_vec()).map_err(|_| nix::Error::EINVAL);
    let variable = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        text(name)
    };
    let executed = || -> Result<Infallible, nix::Error> {
        let argv = argv.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let environment = std::env::vars_os().map(variable);
        let environment = environment.collect::<Result<Vec<_>, _>>()?;
        execve(&text(file.into())?, &argv, &environment)
    };
    match executed() {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// Sets the limits of a container that Docker starts: the kernel's own limit of open files is 4096, to which no program
/// can be raised.
fn set_limits() {
    let files = Rlimit {
        current: Some(1024),
        maximum: Some(524_288),
    };
    // The kernel refuses more than its own largest number, and the command runs with less.
    let _ = setrlimit(Resource::Nofile, files);
}

/// Makes the user the owner of the terminal, because programs open `/dev/stdout` and `/dev/stderr` by name, and that opens
/// the device again. Standard input is `/dev/null`, which stays what it is.
fn give_terminal(user: Uid) -> Result<(), Errno> {
    let streams = [rustix::stdio::stdout(), rustix::stdio::stderr()];
    let mut terminals = streams.into_iter().filter(|stream| isatty(stream));
    terminals.try_for_each(|stream| fchown(stream, Some(user), None))
}

/// Enters the directory, and makes it if it does not exist, as Docker does.
fn enter(directory: &Path) -> std::io::Result<()> {
    // A relative directory begins at the root, where PID 1 is.
    match chdir(directory) {
        Err(Errno::NOENT) => {
            make(directory, LINKS_MAX)?;
            Ok(chdir(directory)?)
        }
        entered => Ok(entered?),
    }
}

/// Makes a directory with its parents, also where a symlink leads to one that does not exist.
fn make(directory: &Path, links: usize) -> std::io::Result<()> {
    let mut path = PathBuf::new();
    for component in directory.components() {
        path.push(component);
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(_) if path.is_dir() => {}
            made => made?,
        }
        if path.is_symlink() && !path.exists() {
            let target = path.with_file_name(std::fs::read_link(&path)?);
            let links = links.checked_sub(1).ok_or(Errno::LOOP)?;
            make(&target, links)?;
        }
    }
    Ok(())
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
    fn directory_is_made_at_the_end_of_dangling_symlinks() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        std::os::unix::fs::symlink("data/x", path("work")).unwrap();
        std::os::unix::fs::symlink(path("work/y"), path("other")).unwrap();
        make(&path("other/z"), LINKS_MAX).unwrap();
        assert!(path("data/x/y/z").is_dir());
        make(&path("other/z"), LINKS_MAX).unwrap();
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        assert!(make(&path("loop"), LINKS_MAX).is_err());
        std::fs::write(path("file"), "").unwrap();
        assert!(make(&path("file/x"), LINKS_MAX).is_err());
    }

    #[test]
    fn file_that_the_kernel_cannot_execute_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        // A shell would end this process with an error.
        std::fs::write(&file, "exit 7\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&file, mode).unwrap();
        assert_eq!(execute(&file, vec!["x".into()]), nix::Error::ENOEXEC);
        std::fs::write(&file, "#!/nowhere\n").unwrap();
        assert_eq!(execute(&file, vec!["x".into()]), nix::Error::ENOENT);
        assert_eq!(execute(&file, vec!["\0".into()]), nix::Error::EINVAL);
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
