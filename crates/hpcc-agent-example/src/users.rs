//! Users and groups by the image's own `/etc/passwd` and `/etc/group`.
//!
//! The rules are those of Docker (`GetExecUser` of moby/sys/user): a number selects the entry with that number and needs
//! none; a name needs an entry; without a group, the entry of the user names it, and all groups that list the user
//! are added. The files are the tenant's. Both are read up to a limit, and a line that is not an entry is skipped. A line
//! of `/etc/group` that begins with `#` is a comment, as in glibc.
//!
//! Two rules are stricter than Docker's. A line whose number is missing or not a number is not an entry, where Docker
//! takes the number for 0, which is root (moby/sys#248). And more groups than Linux can give to a process are an error.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::str;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2};
use rustix::io::Errno;

/// The largest user and group number that Docker accepts.
const ID_MAX: u32 = 0x7FFF_FFFF;
/// `NGROUPS_MAX` of Linux.
const GROUPS_MAX: usize = 65_536;
/// Most bytes of a file that are read. The largest real files have a few thousand users of 100 bytes.
const FILE_MAX: u64 = 4 << 20;

/// The user and groups that the command runs as.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) user: u32,
    pub(crate) group: u32,
    /// Supplementary groups, sorted. `group` is always one of them: a process that leaves it by executing a setgid
    /// program would otherwise pass where the group is refused (CVE-2022-36109, containerd's CVE-2023-25173).
    pub(crate) groups: Vec<u32>,
    pub(crate) home: OsString,
}

/// Resolves `user`, `uid`, `user:group` and their mixtures; nothing means root.
pub(crate) fn of(user: &str) -> Result<Account, String> {
    let root = open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| format!("cannot open the root: {error}"))?;
    resolve(
        user,
        &read(&root, "etc/passwd")?,
        &read(&root, "etc/group")?,
    )
}

fn resolve(spec: &str, passwd: &[u8], group: &[u8]) -> Result<Account, String> {
    let (user, group_name) = spec.split_once(':').unwrap_or((spec, ""));
    let user = if user.is_empty() { "0" } else { user };
    let (number, group_number) = (selected("user", user)?, selected("group", group_name)?);
    let unknown = |what: &str, name: &str, file: &str| {
        format!("{what} {name:?} of the image is neither a number nor in its {file}")
    };
    let mut entries = lines(passwd).filter_map(User::parse);
    let found = entries.find(|entry| match number {
        Some(number) => entry.number == number,
        None => entry.name == user.as_bytes(),
    });
    let mut account = Account {
        user: 0,
        group: 0,
        groups: Vec::new(),
        home: "/".into(),
    };
    match (&found, number) {
        (Some(entry), _) => {
            (account.user, account.group) = (entry.number, entry.group);
            if !entry.home.is_empty() {
                account.home = OsStr::from_bytes(entry.home).to_owned();
            }
        }
        (None, Some(number)) => account.user = number,
        (None, None) => return Err(unknown("user", user, "/etc/passwd")),
    }
    let entries = lines(group).filter(|line| !line.starts_with(b"#"));
    let mut groups = entries.filter_map(Group::parse);
    let mut all = BTreeSet::new();
    if group_name.is_empty() {
        if let Some(entry) = found {
            let lists = |group: &Group<'_>| {
                let mut members = group.members.split(|byte| *byte == b',');
                members.any(|name| name == entry.name)
            };
            let of_user = groups.filter(lists);
            all.extend(of_user.map(|group| group.number));
        }
    } else {
        let found = groups.find(|entry| match group_number {
            Some(number) => entry.number == number,
            None => entry.name == group_name.as_bytes(),
        });
        account.group = found
            .map(|entry| entry.number)
            .or(group_number)
            .ok_or_else(|| unknown("group", group_name, "/etc/group"))?;
    }
    all.insert(account.group);
    if all.len() > GROUPS_MAX {
        return Err(format!(
            "user {user:?} has {} groups in the image's /etc/group, and Linux allows {GROUPS_MAX}; name one group as USER:GROUP",
            all.len()
        ));
    }
    account.groups = all.into_iter().collect();
    Ok(account)
}

/// Returns the number that selects a user or group, or `None` if a name selects it. A sign before digits makes no name of
/// them (`strconv.Atoi` of Go).
fn selected(what: &str, text: &str) -> Result<Option<u32>, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match number(digits.as_bytes()) {
        Some(number) if number == 0 || !text.starts_with('-') => Ok(Some(number)),
        _ => Err(format!(
            "{what} {text} of the image is not a number from 0 to {ID_MAX}, which users and groups have"
        )),
    }
}

