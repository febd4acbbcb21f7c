//! Users and groups by the image's own `/etc/passwd` and `/etc/group`.
//!
//! The rules are those of Docker (`GetExecUser` of moby/sys/user): a number selects the entry with that number and needs
//! none; a name needs an entry; without a group, the entry of the user names it, and all groups that list the user
//! are added. The files are the tenant's. Both are read up to a limit, and a line that is not an entry is skipped.

use std::fs::File;
use std::io::Read as _;
use std::str;

use rustix::fs::{FileType, Mode, OFlags, fstat, open};

/// The largest user and group number that Docker accepts.
const ID_MAX: u32 = 0x7FFF_FFFF;
/// `NGROUPS_MAX` of Linux.
const GROUPS_MAX: usize = 65_536;
/// Bytes of a file that are read. The largest real ones have some thousand users of 100 bytes.
const FILE_MAX: u64 = 4 << 20;

/// Who the command runs as.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Resolves `user`, `uid`, `user:group` and their mixtures; nothing means root.
pub(crate) fn of(user: &str) -> Result<Account, String> {
    resolve(user, &read("/etc/passwd")?, &read("/etc/group")?)
}

fn resolve(spec: &str, passwd: &[u8], group: &[u8]) -> Result<Account, String> {
    let (user, group_name) = spec.split_once(':').unwrap_or((spec, ""));
    let user = if user.is_empty() { "0" } else { user };
    let unknown = |what: &str, name: &str, file: &str| {
        format!("{what} {name:?} of the image is neither a number nor in its {file}")
    };
    let number = number(user);
    let mut entries = lines(passwd).filter_map(User::parse);
    let found = entries.find(|entry| match number {
        Some(number) => entry.number == number,
        None => entry.name == user,
    });
    let mut account = Account {
        user: 0,
        group: 0,
        groups: Vec::new(),
        home: "/".to_owned(),
    };
    match (&found, number) {
        (Some(entry), _) => {
            (account.user, account.group) = (entry.number, entry.group);
            if !entry.home.is_empty() {
                entry.home.clone_into(&mut account.home);
            }
        }
        (None, Some(number)) => account.user = number,
        (None, None) => return Err(unknown("user", user, "/etc/passwd")),
    }
    let mut groups = lines(group).filter_map(Group::parse);
    if group_name.is_empty() {
        if let Some(entry) = found {
            let of_user =
                groups.filter(|group| group.members.split(',').any(|name| name == entry.name));
            account.groups = of_user.map(|group| group.number).take(GROUPS_MAX).collect();
        }
        return Ok(account);
    }
    let number = self::number(group_name);
    let found = groups.find(|entry| match number {
        Some(number) => entry.number == number,
        None => entry.name == group_name,
    });
    account.group = found
        .map(|entry| entry.number)
        .or(number)
        .ok_or_else(|| unknown("group", group_name, "/etc/group"))?;
    Ok(account)
}

/// An entry of `/etc/passwd`: `name:password:number:group:comment:home:shell`.
struct User<'a> {
    name: &'a str,
    number: u32,
    group: u32,
    home: &'a str,
}

impl<'a> User<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let number = number(fields.nth(1)?)?;
        let group = self::number(fields.next()?)?;
        let home = fields.nth(1).unwrap_or_default();
        Some(Self {
            name,
            number,
            group,
            home,
        })
    }
}

/// An entry of `/etc/group`: `name:password:number:members`.
struct Group<'a> {
    name: &'a str,
    number: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let number = number(fields.nth(1)?)?;
        let members = fields.next().unwrap_or_default();
        Some(Self {
            name,
            number,
            members,
        })
    }
}

fn lines(file: &[u8]) -> impl Iterator<Item = &str> {
    let lines = file.split(|byte| *byte == b'\n');
    lines.filter_map(|line| str::from_utf8(line.trim_ascii()).ok())
}

fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| *number <= ID_MAX);
    number.filter(|_| digits)
}

