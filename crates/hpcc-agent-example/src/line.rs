//! The options of this agent on the kernel command line.
//!
//! | word | default | meaning |
//! |---|---|---|
//! | `hpcc.root=overlay\|ro` | `overlay` | whether the command can write to the root |
//! | `hpcc.root_flags=nodev,nosuid` | none | what the root's device nodes and setuid bits do not get |
//! | `hpcc.disk=DEVICE\|none` | `/dev/vdb` if it exists | drive that holds what is written to the root |
//! | `hpcc.hostname=NAME` | `/.hpcc/hostname`, the image's, `hpcc` | |
//! | `hpcc.nameserver=ADDRESS` | `/.hpcc/resolv.conf`, the image's | may be repeated |
//! | `hpcc.search=DOMAIN` | that of the same file | may be repeated; replaces the domains of that file |
//! | `hpcc.user=USER[:GROUP]` | the image's | |
//! | `hpcc.directory=DIR` | the image's | working directory |
//! | `hpcc.env=NAME=VALUE` | none | may be repeated; replaces the image's variable |
//! | `hpcc.entrypoint=WORD` | the image's | may be repeated; drops the image's `cmd` as well |
//! | `hpcc.pids=shared\|own` | `shared` | whether the command is process 1 of a PID namespace of its own |
//! | `hpcc.stop_timeout=SECONDS` | 10 | from the stop signal to SIGKILL |
//! | `hpcc.end=poweroff\|restart` | `restart` if the line has `reboot=`, else `poweroff` | how the machine ends |
//! | `hpcc.status=vsock:PORT` | none | port of the host to which the exit code is sent, besides the console |
//! | `hpcc.cmd=WORD` | the image's | may be repeated; replaces `cmd`, without the kernel's limit of 32 words |
//! | `-- WORD …` | the image's | the same; comes after the words of `hpcc.cmd` |
//!
//! The kernel ignores words with a dot that it does not know. A space in a value is written `%20`, or the word is put
//! between double quotes; `%` is `%25`. An unknown word that begins with `hpcc.` is an error, because an option about
//! security must not be lost to a spelling mistake.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use crate::name::{is_address, is_domain, is_name};

/// The line, parsed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) writable: bool,
    pub(crate) nodev: bool,
    pub(crate) nosuid: bool,
    pub(crate) disk: Disk,
    pub(crate) hostname: Option<String>,
    pub(crate) nameservers: Vec<String>,
    pub(crate) search: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) directory: Option<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) entrypoint: Option<Vec<OsString>>,
    pub(crate) command: Option<Vec<OsString>>,
    /// Whether the command is process 1 of a namespace.
    pub(crate) own_pids: bool,
    pub(crate) stop_timeout: Duration,
}

/// The location of the root's upper layer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    /// The second drive if one exists that can be used, otherwise memory.
    Any,
    /// This drive.
    Named(String),
    /// Memory.
    Memory,
}

/// How the machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    PowerOff,
    /// Firecracker has no power switch; it exits when its guest restarts.
    Restart,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            writable: true,
            nodev: false,
            nosuid: false,
            disk: Disk::Any,
            hostname: None,
            nameservers: Vec::new(),
            search: Vec::new(),
            user: None,
            directory: None,
            environment: Vec::new(),
            entrypoint: None,
            command: None,
            own_pids: false,
            stop_timeout: Duration::from_secs(10),
        }
    }
}

impl End {
    /// Returns how this machine ends, even if the rest of its line is wrong. If `/proc` is not mounted, the machine
    /// restarts.
    pub(crate) fn of_machine() -> Self {
        std::fs::read("/proc/cmdline").map_or(Self::Restart, |line| end_of(&line))
    }
}

/// Returns the port of a vsock of the host that receives the exit code, even if the rest of the line of this machine is
/// wrong.
pub(crate) fn status_of_machine() -> Option<u32> {
    status_of(&std::fs::read("/proc/cmdline").ok()?)
}

impl Line {
    /// Reads the line of this machine. `/proc` has to be mounted.
    pub(crate) fn read() -> Result<Self, String> {
        let line = std::fs::read("/proc/cmdline")
            .map_err(|error| format!("cannot read /proc/cmdline: {error}"))?;
        Self::parse(&line)
    }

