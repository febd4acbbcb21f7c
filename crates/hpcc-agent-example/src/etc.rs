//! The host name, `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`.
//!
//! Each is taken from the kernel command line, else from a file below `/.hpcc` that was injected into the artifact.
//! Without either, the image's own `resolv.conf` stays.
//!
//! Where the root can be written to, the file in `/etc` is replaced. Otherwise a file below `/run` is mounted over the
//! image's, which must be a regular file then: `--mount-point /etc/resolv.conf:file` gives one to an image without.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::fd::AsRawFd as _;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, open, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::mount_bind;

use crate::line::{Line, is_name};
use crate::say;

/// Where the files are that are mounted over those of a root that cannot be written to.
const DIRECTORY: &str = "/run/hpcc-agent";

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
        (
            "resolv.conf",
            resolv_conf(line).or_else(|| own.resolv_conf.clone()),
        ),
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
    let first = |content: &[u8]| {
        let line = content.split(|byte| *byte == b'\n').next()?;
        let name = str::from_utf8(line.trim_ascii()).ok()?;
        is_name(name).then(|| name.to_owned())
    };
    let of_image = || {
        // A link may lead anywhere, and a device may have no end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = open("/etc/hostname", flags, Mode::empty()).ok()?;
        let regular = FileType::from_raw_mode(fstat(&file).ok()?.st_mode) == FileType::RegularFile;
        let mut content = [0; 256];
        let length = rustix::io::read(&file, &mut content)
            .ok()
            .filter(|_| regular)?;
        first(content.get(..length)?)
    };
    let injected = || first(own.hostname.as_deref()?);
    let name = line.hostname.clone().or_else(injected).or_else(of_image);
    name.unwrap_or_else(|| "hpcc".to_owned())
}

fn hosts(name: &str) -> Vec<u8> {
    let mut text = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n".to_owned();
    if name != "localhost" {
        text.push_str(&format!("127.0.1.1 {name}\n"));
    }
    text.into_bytes()
}

fn resolv_conf(line: &Line) -> Option<Vec<u8>> {
    if line.nameservers.is_empty() {
        return None;
    }
    let mut text = String::new();
    if !line.search.is_empty() {
        text.push_str(&format!("search {}\n", line.search.join(" ")));
    }
    for server in &line.nameservers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    Some(text.into_bytes())
}

/// Puts a new file into `/etc`. Whatever the image has there is removed, not followed: it may be a link to anywhere.
fn replace(file: &str, content: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let etc = match open("/etc", flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            rustix::fs::mkdir("/etc", Mode::from_raw_mode(0o755))?;
            open("/etc", flags, Mode::empty())?
        }
        opened => opened?,
    };
    match unlinkat(&etc, file, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let new = openat(&etc, file, flags, Mode::from_raw_mode(0o644))?;
    written(&File::from(new), content)
}

/// Mounts a file below `/run` over the one in `/etc`.
fn cover(file: &str, content: &[u8]) -> Result<(), Errno> {
    match rustix::fs::mkdir(DIRECTORY, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let path = format!("{DIRECTORY}/{file}");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let new = open(&path, flags, Mode::from_raw_mode(0o644))?;
    written(&File::from(new), content)?;
    // By its descriptor: a link in its place is neither followed nor mounted over.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = open(format!("/etc/{file}"), flags, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&target)?.st_mode) != FileType::RegularFile {
        return Err(Errno::LOOP);
    }
    mount_bind(path, format!("/proc/self/fd/{}", target.as_raw_fd()))
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
    fn resolv_conf_needs_a_server() {
        let mut line = Line {
            search: vec!["a.example".into(), "b.example".into()],
            ..Line::default()
        };
        assert_eq!(resolv_conf(&line), None);
        line.nameservers = vec!["10.0.0.2".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert_eq!(
            resolv_conf(&line).unwrap(),
            b"search a.example b.example\nnameserver 10.0.0.2\nnameserver fd00::1\n"
        );
    }

    #[test]
    fn hosts_name_this_machine() {
        let text = String::from_utf8(hosts("vm-7")).unwrap();
        assert!(text.ends_with("\n127.0.1.1 vm-7\n"), "{text}");
        assert_eq!(hosts("localhost").split(|byte| *byte == b'\n').count(), 3);
    }
}
