//! The host name, `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`.
//!
//! Each is taken from the kernel command line, else from a file below `/.hpcc` that was injected into the artifact.
//! Without either, the image's own `resolv.conf` stays.
//!
//! Where the root can be written to, the file in `/etc` is replaced. Otherwise a file below `/run` is mounted over the
//! image's, which must be a regular file then: `--mount-point /etc/resolv.conf:file` gives one to an image without.
//!
//! Either is done in a directory `/etc` of the root itself. The image can make `/etc` a symlink to `/.hpcc`, to
//! `/proc/sys/kernel` or out through `..`, and files must neither be written there nor mounted over.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, mkdirat, open, openat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::mount_bind;

use crate::line::Line;
use crate::name::is_name;
use crate::say;

/// Directory of the files that are mounted over those of a read-only root.
pub(crate) const DIRECTORY: &str = "/run/hpcc-agent";

/// Most bytes of a file of the image that are read.
const FILE_MAX: u64 = 1 << 16;

/// The files below `/.hpcc` that this agent reads.
#[derive(Default)]
pub(crate) struct OwnFiles {
    hostname: Option<Vec<u8>>,
    hosts: Option<Vec<u8>>,
    resolv_conf: Option<Vec<u8>>,
}

impl OwnFiles {
    pub(crate) fn read() -> Result<Self, String> {
        let read = |path: &str| match fs::read(path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot read {path}: {error}")),
        };
        Ok(Self {
            hostname: read("/.hpcc/hostname")?,
            hosts: read("/.hpcc/hosts")?,
            resolv_conf: read("/.hpcc/resolv.conf")?,
        })
    }
}

/// Sets the host name and installs the files; returns the name. A file that cannot be installed is reported, and the command
/// runs without it.
pub(crate) fn install(line: &Line, own: &OwnFiles, writable: bool) -> Result<String, String> {
    let name = hostname(line, own);
    rustix::system::sethostname(name.as_bytes())
        .map_err(|error| format!("cannot set the host name {name}: {error}"))?;
    let hosts = own.hosts.clone().unwrap_or_else(|| hosts(&name));
    let files = [
        ("hostname", Some(format!("{name}\n").into_bytes())),
        ("hosts", Some(hosts)),
        ("resolv.conf", resolv_conf(line, own.resolv_conf.as_deref())),
    ];
    for (file, content) in files {
        let Some(content) = content else {
            continue;
        };
        let installed = if writable {
            replace(file, &content)
        } else {
            cover(file, &content)
        };
        if let Err(error) = installed {
            say(&format!(
                "warning: /etc/{file} stays as the image has it: {error}"
            ));
        }
    }
    Ok(name)
}

fn hostname(line: &Line, own: &OwnFiles) -> String {
    let injected = || own.hostname.as_deref().and_then(first_name);
    let of_image = || first_name(&of_image("hostname")?);
    let name = line.hostname.clone().or_else(injected).or_else(of_image);
    name.unwrap_or_else(|| "hpcc".to_owned())
}

/// Returns the name in a file as hostname(5) describes it: lines that begin with `#` are comments.
fn first_name(content: &[u8]) -> Option<String> {
    let lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut names = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    let name = str::from_utf8(names.next()?).ok()?;
    is_name(name).then(|| name.to_owned())
}

/// Returns a file in `/etc` of the image, if it is a regular one of a usual size.
fn of_image(name: &str) -> Option<Vec<u8>> {
    // A link may lead anywhere, and opening a device may have effects.
    let etc = directory(false).ok()?;
    let file = openat(&etc, name, LOOK, Mode::empty()).ok()?;
    (kind(&fstat(&file).ok()?) == FileType::RegularFile).then_some(())?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = open(by_descriptor(&file), flags, Mode::empty()).ok()?;
    let mut content = Vec::new();
    let read = File::from(file).take(FILE_MAX).read_to_end(&mut content);
    read.ok().map(|_| content)
}

fn hosts(name: &str) -> Vec<u8> {
    let mut text = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n".to_owned();
    if name != "localhost" {
        text.push_str(&format!("127.0.1.1 {name}\n"));
    }
    text.into_bytes()
}

/// Returns the new `/etc/resolv.conf`: the words of the line, and what they do not replace of the injected file, else of
/// the image's. `None` leaves the image's as it is.
fn resolv_conf(line: &Line, injected: Option<&[u8]>) -> Option<Vec<u8>> {
    if line.nameservers.is_empty() && line.search.is_empty() {
        return injected.map(<[u8]>::to_vec);
    }
    let mut text = String::new();
    if !line.search.is_empty() {
        text.push_str(&format!("search {}\n", line.search.join(" ")));
    }
    for server in &line.nameservers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    let mut content = text.into_bytes();
    if line.nameservers.is_empty() {
        let base = injected.map(<[u8]>::to_vec);
        let base = base.or_else(|| of_image("resolv.conf"));
        content.extend(without_search(&base.unwrap_or_default()));
    }
    Some(content)
}

/// Returns a resolv.conf(5) without its search domains, of which the last line counts.
fn without_search(content: &[u8]) -> Vec<u8> {
    let lines = content.split_inclusive(|byte| *byte == b'\n');
    let others = lines.filter(|line| {
        let word = line.split(u8::is_ascii_whitespace).next();
        !matches!(word, Some(b"search" | b"domain"))
    });
    others.collect::<Vec<_>>().concat()
}

