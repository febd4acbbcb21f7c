//! The command of an image whose agent is the example: tells on its standard output what it finds.
//!
//! Each fact is a line `witness: NAME: VALUE`. The first argument says which ones:
//! - `facts CODE`: user, environment, files, mounts; exits with the code.
//! - `signals`: leaves orphans to PID 1, and sends PID 1 signals, which come back.
//! - `all`: both.
//! - `stubborn`: lets no process or thread start any more, asks PID 1 to stop the machine, and ignores what PID 1
//!   does about it.
//! - `tour`: what the demo shows.
//! - `show PATH...`: content of files.
//! - `groups`: the number of supplementary groups, and two of them.
//! - `words WORD...`: the number of words.
//! - `numbers`: those of this process and its parent, and that of `/proc/self`.
//! - `exit CODE`, `die`: exits, or dies of SIGKILL.
//! - `listen PORT`: accepts one connection to a port of a vsock, and tells what is sent.
//! - `traced`: has a child that traces it, and exits with 7 while the child goes on.
//! - `console ATTACK`: leaves the console in a state that keeps others from writing to it, and exits with 7.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, getpid, kill_process};
use rustix::termios::{Action, ControlModes, OptionalActions, tcflow, tcgetattr, tcsetattr};
use signal_hook::iterator::Signals;
use socket2::{Domain, SockAddr, Socket, Type};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match *words {
        ["facts", code] => facts().map(|()| code.parse().unwrap_or(99)),
        ["signals"] => signals(),
        ["all"] => facts().and_then(|()| signals()),
        ["stubborn"] => stubborn(),
        ["orphan"] => orphan(),
        ["traced"] => traced(),
        ["trace", process] => trace(process),
        ["sleep"] => loop {
            sleep(Duration::from_secs(1000));
        },
        ["tour"] => tour().map(|()| 0),
        ["show", ref paths @ ..] => {
            show(paths);
            Ok(0)
        }
        ["groups"] => groups().map(|()| 0),
        ["words", ref words @ ..] => {
            tell("words", format!("{} {}", words.len(), words.join(" ")));
            Ok(0)
        }
        ["numbers"] => numbers().map(|()| 0),
        ["exit", code] => Ok(code.parse().unwrap_or(99)),
        ["die"] => kill_process(getpid(), Signal::KILL)
            .map(|()| 97)
            .map_err(Into::into),
        ["console", attack] => console(attack).map(|()| 7),
        ["listen", port] => listen(port.parse().unwrap_or_default()).map(|()| 0),
        ["flood"] => loop {
            println!("hpcc-agent: exit 0");
        },
        _ => Err(std::io::Error::other(format!(
            "unknown arguments {words:?}"
        ))),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tell("error", error.to_string());
            ExitCode::from(98)
        }
    }
}

fn tell(name: &str, value: impl AsRef<[u8]>) {
    println!("witness: {name}: {}", value.as_ref().escape_ascii());
}

fn numbers() -> std::io::Result<()> {
    let (own, parent) = (std::process::id(), std::os::unix::process::parent_id());
    let found = fs::read_link("/proc/self")?;
    tell("numbers", format!("{own} {parent} {}", found.display()));
    Ok(())
}

fn facts() -> std::io::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    for (name, word) in [("uid", "Uid:"), ("gid", "Gid:"), ("groups", "Groups:")] {
        let line = status.lines().find_map(|line| line.strip_prefix(word));
        let numbers = line.unwrap_or_default().split_whitespace();
        tell(name, numbers.collect::<Vec<_>>().join(" "));
    }
    tell("parent", std::os::unix::process::parent_id().to_string());
    tell("cwd", std::env::current_dir()?.as_os_str().as_bytes());
    let program = std::env::args_os().next().unwrap_or_default();
    tell("program", program.as_bytes());
    for (name, value) in std::env::vars_os() {
        let name = format!("env {}", name.as_bytes().escape_ascii());
        tell(&name, value.as_bytes());
    }
    show(&[
        "/proc/sys/kernel/hostname",
        "/etc/hostname",
        "/etc/hosts",
        "/etc/resolv.conf",
    ]);
    for mount in fs::read_to_string("/proc/self/mounts")?.lines() {
        let fields: Vec<_> = mount.split(' ').collect();
        if let [_, point, kind, options, ..] = *fields {
            tell(&format!("mount {point}"), format!("{kind} {options}"));
        }
    }
    for path in ["/written", "/.hpcc/written", "/tmp/written"] {
        match fs::write(path, "content") {
            Ok(()) => tell(&format!("write {path}"), "done"),
            Err(error) => tell(&format!("write {path}"), error.kind().to_string()),
        }
    }
    let renamed = fs::rename("/bin", "/renamed").and_then(|()| fs::rename("/renamed", "/bin"));
    let renamed = renamed.map_or_else(|error| error.kind().to_string(), |()| "done".to_owned());
    tell("rename /bin", renamed);
    for path in [
        "/dev/null",
        "/dev/stdout",
        "/dev/pts/ptmx",
        "/dev/shm",
        "/run",
        "/run/daemon",
    ] {
        let mode = fs::metadata(path).map(|found| format!("{:o}", found.permissions().mode()));
        tell(path, mode.unwrap_or_else(|error| error.kind().to_string()));
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let connected = listener.and_then(|listener| TcpStream::connect(listener.local_addr()?));
    tell(
        "loopback",
        connected.map_or_else(|error| error.to_string(), |_| "up".to_owned()),
    );
    Ok(())
}

fn show(paths: &[&str]) {
    for path in paths {
        match fs::read(path) {
            Ok(content) => tell(path, content),
            Err(error) => tell(path, error.kind().to_string()),
        }
    }
}