    fn parse(line: &[u8]) -> Result<Self, String> {
        // A word that reaches to the end of the line could hold options that were meant to count.
        if line.iter().filter(|byte| **byte == b'"').count() % 2 != 0 {
            return Err("a quote on the kernel command line has no end".to_owned());
        }
        let mut parsed = Self::default();
        let mut words = words(line).into_iter();
        while let Some(word) = words.next() {
            if word == b"--" {
                let command = parsed.command.get_or_insert_default();
                command.extend(words.map(|word| decoded(&word)));
                break;
            }
            let Some(option) = word.strip_prefix(b"hpcc.") else {
                continue;
            };
            let shown = word.escape_ascii();
            let equals = option.iter().position(|byte| *byte == b'=');
            let (name, value) = equals
                .and_then(|at| Some((option.get(..at)?, option.get(at + 1..)?)))
                .ok_or_else(|| format!("{shown} on the kernel command line has no value"))?;
            let text = || {
                decoded(value)
                    .into_string()
                    .map_err(|_| format!("{shown} on the kernel command line is not UTF-8"))
            };
            let invalid = || format!("the value of {shown} on the kernel command line is invalid");
            match name {
                b"root" => {
                    parsed.writable = one_of(value, b"overlay", b"ro").ok_or_else(invalid)?
                }
                b"root_flags" => {
                    for flag in value.split(|byte| *byte == b',') {
                        match flag {
                            b"nodev" => parsed.nodev = true,
                            b"nosuid" => parsed.nosuid = true,
                            _ => return Err(invalid()),
                        }
                    }
                }
                b"disk" => {
                    parsed.disk = match text()?.as_str() {
                        "none" => Disk::Memory,
                        device if device.starts_with("/dev/") => Disk::Named(device.to_owned()),
                        _ => return Err(invalid()),
                    };
                }
                b"hostname" => {
                    let name = text()?;
                    parsed.hostname = Some(name.clone()).filter(|name| is_name(name));
                    if parsed.hostname.is_none() {
                        return Err(invalid());
                    }
                }
                b"nameserver" => {
                    let address = Some(text()?).filter(|text| is_address(text));
                    parsed.nameservers.push(address.ok_or_else(invalid)?);
                }
                b"search" => match text()? {
                    domain if is_domain(&domain) => parsed.search.push(domain),
                    _ => return Err(invalid()),
                },
                b"user" => {
                    let user = text()?;
                    // In an image, nothing means root. On the line, it is a variable of a script that was empty.
                    if user.split(':').any(str::is_empty) {
                        return Err(invalid());
                    }
                    parsed.user = Some(user);
                }
                b"directory" if value.is_empty() => return Err(invalid()),
                b"directory" => parsed.directory = Some(decoded(value)),
                b"env" => {
                    let at = value.iter().position(|byte| *byte == b'=');
                    let at = at.filter(|at| *at > 0).ok_or_else(invalid)?;
                    let (name, rest) = value.split_at(at);
                    let value = rest.get(1..).unwrap_or_default();
                    parsed.environment.push((decoded(name), decoded(value)));
                }
                b"entrypoint" => {
                    let words = parsed.entrypoint.get_or_insert_default();
                    words.push(decoded(value));
                }
                b"status" => {
                    // The value was read before.
                    port(value).ok_or_else(invalid)?;
                }
                b"cmd" => {
                    let words = parsed.command.get_or_insert_default();
                    words.push(decoded(value));
                }
                b"pids" => {
                    parsed.own_pids = one_of(value, b"own", b"shared").ok_or_else(invalid)?
                }
                b"stop_timeout" => {
                    let seconds = text()?.parse().map_err(|_| invalid())?;
                    parsed.stop_timeout = Duration::from_secs(seconds);
                }
                b"end" => {
                    // The value was read before.
                    one_of(value, b"poweroff", b"restart").ok_or_else(invalid)?;
                }
                _ => {
                    return Err(format!(
                        "{shown} on the kernel command line is unknown to this agent"
                    ));
                }
            }
        }
        Ok(parsed)
    }
}

/// Returns how a machine with this line ends: by the last valid `hpcc.end`, otherwise by `reboot=`. The function cannot
/// fail, because a machine that does not end after an error hangs.
fn end_of(line: &[u8]) -> End {
    let mut found = None;
    let mut default = End::PowerOff;
    for word in words(line) {
        match &*word {
            b"--" => break,
            b"hpcc.end=poweroff" => found = Some(End::PowerOff),
            b"hpcc.end=restart" => found = Some(End::Restart),
            word if word.starts_with(b"reboot=") => default = End::Restart,
            _ => {}
        }
    }
    found.unwrap_or(default)
}

/// Returns the port of the last valid `hpcc.status`. The function cannot fail, because a host that waits for an exit
/// code has to learn of a wrong line too.
fn status_of(line: &[u8]) -> Option<u32> {
    let words = words(line).into_iter();
    let options = words.take_while(|word| word != b"--");
    let ports = options.filter_map(|word| port(word.strip_prefix(b"hpcc.status=")?));
    ports.last()
}

