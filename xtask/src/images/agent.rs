//! Images whose agent is the example: what their commands find, and how they end.
//!
//! Each boot covers as much as it can, because an emulated one takes seconds.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Error, Result, bail};
use hpcc_rootfs::{Injection, Progress, Store};
use serde_json::json;
use test_support::image::{Entry, Image as Source, Layer, Store as Content};
use test_support::real_image::{self, RealImage};

use super::PATIENCE;
use crate::boot::{Boot, Ended};
use crate::{command, guest, pull, qemu};

/// Boots in a directory that is empty and is removed afterwards.
type Case = fn(&Path) -> Result<Ended>;

/// Each by what it shows.
pub(super) const CASES: [(&str, Case); 9] = [
    (
        "Debian: a user by name, an overlay, options on the line",
        debian,
    ),
    (
        "no /etc: signals, orphans, the image's own command",
        without_etc,
    ),
    (
        "FROM scratch: numbers alone, a root that stays read-only",
        scratch,
    ),
    (
        "every mount point is a symlink, and the image has a /proc/self of its own",
        linked,
    ),
    (
        "Debian: full file systems in memory, and a frozen command",
        frozen,
    ),
    (
        "a second drive, and a command that does not stop and lets no thread start",
        second_drive,
    ),
    (
        "second drives of machines that were switched off while they wrote",
        super::drives::cut_off,
    ),
    (
        "fs-verity of ext4, with this program in the guest",
        super::fs_verity::enabled,
    ),
    (
        "hostile images and commands, each in namespaces of its own",
        super::namespaces::boot,
    ),
];

/// Boots a real Debian with its own passwd, shell and coreutils.
fn debian(directory: &Path) -> Result<Ended> {
    const SCRIPT: &str = "id; echo \"$GREETING,$HOME,$HOSTNAME,$PATH\"; pwd; cat /proc/sys/kernel/hostname /etc/hosts \
        /etc/resolv.conf; grep ' / ' /proc/mounts; touch /tmp/x /srv/x; echo err >&2; echo opened > /dev/stdout; echo again > /dev/stderr; \
        tty <&1; (echo forged > /dev/console) 2>&1; \
        echo limits $(ulimit -n) $(ulimit -Hn) $(cat /proc/sys/net/ipv4/ip_unprivileged_port_start); exit 3";
    let image = real_image::small()
        .map_err(Error::msg)?
        .context("this user cannot build real images")?;
    let artifact = pulled(directory, image.layout(), &[], Vec::new())?;
    let command = ["-c", SCRIPT].map(str::to_owned);
    let mut boot = boot(&artifact);
    boot.words = "hpcc.root_flags=nodev,nosuid hpcc.hostname=vm-7 hpcc.nameserver=10.0.0.2 hpcc.search=example.org \
        hpcc.user=www-data hpcc.directory=/srv/job hpcc.env=GREETING=a%20b";
    // The image has an entrypoint, which stays.
    boot.command = Some(&command);
    let ended = boot.run()?;
    expect(
        &ended,
        3,
        &[
            "uid=33(www-data) gid=33(www-data) groups=33(www-data)",
            "a b,/var/www,vm-7,/usr/sbin:/usr/bin:/sbin:/bin",
            "/srv/job",
            "vm-7",
            "127.0.1.1 vm-7",
            "search example.org",
            "nameserver 10.0.0.2",
            "overlay / overlay rw,nosuid,nodev,",
            "touch: cannot touch '/srv/x': Permission denied",
            "err",
            // moby#31243: programs that log to these names, not as root.
            "opened",
            "again",
            "limits 1024 524288 0",
            // A user that had the console could hide the exit line, or leave another one in its place.
            "/dev/pts/0",
            "/usr/bin/dash: 1: cannot create /dev/console: Permission denied",
        ],
    )?;
    Ok(ended)
}

/// Boots a Debian that fills every file system in memory and then freezes itself, so that no signal ends it.
fn frozen(directory: &Path) -> Result<Ended> {
    const SCRIPT: &str = "stat -c 'root %a %u' /; for place in /tmp /dev/shm /run /; do cat /dev/zero > $place/full; done 2>/dev/null; \
        echo filled; rm /full /run/full; mkdir /run/c; mount -t cgroup -o freezer none /run/c && mkdir /run/c/frozen; \
        (sleep 1; kill -TERM 1) & echo $$ > /run/c/frozen/cgroup.procs; echo FROZEN > /run/c/frozen/freezer.state; sleep 1000";
    let image = real_image::small()
        .map_err(Error::msg)?
        .context("this user cannot build real images")?;
    let artifact = pulled(directory, image.layout(), &[], Vec::new())?;
    let command = ["-c", SCRIPT].map(str::to_owned);
    let mut boot = boot(&artifact);
    boot.words = "hpcc.stop_timeout=1 hpcc.disk=none";
    boot.command = Some(&command);
    let ended = boot.run()?;
    let lines = [
        "root 755 0",
        "filled",
        "hpcc-agent: warning: processes are left that do not end",
    ];
    expect(&ended, 128 + 9, &lines)?;
    Ok(ended)
}