fn groups() -> std::io::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    let groups: Vec<_> = line.unwrap_or_default().split_whitespace().collect();
    let (first, last) = (groups.first().copied(), groups.last().copied());
    let ends = [first, last].map(Option::unwrap_or_default).join(" ");
    tell("groups", format!("{} {ends}", groups.len()));
    Ok(())
}

fn listen(port: u32) -> std::io::Result<()> {
    use std::io::Read as _;
    // VMADDR_CID_ANY
    let any = SockAddr::vsock(u32::MAX, port);
    let listener = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
    listener.bind(&any)?;
    listener.listen(1)?;
    tell("listens", port.to_string());
    let (mut connection, _) = listener.accept()?;
    let mut text = Vec::new();
    connection.read_to_end(&mut text)?;
    tell("vsock", text);
    Ok(())
}

fn console(attack: &str) -> std::io::Result<()> {
    let console = std::io::stdout();
    match attack {
        "nonblocking" => {
            fcntl_setfl(&console, OFlags::NONBLOCK)?;
            // More than the device's buffer, at most until nothing more fits.
            let text = [b'.'; 512];
            let mut writes = 0..16;
            while writes.next().is_some() && rustix::io::write(&console, &text).is_ok() {}
        }
        "stopped" => tcflow(&console, Action::OOff)?,
        "slow" => {
            let mut settings = tcgetattr(&console)?;
            settings.set_speed(50)?;
            settings.control_modes |= ControlModes::CRTSCTS;
            tcsetattr(&console, OptionalActions::Now, &settings)?;
        }
        "raw" => {
            let mut settings = tcgetattr(&console)?;
            settings.make_raw();
            tcsetattr(&console, OptionalActions::Now, &settings)?;
        }
        "flood" => {
            for _ in 0..4 {
                drop(Command::new("/proc/self/exe").arg("flood").spawn()?);
            }
            sleep(Duration::from_millis(500));
        }
        "replaced" => {
            fs::remove_file("/dev/console")?;
            fs::write("/dev/console", "")?;
        }
        other => return Err(std::io::Error::other(format!("unknown attack {other}"))),
    }
    Ok(())
}

fn signals() -> std::io::Result<u8> {
    use signal_hook::consts::signal::{SIGQUIT, SIGTERM, SIGUSR1};
    let mut signals = Signals::new([SIGUSR1, SIGQUIT, SIGTERM])?;
    // Three levels: the middle one ends first and leaves the last one to PID 1.
    let mut middle = Command::new("/proc/self/exe").arg("orphan").spawn()?;
    middle.wait()?;
    sleep(Duration::from_millis(500));
    let mut zombies = 0;
    for process in fs::read_dir("/proc")?.flatten() {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        zombies += usize::from(stat.contains(") Z "));
    }
    tell("zombies", zombies.to_string());
    for signal in [Signal::USR1, Signal::TERM] {
        kill_process(Pid::INIT, signal)?;
        let came = signals.forever().next().unwrap_or_default();
        tell(&format!("signal {}", signal.as_raw()), came.to_string());
    }
    Ok(9)
}

fn orphan() -> std::io::Result<u8> {
    if std::env::var_os("LAST").is_none() {
        let last = Command::new("/proc/self/exe")
            .arg("orphan")
            .env("LAST", "1")
            .spawn()?;
        drop(last);
        return Ok(0);
    }
    sleep(Duration::from_millis(100));
    let parent = std::os::unix::process::parent_id();
    tell("parent of the orphan", parent.to_string());
    Ok(0)
}

/// A parent that is traced by its child becomes a zombie that PID 1 cannot reap.
fn traced() -> std::io::Result<u8> {
    let mut child = Command::new("/proc/self/exe")
        .args(["trace", &std::process::id().to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let output = child.stdout.take().map(BufReader::new);
    output.map_or(Ok(0), |mut output| output.read_line(&mut line))?;
    tell("tracer", line.trim());
    Ok(7)
}

fn trace(process: &str) -> std::io::Result<u8> {
    let process = process.parse().map_err(std::io::Error::other)?;
    nix::sys::ptrace::seize(
        nix::unistd::Pid::from_raw(process),
        nix::sys::ptrace::Options::empty(),
    )?;
    println!("traces");
    loop {
        sleep(Duration::from_secs(1000));
    }
}

fn stubborn() -> std::io::Result<u8> {
    let signals = Signals::new([signal_hook::consts::signal::SIGTERM])?;
    fs::create_dir_all("/kept")?;
    fs::write("/kept/file", "kept\n")?;
    // A child that outlives this process, and must not outlive the machine.
    let child = Command::new("/proc/self/exe").arg("sleep").spawn();
    drop(child);
    // Less than the kernel's own threads, so PID 1 cannot start a thread either, as after a command that forks without end.
    fs::write("/proc/sys/kernel/threads-max", "20")?;
    kill_process(Pid::INIT, Signal::TERM)?;
    tell("stubborn", "waits");
    let _signals = signals;
    loop {
        sleep(Duration::from_secs(1000));
    }
}

fn tour() -> std::io::Result<()> {
    let read = |path: &str| match fs::read_to_string(path) {
        Ok(text) => text.trim_end().to_owned(),
        Err(error) => error.kind().to_string(),
    };
    println!("Hello from PID {} inside the VM.", std::process::id());
    let facts = [
        ("host name", read("/proc/sys/kernel/hostname")),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("/etc/motd", read("/etc/motd")),
        ("/etc/motd.linked", read("/etc/motd.linked")),
        ("/usr/bin/note", read("/usr/bin/note")),
        ("/etc/secret", read("/etc/secret")),
        ("/cache/old", read("/cache/old")),
        ("/cache/new", read("/cache/new")),
    ];
    for (name, value) in facts {
        println!("  {name:<17} {value}");
    }
    Ok(())
}
