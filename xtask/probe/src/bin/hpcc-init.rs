//! `/init` of the initramfs: from a bare kernel to the program that `init=` names, on the root that `root=` names.

use std::convert::Infallible;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hpcc_probe::{power_off, while_doing};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_move, unmount};
use rustix::process::{chdir, chroot};
use rustix::system::finit_module;

/// How long a disk may take to appear after its driver was loaded. Under emulation it takes milliseconds.
const DISK_WAIT: Duration = Duration::from_secs(20);

fn main() -> rustix::io::Result<Infallible> {
    power_off("hpcc-init", init)
}

fn init() -> Result<(), String> {
    mount("devtmpfs", "/dev", "devtmpfs", MountFlags::empty(), None)
        .map_err(while_doing("mount /dev"))?;
    mount("proc", "/proc", "proc", MountFlags::empty(), None)
        .map_err(while_doing("mount /proc"))?;
    let command_line =
        std::fs::read_to_string("/proc/cmdline").map_err(while_doing("read /proc/cmdline"))?;
    let boot = Boot::parse(&command_line)?;
    load_modules(Path::new("/modules"))?;
    if let Some(mapping) = &boot.mapping {
        mapping.create()?;
    }
    wait_for(&boot.root)?;

    let flags = if boot.read_only {
        MountFlags::RDONLY
    } else {
        MountFlags::empty()
    };
    mount(&boot.root, "/newroot", &boot.root_type, flags, None).map_err(while_doing(format!(
        "mount {} as {}",
        boot.root.display(),
        boot.root_type
    )))?;

    // The root's own program mounts what it wants; it must find the root as it would without an initramfs.
    for point in ["/proc", "/dev"] {
        unmount(point, UnmountFlags::DETACH).map_err(while_doing(format!("unmount {point}")))?;
    }
    chdir("/newroot").map_err(while_doing("enter the new root"))?;
    mount_move(".", "/").map_err(while_doing("move the new root"))?;
    chroot(".").map_err(while_doing("chroot"))?;
    chdir("/").map_err(while_doing("chdir /"))?;
    Err(format!(
        "run {}: {}",
        boot.init.display(),
        Command::new(&boot.init).exec()
    ))
}

/// The words of the kernel command line that an init has to obey (kernel-parameters.txt).
struct Boot {
    root: PathBuf,
    root_type: String,
    read_only: bool,
    init: PathBuf,
    /// What `dm-mod.create=` asks for. Debian's kernel has the device mapper as a module, which does not look at it.
    mapping: Option<Mapping>,
}

/// A device that the device mapper makes (`admin-guide/device-mapper/dm-init.rst`): `name,uuid,minor,flags,table`.
struct Mapping {
    name: String,
    table: String,
}

impl Mapping {
    fn parse(value: &str) -> Result<Self, String> {
        let fields: Vec<_> = value.splitn(5, ',').collect();
        match *fields {
            [name, "", "", "ro", table] => Ok(Self {
                name: name.to_owned(),
                table: table.to_owned(),
            }),
            _ => Err(format!("dm-mod.create={value:?} is not understood")),
        }
    }

    fn create(&self) -> Result<(), String> {
        // The disk below it, which the table names.
        let disk = self.table.split(' ').find(|word| word.starts_with("/dev/"));
        wait_for(Path::new(disk.unwrap_or("/dev/vda")))?;
        let mut dmsetup = Command::new("/sbin/dmsetup");
        dmsetup.args([
            "create",
            &self.name,
            "-r",
            "--noudevsync",
            "--table",
            &self.table,
        ]);
        let output = dmsetup.output().map_err(while_doing("run dmsetup"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("dmsetup: {}: {}", output.status, said.trim()))
    }
}

impl Boot {
    fn parse(command_line: &str) -> Result<Self, String> {
        // What follows `--` is for the program that `init=` names.
        let words = words(command_line);
        let words = words.iter().map(String::as_str);
        let words: Vec<_> = words.take_while(|word| *word != "--").collect();
        let value = |name: &str| {
            let mut values = words.iter().filter_map(|word| word.strip_prefix(name));
            values
                .next_back()
                .ok_or_else(|| format!("no {name} on the kernel command line"))
        };
        Ok(Self {
            root: value("root=")?.into(),
            root_type: value("rootfstype=")?.into(),
            read_only: words.contains(&"ro"),
            init: value("init=")?.into(),
            mapping: value("dm-mod.create=")
                .ok()
                .map(Mapping::parse)
                .transpose()?,
        })
    }
}

/// Returns the words of a command line. White space between double quotes is a part of a word, and the quotes are not.
fn words(command_line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in command_line.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_ascii_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Loads the modules of `directory` in order of their names, which is the order in which they need each other.
fn load_modules(directory: &Path) -> Result<(), String> {
    let entries = directory
        .read_dir()
        .map_err(while_doing(directory.display()))?;
    let mut modules: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(while_doing("modules"))?;
    modules.sort();
    for module in modules {
        let file = File::open(&module).map_err(while_doing(module.display()))?;
        match finit_module(file, c"", 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(format!("load {}: {error}", module.display())),
        }
    }
    Ok(())
}

fn wait_for(disk: &Path) -> Result<(), String> {
    let start = Instant::now();
    while !disk.exists() {
        if start.elapsed() > DISK_WAIT {
            return Err(format!(
                "{} did not appear within {} s",
                disk.display(),
                DISK_WAIT.as_secs()
            ));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