/// Flags for a descriptor of any file, without following or opening it.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens `/etc` of the root, and makes it if it does not exist and `make` is true.
fn directory(make: bool) -> Result<OwnedFd, String> {
    let failed = |error: Errno| format!("cannot open /etc: {error}");
    let etc = match openat(CWD, "/etc", LOOK, Mode::empty()) {
        Err(Errno::NOENT) if make => {
            let mode = Mode::from_raw_mode(0o755);
            mkdirat(CWD, "/etc", mode).map_err(|error| format!("cannot make /etc: {error}"))?;
            openat(CWD, "/etc", LOOK, Mode::empty()).map_err(failed)?
        }
        opened => opened.map_err(failed)?,
    };
    let found = fstat(&etc).map_err(failed)?;
    match kind(&found) {
        FileType::Directory => {}
        FileType::Symlink => return Err("/etc of the image is a symlink".to_owned()),
        _ => return Err("/etc of the image is not a directory".to_owned()),
    }
    let root = statat(CWD, "/", AtFlags::empty()).map_err(failed)?;
    if root.st_dev != found.st_dev {
        return Err("another file system is mounted on /etc".to_owned());
    }
    Ok(etc)
}

fn kind(found: &Stat) -> FileType {
    FileType::from_raw_mode(found.st_mode)
}

/// Returns a path to the file of a descriptor, which no symlink of the image can redirect.
fn by_descriptor(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Puts a new file into `/etc`. The image's entry of that name is removed, not followed, because it may be a link to
/// anywhere.
fn replace(file: &str, content: &[u8]) -> Result<(), String> {
    let etc = directory(true)?;
    match unlinkat(&etc, file, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(format!("cannot remove it: {error}")),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    openat(&etc, file, flags, Mode::from_raw_mode(0o644))
        .and_then(|new| written(&File::from(new), content))
        .map_err(|error| format!("cannot write a new file: {error}"))
}

/// Mounts a file below `/run` over the one in `/etc`, which must be a regular file of the root.
fn cover(file: &str, content: &[u8]) -> Result<(), String> {
    let etc = directory(false)?;
    let target = openat(&etc, file, LOOK, Mode::empty())
        .map_err(|error| format!("cannot mount over it: {error}"))?;
    let failed = |error: Errno| format!("cannot look at it: {error}");
    let found = fstat(&target).map_err(failed)?;
    if kind(&found) != FileType::RegularFile {
        return Err("cannot mount over it, because it is not a regular file".to_owned());
    }
    if found.st_dev != fstat(&etc).map_err(failed)?.st_dev {
        return Err("another file system is mounted on it".to_owned());
    }
    match rustix::fs::mkdir(DIRECTORY, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(format!("cannot make {DIRECTORY}: {error}")),
    }
    let path = format!("{DIRECTORY}/{file}");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let new = open(&path, flags, Mode::from_raw_mode(0o644))
        .map(File::from)
        .map_err(|error| format!("cannot make {path}: {error}"))?;
    written(&new, content).map_err(|error| format!("cannot write {path}: {error}"))?;
    let new = fstat(&new).map_err(failed)?;
    mount_bind(path, by_descriptor(&target))
        .map_err(|error| format!("cannot mount over it: {error}"))?;
    // The command must find the new file under this name.
    let found = statat(&etc, file, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    match (found.st_dev, found.st_ino) == (new.st_dev, new.st_ino) {
        true => Ok(()),
        false => Err("it was mounted over, and another file is found there".to_owned()),
    }
}

fn written(mut file: &File, content: &[u8]) -> Result<(), Errno> {
    let error = match file.write_all(content) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_comes_before_files_below_hpcc() {
        let mut line = Line::default();
        let own = OwnFiles {
            hostname: Some(b" vm-8 \nmore\n".to_vec()),
            ..OwnFiles::default()
        };
        assert_eq!(hostname(&line, &own), "vm-8");
        line.hostname = Some("vm-7".into());
        assert_eq!(hostname(&line, &own), "vm-7");
    }

    #[test]
    fn host_name_is_the_first_line_that_is_no_comment() {
        for (content, expected) in [
            (&b"# comment\n\n vm-8\r\nother\n"[..], Some("vm-8")),
            (b"#vm-8", None),
            (b"..\n", None),
            (b"", None),
        ] {
            assert_eq!(first_name(content).as_deref(), expected);
        }
    }

    #[test]
    fn words_replace_their_own_part_of_resolv_conf() {
        let file = b"domain a\nnameserver 10.0.0.1\nsearch b\noptions ndots:2\n";
        let words = |search: &[&str], servers: &[&str]| {
            let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            let line = Line {
                search: owned(search),
                nameservers: owned(servers),
                ..Line::default()
            };
            String::from_utf8(resolv_conf(&line, Some(file)).unwrap()).unwrap()
        };
        assert_eq!(words(&[], &[]).as_bytes(), file);
        assert_eq!(
            words(&["c", "d"], &[]),
            "search c d\nnameserver 10.0.0.1\noptions ndots:2\n"
        );
        assert_eq!(
            words(&["c"], &["10.0.0.2", "fd00::1"]),
            "search c\nnameserver 10.0.0.2\nnameserver fd00::1\n"
        );
        assert_eq!(words(&[], &["fd00::1"]), "nameserver fd00::1\n");
        assert_eq!(resolv_conf(&Line::default(), None), None);
    }

    #[test]
    fn hosts_name_this_machine() {
        let text = String::from_utf8(hosts("vm-7")).unwrap();
        assert!(text.ends_with("\n127.0.1.1 vm-7\n"), "{text}");
        assert_eq!(hosts("localhost").split(|byte| *byte == b'\n').count(), 3);
    }
}