/// Boots an image like a small stripped distribution: a program in `/bin`, and no `/etc` at all.
fn without_etc(directory: &Path) -> Result<Ended> {
    let base = Layer::new()
        .dir("bin")
        .entry(Entry::file("bin/tool", witness()?).mode(0o755))
        .entry(Entry::dir("run").mode(0o1777))
        .entry(Entry::dir("run/daemon").mode(0o2775).owner(7, 8))
        .entry(Entry::file("run/daemon/file", "text"));
    let source = Source::new()
        .layer(base)
        .env("PATH=/nowhere:/bin")
        .env("A=1")
        .cmd(&["tool", "all"])
        .edit_config(|config| {
            config["config"]["WorkingDir"] = json!("/work");
            config["config"]["StopSignal"] = json!("SIGQUIT");
        });
    let artifact = made(directory, &source, &[])?;
    let mut boot = boot(&artifact);
    boot.words = "hpcc.env=A=2 hpcc.nameserver=fd00::1 hpcc.end=poweroff";
    let ended = boot.run()?;
    expect(
        &ended,
        9,
        &[
            "witness: uid: 0 0 0 0",
            "witness: gid: 0 0 0 0",
            "witness: parent: 1",
            "witness: cwd: /work",
            "witness: program: tool",
            "witness: env A: 2",
            "witness: env HOME: /",
            "witness: env HOSTNAME: hpcc",
            "witness: env PATH: /nowhere:/bin",
            "witness: env TERM: xterm",
            "witness: /proc/sys/kernel/hostname: hpcc\\n",
            "witness: /etc/hostname: hpcc\\n",
            "witness: /etc/resolv.conf: nameserver fd00::1\\n",
            "witness: mount /: overlay rw,",
            "witness: mount /.hpcc: squashfs ro,",
            "witness: mount /dev/pts: devpts rw,nosuid,noexec,",
            "witness: mount /run: tmpfs rw,nosuid,nodev,",
            "witness: write /written: done",
            "witness: write /.hpcc/written: read-only filesystem or storage medium",
            "witness: write /tmp/written: done",
            // moby/moby#25409
            "witness: rename /bin: done",
            "witness: /dev/null: 20666",
            "witness: /dev/shm: 41777",
            // opencontainers/runc#845: a tmpfs hides what the image prepared for its daemons.
            "witness: /run: 41777",
            "witness: /run/daemon: 42775",
            "witness: loopback: up",
            "witness: parent of the orphan: 1",
            "witness: zombies: 0",
            // SIGUSR1 comes as it is; SIGTERM asks to stop, and comes as the image's SIGQUIT.
            "witness: signal 10: 10",
            "witness: signal 15: 3",
        ],
    )?;
    Ok(ended)
}

/// One static program and nothing else.
fn scratch(directory: &Path) -> Result<Ended> {
    let program = Entry::file("tool", witness()?).mode(0o755);
    let source = Source::new()
        .layer(Layer::new().entry(program))
        .entrypoint(&["/tool", "facts"])
        .cmd(&["0"])
        .edit_config(|config| config["config"]["User"] = json!("1234:5678"));
    let points = ["/etc/resolv.conf:file", "/etc/hosts:file"];
    let artifact = made(directory, &source, &points)?;
    let mut boot = boot(&artifact);
    boot.words =
        "hpcc.root=ro hpcc.root_flags=nosuid,nodev hpcc.nameserver=10.0.0.2 hpcc.hostname=vm-8";
    let ended = boot.run()?;
    expect(
        &ended,
        0,
        &[
            "witness: uid: 1234 1234 1234 1234",
            "witness: gid: 5678 5678 5678 5678",
            "witness: groups: 5678",
            "witness: cwd: /",
            "witness: /proc/sys/kernel/hostname: vm-8\\n",
            "witness: /etc/hostname: entity not found",
            "witness: /etc/hosts: 127.0.0.1 localhost\\n",
            "witness: /etc/resolv.conf: nameserver 10.0.0.2\\n",
            "witness: mount /: squashfs ro,nosuid,nodev,",
            "witness: write /written: read-only filesystem or storage medium",
            "witness: write /tmp/written: done",
            "hpcc-agent: warning: /etc/hostname stays as the image has it: ",
        ],
    )?;
    Ok(ended)
}