/// Reads a file of the image; one that does not exist is empty.
fn read(path: &str) -> Result<Vec<u8>, String> {
    let failed = |error| format!("cannot read {path} of the image: {error}");
    // Nothing is waited for, whatever the image has there: a pipe, a device, a link to one of them.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error.into())),
    };
    let found = fstat(&file).map_err(|error| failed(error.into()))?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(failed(std::io::Error::other("not a regular file")));
    }
    let mut content = Vec::new();
    let limit = File::from(file)
        .take(FILE_MAX + 1)
        .read_to_end(&mut content);
    if limit.map_err(failed)? > usize::try_from(FILE_MAX).unwrap_or(usize::MAX) {
        return Err(failed(std::io::Error::other("larger than 4 MiB")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
        # a comment\n\n\
        broken\n\
        evil:x::0:::\n\
        minus:x:-1:0:::\n\
        huge:x:4294967296:0:::\n\
        caf\xe9:x:50:50::/:\n\
        daemon:x:1:2:daemon:/usr/sbin:/usr/sbin/nologin\n\
        app:x:1000:1000::/home/app:/bin/sh\n\
        app:x:7:7::/other:/bin/sh\n\
        bare:x:1001:1002\n\
        33:x:44:45::/trap:/bin/sh";
    const GROUP: &[u8] = b"root:x:0:\n\
        tty:x:5:daemon,app\n\
        empty\n\
        app:x:1000:\n\
        disk:x:6:app,root\n\
        apps:x:8:apple,app2";

    fn account(user: u32, group: u32, groups: &[u32], home: &str) -> Account {
        let (groups, home) = (groups.to_vec(), home.to_owned());
        Account {
            user,
            group,
            groups,
            home,
        }
    }

    #[test]
    fn users_and_groups_resolve_as_docker_resolves_them() {
        for (spec, expected) in [
            ("", account(0, 0, &[6], "/root")),
            ("root", account(0, 0, &[6], "/root")),
            ("0", account(0, 0, &[6], "/root")),
            ("app", account(1000, 1000, &[5, 6], "/home/app")),
            ("1000", account(1000, 1000, &[5, 6], "/home/app")),
            // An explicit group leaves no other.
            ("app:tty", account(1000, 5, &[], "/home/app")),
            ("app:99", account(1000, 99, &[], "/home/app")),
            ("app:1000", account(1000, 1000, &[], "/home/app")),
            ("app:", account(1000, 1000, &[5, 6], "/home/app")),
            (":tty", account(0, 5, &[], "/root")),
            ("5000", account(5000, 0, &[], "/")),
            ("5000:6", account(5000, 6, &[], "/")),
            ("5000:disk", account(5000, 6, &[], "/")),
            ("bare", account(1001, 1002, &[], "/")),
            // Digits are a number, also where a name has the same ones.
            ("33", account(33, 0, &[], "/")),
            ("2147483647", account(2_147_483_647, 0, &[], "/")),
        ] {
            assert_eq!(resolve(spec, PASSWD, GROUP), Ok(expected), "{spec:?}");
        }
    }

    #[test]
    fn names_without_a_usable_entry_are_errors() {
        for (spec, says) in [
            ("nobody", "user \"nobody\""),
            ("app:nobody", "group \"nobody\""),
            ("evil", "user \"evil\""),
            ("minus", "user \"minus\""),
            ("huge", "user \"huge\""),
            ("broken", "user \"broken\""),
            ("2147483648", "user \"2147483648\""),
            ("-1", "user \"-1\""),
            ("+5", "user \"+5\""),
            ("app:-1", "group \"-1\""),
        ] {
            let error = resolve(spec, PASSWD, GROUP).unwrap_err();
            assert!(error.starts_with(says), "{spec}: {error}");
        }
    }

    #[test]
    fn image_without_files_has_numbers_alone() {
        assert_eq!(resolve("", b"", b""), Ok(account(0, 0, &[], "/")));
        assert_eq!(resolve("7:8", b"", b""), Ok(account(7, 8, &[], "/")));
        assert!(resolve("root", b"", b"").is_err());
        assert_eq!(read("/nowhere/passwd"), Ok(Vec::new()));
    }

    #[test]
    fn file_that_is_a_pipe_or_too_large_is_refused_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
        let error = read(pipe.to_str().unwrap()).unwrap_err();
        assert!(error.ends_with("not a regular file"), "{error}");
        let large = directory.path().join("large");
        File::create(&large).unwrap().set_len(FILE_MAX + 1).unwrap();
        let error = read(large.to_str().unwrap()).unwrap_err();
        assert!(error.ends_with("larger than 4 MiB"), "{error}");
    }
}