/// An entry of `/etc/passwd`: `name:password:number:group:comment:home:shell`.
struct User<'a> {
    name: &'a [u8],
    number: u32,
    group: u32,
    home: &'a [u8],
}

impl<'a> User<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b':');
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
    name: &'a [u8],
    number: u32,
    members: &'a [u8],
}

impl<'a> Group<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b':');
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

/// Returns the lines. No name, number or home contains a zero byte, and a line break may be CR LF. A comment or a home can
/// have any encoding.
fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = file.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.contains(&0))
        .map(<[u8]>::trim_ascii)
}

fn number(text: &[u8]) -> Option<u32> {
    let digits = text.iter().all(u8::is_ascii_digit);
    let number = str::from_utf8(text).ok()?.parse().ok();
    number.filter(|number| digits && *number <= ID_MAX)
}

/// Reads a file of the image by its path below `root`. A file that does not exist is empty.
///
/// Symlinks to a file of the image are followed. A symlink into a file system that is mounted below the root, such as
/// `/proc`, does not lead to a file of the image.
fn read(root: impl AsFd, path: &str) -> Result<Vec<u8>, String> {
    let failed = |error| format!("cannot read /{path} of the image: {error}");
    // Opening a device or a pipe has effects or waits, so the type of the file is checked first.
    let look = OFlags::PATH | OFlags::CLOEXEC;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let found = match openat2(&root, path, look, Mode::empty(), within) {
        // Before Linux 5.6.
        Err(Errno::NOSYS) => openat(&root, path, look, Mode::empty()),
        opened => opened,
    };
    let file = match found {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error.into())),
    };
    let found = fstat(&file).map_err(|error| failed(error.into()))?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(failed(std::io::Error::other("not a regular file")));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let file = open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
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
        -42:x:12:13::/trap:/bin/sh\n\
        33:x:44:45::/trap:/bin/sh";
    const GROUP: &[u8] = b"root:x:0:\n\
        tty:x:5:daemon,app\n\
        empty\n\
        app:x:1000:\n\
        disk:x:6:app,root\n\
        apps:x:8:apple,app2";

    /// `groups` are those besides `group`.
    fn account(user: u32, group: u32, groups: &[u32], home: &str) -> Account {
        let mut groups = [&[group], groups].concat();
        groups.sort_unstable();
        let home = home.into();
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
            // Digits are a number, also where a name has the same ones (moby/moby#21436, CVE-2016-3697).
            ("33", account(33, 0, &[], "/")),
            ("2147483647", account(2_147_483_647, 0, &[], "/")),
            // moby/sys: a sign makes no name, also where an entry has it.
            ("+5", account(5, 0, &[], "/")),
            ("-0:+6", account(0, 6, &[], "/root")),
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
            // containerd's CVE-2024-40635: such a number became root.
            ("2147483648", "user 2147483648 of the image is not a number"),
            ("4294967295", "user 4294967295 of the image is not a number"),
            (
                "+4294967295",
                "user +4294967295 of the image is not a number",
            ),
            ("99999999999999999999", "user 99999999999999999999 of"),
            (
                "app:4294967295",
                "group 4294967295 of the image is not a number",
            ),
            ("app:tty:", "group \"tty:\""),
            ("app:1000:5", "group \"1000:5\""),
            (" app", "user \" app\""),
            ("app\n", "user \"app\\n\""),
            ("a\0b", "user \"a\\0b\""),
            ("0x10", "user \"0x10\""),
            ("\u{663}", "user "),
            ("-1", "user -1 of the image is not a number"),
            ("-42", "user -42 of the image is not a number"),
            ("app:-3", "group -3 of the image is not a number"),
            ("--1", "user \"--1\""),
            ("+", "user \"+\""),
            ("1_0", "user \"1_0\""),
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
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(root(&directory), "etc/passwd"), Ok(Vec::new()));
    }

    #[test]
    fn lines_with_foreign_ends_or_zero_bytes_keep_their_neighbors() {
        // Windows line breaks, a line of spaces, no line break at the end.
        let passwd = b"app:x:5:6::/home/app:/bin/sh\r\n   \r\nz\0:x:0:0::/:\nlast:x:7:8::/l";
        let group =
            b"one:x:10:app,last\r\ntwo:x:11:last\r\ntwo:x:11:app\nz:x:12:\0,app\none:x:13:app";
        let app = resolve("app", passwd, group);
        assert_eq!(app, Ok(account(5, 6, &[10, 11, 13], "/home/app")));
        let last = resolve("last", passwd, group);
        assert_eq!(last, Ok(account(7, 8, &[10, 11], "/l")));
        // The first group of a name is the one that the name selects.
        assert_eq!(
            resolve("app:one", passwd, group),
            Ok(account(5, 10, &[], "/home/app"))
        );
        assert!(resolve("z", passwd, group).is_err());
        assert!(resolve("z\0", passwd, group).is_err());
    }

    #[test]
    fn entry_without_a_number_is_not_root() {
        // moby/sys#248
        for line in [
            "evil:x:abc:0::/:",
            "evil:x::10::/:",
            "evil:x:-0:0::/:",
            "evil:x:+0:0::/:",
            "evil:x: 0:0::/:",
            "evil:x:0",
            "evil",
        ] {
            assert!(resolve("evil", line.as_bytes(), b"").is_err(), "{line}");
        }
    }

    #[test]
    fn group_named_like_the_user_is_added() {
        // containerd/containerd#11937
        let found = resolve("name", b"name:x:2:1::/:", b"name:x:2:name\nnogroup:x:1:");
        assert_eq!(found, Ok(account(2, 1, &[2], "/")));
    }

    #[test]
    fn comment_in_group_file_adds_no_group() {
        // moby/sys, `ParseGroupFilter`
        let group = b"#docker:x:999:app\n  # wheel:x:998:app\nvideo:x:44:app";
        let found = resolve("app", b"app:x:5:6::/:", group);
        assert_eq!(found, Ok(account(5, 6, &[44], "/")));
        assert!(resolve("app:#docker", b"app:x:5:6::/:", group).is_err());
    }

    #[test]
    fn entry_counts_whatever_its_comment_is_encoded_in() {
        let passwd = b"andre:x:5:6:Andr\xe9:/home/andr\xe9:/bin/sh";
        let group = b"caf\xe9:x:7:andre\nother:x:8:caf\xe9,andre";
        for spec in ["andre", "5"] {
            let found = resolve(spec, passwd, group).unwrap();
            assert_eq!((found.group, &*found.groups), (6, &[6, 7, 8][..]), "{spec}");
            assert_eq!(found.home.as_bytes(), b"/home/andr\xe9");
        }
    }

    #[test]
    fn groups_are_bounded_by_what_linux_takes() {
        let all: String = (1..=GROUPS_MAX)
            .map(|id| format!("g:x:{id}:app\n"))
            .collect();
        let (_, most) = all.split_once('\n').unwrap();
        let passwd = b"app:x:5:0::/:";
        let most = resolve("app", passwd, most.as_bytes()).unwrap();
        assert_eq!(most.groups.len(), GROUPS_MAX);
        let error = resolve("app", passwd, all.as_bytes()).unwrap_err();
        assert!(error.contains("has 65537 groups"), "{error}");
        // The same group in many lines counts once.
        let same = b"g:x:1:app\n".repeat(1000);
        assert_eq!(resolve("app", passwd, &same).unwrap().groups, [0, 1]);
    }

    #[test]
    fn files_are_found_within_the_image_alone() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("etc")).unwrap();
        std::fs::write(path("own"), "own").unwrap();
        let read = |name: &str| read(root(&directory), name);
        symlink("/own", path("etc/absolute")).unwrap();
        symlink("../../../../own", path("etc/above")).unwrap();
        assert_eq!(read("etc/absolute"), Ok(b"own".to_vec()));
        assert_eq!(read("etc/above"), Ok(b"own".to_vec()));
        symlink("loop", path("etc/loop")).unwrap();
        symlink("own/below", path("etc/file")).unwrap();
        symlink("/nowhere", path("etc/dangling")).unwrap();
        for name in ["etc/loop", "etc/file", "etc/dangling"] {
            assert_eq!(read(name), Ok(Vec::new()), "{name}");
        }
        let slash = open("/", OFlags::PATH, Mode::empty()).unwrap();
        assert_eq!(super::read(&slash, "proc/self/status"), Ok(Vec::new()));
        assert!(read("etc").unwrap_err().ends_with("not a regular file"));
    }

    fn root(directory: &tempfile::TempDir) -> rustix::fd::OwnedFd {
        open(directory.path(), OFlags::PATH, Mode::empty()).unwrap()
    }

    #[test]
    fn pipe_or_too_large_file_is_refused_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
        let error = read(root(&directory), "pipe").unwrap_err();
        assert!(error.ends_with("not a regular file"), "{error}");
        let large = directory.path().join("large");
        File::create(&large).unwrap().set_len(FILE_MAX + 1).unwrap();
        let error = read(root(&directory), "large").unwrap_err();
        assert!(error.ends_with("larger than 4 MiB"), "{error}");
    }
}