/// Returns the port in `vsock:PORT`. The largest number means any port.
fn port(value: &[u8]) -> Option<u32> {
    let text = decoded(value).into_string().ok()?;
    let port = text.strip_prefix("vsock:")?.parse().ok();
    port.filter(|port| *port != u32::MAX)
}

/// Returns whether `value` is the first of two words, or `None` if it is neither.
fn one_of(value: &[u8], first: &[u8], second: &[u8]) -> Option<bool> {
    (value == first || value == second).then(|| value == first)
}

/// Splits a line as the kernel does (`next_arg` of lib/cmdline.c): at white space outside of double quotes. Quotes
/// around a whole word or a whole value are taken off, others stay.
fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let mut quoted = false;
    for &byte in line.iter().chain(b" ") {
        if byte == b'"' {
            quoted = !quoted;
        }
        if quoted || !is_space(byte) {
            word.push(byte);
        } else if !word.is_empty() {
            words.push(unquoted(std::mem::take(&mut word)));
        }
    }
    if !word.is_empty() {
        words.push(unquoted(word));
    }
    words
}

/// White space of the kernel (`isspace` of lib/ctype.c), which has the vertical tab and the no-break space of Latin 1.
fn is_space(byte: u8) -> bool {
    matches!(byte, 9..=13 | b' ' | 0xA0)
}

fn unquoted(word: Vec<u8>) -> Vec<u8> {
    let strip = |text: &[u8]| -> Option<Vec<u8>> {
        let text = text.strip_prefix(b"\"")?;
        Some(text.strip_suffix(b"\"").unwrap_or(text).to_vec())
    };
    if let Some(inside) = strip(&word) {
        return inside;
    }
    let value = word.iter().position(|byte| *byte == b'=').map(|at| at + 1);
    let parts = value.and_then(|at| Some((word.get(..at)?, strip(word.get(at..)?)?)));
    match parts {
        Some((name, value)) => [name, &value].concat(),
        None => word,
    }
}