/// Each mount point leads elsewhere in the image, and the root is made writable in memory. What the image has in `/proc`
/// and `/sys` is not believed.
fn linked(directory: &Path) -> Result<Ended> {
    let mut base = Layer::new().entry(Entry::file("tool", witness()?).mode(0o755));
    // moby/moby#17120
    for (name, target) in [
        ("proc", "x/proc"),
        ("sys", "/x/sys"),
        ("dev", "x/dev"),
        ("tmp", "x/tmp"),
        ("run", "/x/run"),
    ] {
        base = base.dir(format!("x/{name}")).symlink(name, target);
    }
    let base = base
        .symlink("x/proc/self", "7")
        .entry(Entry::dir("x/run/daemon").mode(0o2775));
    let source = Source::new()
        .layer(base)
        .entrypoint(&["/tool", "facts", "3"]);
    let artifact = made(directory, &source, &[])?;
    let ended = boot(&artifact).run()?;
    expect(
        &ended,
        3,
        &[
            "witness: mount /: overlay rw,",
            "witness: mount /x/proc: proc rw,",
            "witness: mount /x/sys: sysfs rw,",
            "witness: mount /x/dev: devtmpfs rw,",
            "witness: mount /x/dev/shm: tmpfs rw,",
            "witness: mount /x/tmp: tmpfs rw,",
            "witness: mount /x/run: tmpfs rw,",
            "witness: write /written: done",
            "witness: /dev/null: 20666",
            "witness: /run/daemon: 42775",
        ],
    )?;
    Ok(ended)
}

/// What a command writes to the root stays on the drive, also if the command has to be killed and no thread can be
/// started.
fn second_drive(directory: &Path) -> Result<Ended> {
    let program = Entry::file("tool", witness()?).mode(0o755);
    let source = Source::new()
        .layer(Layer::new().entry(program))
        .entrypoint(&["/tool", "stubborn"]);
    let artifact = made(directory, &source, &[])?;
    let drive = qemu::empty_disk(64 << 20)?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), drive.as_raw_fd());
    command::output(Command::new("mkfs.ext4").args(["-q", "-F", &path]))?;
    let mut boot = boot(&artifact);
    boot.words = "hpcc.stop_timeout=1";
    boot.second = Some(&drive);
    let ended = boot.run()?;
    expect(&ended, 128 + 9, &["witness: stubborn: waits"])?;
    let manifest = hpcc_rootfs::read_record(&artifact)?.key.manifest;
    for (file, expected) in [
        ("upper/kept/file", "kept\n".to_owned()),
        ("image", format!("{manifest}\n")),
    ] {
        let cat = format!("cat /hpcc-root/{file}");
        let found = command::output(Command::new("debugfs").args(["-R", &cat, &path]))?;
        if found != expected {
            bail!(
                "hpcc-root/{file} of the drive holds {found:?}, not {expected:?}\n{}",
                ended.log
            );
        }
    }
    Ok(ended)
}

pub(super) fn boot(artifact: &Path) -> Boot<'_> {
    let mut boot = Boot::of(artifact);
    boot.timeout = PATIENCE;
    boot
}

fn witness() -> Result<Vec<u8>> {
    let path = guest::build()?.witness;
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn made(directory: &Path, source: &Source, points: &[&str]) -> Result<std::path::PathBuf> {
    let mut content = Content::new();
    let image = source.add_to(&mut content);
    content.tag(RealImage::TAG, &image);
    let layout = directory.join("layout");
    content.write_layout(&layout).map_err(Error::msg)?;
    pulled(directory, &layout, points, Vec::new())
}

/// Returns the artifact of a layout, with the example agent, mount points and injected files.
pub(super) fn pulled(
    directory: &Path,
    layout: &Path,
    points: &[&str],
    injections: Vec<Injection>,
) -> Result<std::path::PathBuf> {
    let mut options = pull::options(guest::build()?.agent, Progress::default())?;
    let points = points.iter().map(|point| point.parse());
    options.image.mount_points = points.collect::<Result<_, _>>()?;
    options.injections = injections;
    let store = Store::open(directory.join("store"), options)?;
    let source = format!("oci:{}:{}", layout.display(), RealImage::TAG);
    let pulled = pull::pull_into(&store, &source, None)?;
    let summary = pulled.built.context("the store was not empty")?;
    if let Some(problem) = summary.agent_problem {
        bail!("{problem}");
    }
    File::open(&pulled.path)?;
    Ok(pulled.path)
}

/// Fails unless the command ended with `code` and each of `lines` begins a line of the console.
pub(super) fn expect(ended: &Ended, code: u8, lines: &[&str]) -> Result<()> {
    let mut wrong = Vec::new();
    if ended.timed_out {
        wrong.push(format!("killed after {:.0} s", ended.took.as_secs_f32()));
    }
    if ended.code != Some(code) {
        wrong.push(format!("exit code {code} expected, {:?} found", ended.code));
    }
    for line in lines {
        if !ended.log.lines().any(|found| found.starts_with(line)) {
            wrong.push(format!("no line begins with {line:?}"));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!(
        "{}\n--- console ---\n{}\n--- end of console ---",
        wrong.join("\n"),
        ended.log.trim_end()
    )
}