/// Replaces every `%` with two hexadecimal digits after it by the byte that they are.
fn decoded(text: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| {
            let digit = char::from(*after.get(at)?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high * 16 + low);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Line, String> {
        Line::parse(line.as_bytes())
    }

    #[test]
    fn line_without_words_for_the_agent_gives_defaults() {
        let line = "root=/dev/vda ro rootfstype=squashfs init=/.hpcc/agent console=ttyS0\n";
        assert_eq!(parse(line).unwrap(), Line::default());
    }

    #[test]
    fn every_word_is_read() {
        let line = "ro hpcc.root=ro hpcc.root_flags=nodev,nosuid hpcc.disk=/dev/vdc hpcc.hostname=vm-7 \
             hpcc.nameserver=10.0.0.2 hpcc.nameserver=fe80::1%25eth0 hpcc.search=example.org hpcc.user=7:8 \
             hpcc.directory=/a%20b \"hpcc.env=A=b c\" hpcc.env=\"D=e f\" hpcc.entrypoint=/bin/x hpcc.entrypoint=%2D \
             hpcc.pids=own hpcc.stop_timeout=3 hpcc.end=restart hpcc.status=vsock:17727 -- one \"two 2\" 100%25 hpcc.root=overlay --";
        assert_eq!(end_of(line.as_bytes()), End::Restart);
        assert_eq!(status_of(line.as_bytes()), Some(17_727));
        let line = parse(line).unwrap();
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(!line.writable && line.nodev && line.nosuid);
        assert_eq!(line.disk, Disk::Named("/dev/vdc".into()));
        assert_eq!(line.hostname.as_deref(), Some("vm-7"));
        assert_eq!(line.nameservers, ["10.0.0.2", "fe80::1%eth0"]);
        assert_eq!(line.search, ["example.org"]);
        assert_eq!(line.user.as_deref(), Some("7:8"));
        assert_eq!(line.directory, Some("/a b".into()));
        let environment = [("A", "b c"), ("D", "e f")].map(|(a, b)| (a.into(), b.into()));
        assert_eq!(line.environment, environment);
        assert_eq!(line.entrypoint, Some(words(&["/bin/x", "-"])));
        let command = words(&["one", "two 2", "100%", "hpcc.root=overlay", "--"]);
        assert_eq!(line.command, Some(command));
        assert!(line.own_pids);
        assert_eq!(line.stop_timeout, Duration::from_secs(3));
    }

    #[test]
    fn words_of_cmd_come_before_those_after_the_dashes() {
        let command = |line: &str| parse(line).unwrap().command;
        let words = |words: &[&str]| Some(words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(
            command("hpcc.cmd=sh hpcc.cmd=-c \"hpcc.cmd=a b\" hpcc.cmd="),
            words(&["sh", "-c", "a b", ""])
        );
        assert_eq!(command("hpcc.cmd=a -- b"), words(&["a", "b"]));
        assert_eq!(command("--"), words(&[]));
    }

    #[test]
    fn words_end_where_the_kernel_ends_them() {
        let line = b"a\x0bb\xa0c\x0cd\re \"f g\" h=\"i j\" k\"l m\"n \"o";
        let words = words(line);
        let expected: [&[u8]; 9] = [
            b"a",
            b"b",
            b"c",
            b"d",
            b"e",
            b"f g",
            b"h=i j",
            b"k\"l m\"n",
            b"o ",
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn machine_with_a_way_to_reboot_ends_by_restarting() {
        assert_eq!(end_of(b"reboot=k panic=1"), End::Restart);
        assert_eq!(end_of(b"hpcc.end=poweroff reboot=k"), End::PowerOff);
    }

    #[test]
    fn machine_with_a_wrong_line_ends_as_the_line_says() {
        for (line, end) in [
            ("reboot=k hpcc.rootfs=ro", End::Restart),
            ("hpcc.env=A reboot=t,force", End::Restart),
            ("hpcc.user=%FF \"reboot=k\"", End::Restart),
            ("hpcc.rootfs=ro", End::PowerOff),
            ("hpcc.x=1 hpcc.end=restart", End::Restart),
            ("hpcc.end=poweroff reboot=k hpcc.root", End::PowerOff),
            ("hpcc.end=halt reboot=k", End::Restart),
            ("hpcc.end=restart hpcc.end=off", End::Restart),
            ("hpcc.x=1 -- reboot=k hpcc.end=restart", End::PowerOff),
        ] {
            assert!(parse(line).is_err(), "{line}");
            assert_eq!(end_of(line.as_bytes()), end, "{line}");
        }
    }

    #[test]
    fn host_port_is_known_although_the_line_is_wrong() {
        for (line, port) in [
            ("hpcc.rootfs=ro hpcc.status=vsock:7", Some(7)),
            ("hpcc.status=vsock:7 hpcc.user", Some(7)),
            ("hpcc.status=vsock:7 hpcc.status=vsock:", Some(7)),
            (
                "hpcc.status=vsock:7 hpcc.status=%76sock:8 hpcc.x=1",
                Some(8),
            ),
            ("hpcc.x=1 -- hpcc.status=vsock:7", None),
        ] {
            assert!(parse(line).is_err(), "{line}");
            assert_eq!(status_of(line.as_bytes()), port, "{line}");
        }
    }

    #[test]
    fn wrong_and_unknown_words_are_errors() {
        for word in [
            "hpcc.root=rw",
            "hpcc.root_flags=nodev,nosuidd",
            "hpcc.root_flags=",
            "hpcc.disk=vdb",
            "hpcc.hostname=",
            "hpcc.hostname=a%0Ab",
            "hpcc.hostname=..",
            "hpcc.hostname=a..b",
            "hpcc.nameserver=",
            "hpcc.nameserver=example.org",
            "hpcc.nameserver=10.0.0.1%25eth0",
            "hpcc.nameserver=fe80::1%25a%20b",
            "hpcc.nameserver=fe80::1%25",
            "hpcc.nameserver=1.2.3.4%0Aoptions",
            "hpcc.search=",
            "hpcc.search=a%20b",
            "hpcc.search=a..b",
            "hpcc.env=A",
            "hpcc.env==b",
            "hpcc.pids=new",
            "hpcc.stop_timeout=-1",
            "hpcc.end=halt",
            "hpcc.status=console",
            "hpcc.status=vsock:",
            "hpcc.status=vsock:4294967295",
            "hpcc.user=%FF",
            "hpcc.user=",
            "hpcc.user=\"\"",
            "hpcc.user=:",
            "hpcc.user=:5",
            "hpcc.user=app:",
            "hpcc.directory=",
            "hpcc.disk=",
            "hpcc.root=",
            "hpcc.rootflags=nosuid",
            "hpcc.env=Q=a\"b hpcc.root_flags=nosuid,nodev",
            "quiet \" hpcc.root=ro",
            "hpcc.root",
        ] {
            let error = parse(word).unwrap_err();
            assert!(error.contains("kernel command line"), "{word}: {error}");
        }
    }

    #[test]
    fn percent_without_two_digits_stays() {
        assert_eq!(decoded(b"%41%4%zz%"), OsString::from("A%4%zz%"));
    }
}
