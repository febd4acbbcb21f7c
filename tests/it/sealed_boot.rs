//! What a kernel and a monitor are given to boot an artifact.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use test_support::image::{Entry, Image, Layer, Store};
use test_support::oracle::json_schema;
use test_support::registry::Registry;

use crate::cli::Place;

/// Returns a place with `plain.sqsh` and `sealed.sqsh`, and `bare.sqsh` without an agent.
fn place() -> Place {
    let mut store = Store::new();
    let layer = Layer::new().entry(Entry::file("etc/hostname", "guest\n").xattr("user.a", "b"));
    let image = Image::new().layer(layer).add_to(&mut store);
    let registry = Registry::serve(store).unwrap();
    let place = Place::new();
    let source = format!("docker://{}/image@{}", registry.addr(), image.digest);
    let agent = place.agent();
    let agent = ["--agent", agent.to_str().unwrap()];
    for (name, more) in [
        ("plain.sqsh", &agent[..]),
        (
            "sealed.sqsh",
            &[&agent[..], &["--verity", "--compressor", "gzip"]].concat(),
        ),
        ("bare.sqsh", &[]),
    ] {
        let arguments = [&["build", &source, "-o", name][..], more].concat();
        let built = place.run(arguments);
        assert_eq!(built.status, Some(0), "{built:#?}");
    }
    place
}

fn verity(place: &Place) -> Value {
    place.run(["inspect", "sealed.sqsh", "--json"]).json()["record"]["verity"].clone()
}

#[test]
fn kernel_line_boots_plain_and_sealed_artifacts() {
    let place = place();
    let plain = place.run(["boot-args", "plain.sqsh"]);
    assert_eq!(plain.line(), hpcc_rootfs::BOOT_ARGS);

    let verity = verity(&place);
    let (root, salt) = (
        verity["root"].as_str().unwrap(),
        verity["salt"].as_str().unwrap(),
    );
    let blocks = verity["data_blocks"].as_u64().unwrap();
    assert_eq!(verity["hash_offset"], blocks * 4096);
    let table = format!(
        "0 {} verity 1 /dev/vdb /dev/vdb 4096 4096 {blocks} {} sha256 {root} {salt} 1 panic_on_corruption",
        blocks * 8,
        blocks + 1,
    );
    let line = format!(
        "root=/dev/dm-0 ro rootfstype=squashfs init=/.hpcc/agent dm-mod.create=\"root,,,ro,{table}\""
    );
    let sealed = place.run(["boot-args", "sealed.sqsh", "--device", "/dev/vdb"]);
    assert_eq!(sealed.line(), line);
    let printed = place.run([
        "boot-args",
        "sealed.sqsh",
        "--device",
        "/dev/vdb",
        "--table",
    ]);
    assert_eq!(printed.line(), table);

    for (arguments, message) in [
        (
            &["boot-args", "plain.sqsh", "--device", "vda rw"][..],
            "cannot name the device",
        ),
        (&["boot-args", "bare.sqsh"], "(--init)"),
        (
            &["boot-args", "bare.sqsh", "--init", "sbin/init"],
            "cannot name the init",
        ),
    ] {
        let outcome = place.run(arguments);
        assert_eq!(outcome.status, Some(2), "{outcome:#?}");
        assert!(outcome.stderr.contains(message), "{outcome:#?}");
    }
    let bare = place.run(["boot-args", "bare.sqsh", "--init", "/sbin/init"]);
    assert!(bare.line().ends_with("init=/sbin/init"));
    let table = place.run(["boot-args", "plain.sqsh", "--table"]);
    assert_eq!(table.status, Some(1));
    assert!(table.stderr.contains("no hash tree"), "{table:#?}");
    let table = place.run(["boot-args", "plain.sqsh", "--table", "--json"]);
    let error: Value = serde_json::from_str(&table.stderr).unwrap();
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains("--verity"), "{error}");
}

#[test]
fn firecracker_configuration_names_everything_it_needs() {
    let place = place();
    let line = place.run(["boot-args", "sealed.sqsh"]).line().to_owned();
    let outcome = place.run([
        "vm-config",
        "sealed.sqsh",
        "--firecracker",
        "--kernel",
        "/srv/vmlinux",
        "--vcpus",
        "2",
        "--memory",
        "1G",
        "--vsock",
        "17:/run/agent.vsock",
    ]);
    let path = fs::canonicalize(place.path("sealed.sqsh")).unwrap();
    let expected = json!({
        "boot-source": {
            "kernel_image_path": "/srv/vmlinux",
            "boot_args": format!("console=ttyS0 reboot=k panic=1 {line}"),
        },
        "drives": [{
            "drive_id": "root",
            "path_on_host": path,
            "is_root_device": false,
            "is_read_only": true,
        }],
        "machine-config": { "vcpu_count": 2, "mem_size_mib": 1024 },
        "vsock": { "guest_cid": 17, "uds_path": "/run/agent.vsock" },
    });
    assert_eq!(outcome.json(), expected);
    let configuration = place.path("vm.json");
    fs::write(&configuration, &outcome.stdout).unwrap();
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/data/firecracker.schema.json");
    json_schema::validate(Path::new(schema), &[configuration]).unwrap();

    // In a jail the artifact has another path, and the kernel line may be the caller's alone.
    let jailed = place.run([
        "vm-config",
        "plain.sqsh",
        "--firecracker",
        "--kernel",
        "vmlinux",
        "--initrd",
        "initrd",
        "--drive-path",
        "/root.sqsh",
        "--append",
        "",
    ]);
    let jailed = jailed.json();
    assert_eq!(jailed["drives"][0]["path_on_host"], "/root.sqsh");
    assert_eq!(jailed["boot-source"]["initrd_path"], "initrd");
    assert_eq!(jailed["boot-source"]["boot_args"], hpcc_rootfs::BOOT_ARGS);
    assert!(jailed.get("vsock").is_none());

    let start = ["vm-config", "plain.sqsh", "--kernel", "vmlinux"];
    for (more, message) in [
        (&[][..], "--firecracker|--qemu"),
        (&["--firecracker", "--qemu"], "cannot be used"),
        (&["--firecracker", "--vsock", "3"], "Firecracker needs one"),
        (&["--qemu", "--vsock", "3:/run/s"], "QEMU has none"),
        (&["--firecracker", "--memory", "1K"], "whole MiB"),
        (&["--firecracker", "--vcpus", "33"], "vcpus"),
        (&["--firecracker", "--append", "a\nb"], "control character"),
        (&["--firecracker", "--append", "a -- sh"], "the word --"),
        (&["--firecracker", "--append", "a \"--\" sh"], "the word --"),
        (&["--qemu", "--append", "a\u{a0}b"], "printable ASCII"),
        (&["--qemu", "--append", "a=\"b"], "a quote"),
        (
            &["--firecracker", "--append", &"a.b=c ".repeat(320)],
            "and a kernel takes 2047; shorten its options or its command (256 of",
        ),
        (
            &["--qemu", "--append", &"a=b ".repeat(31)],
            "has 31 words with a value that the kernel does not know, and a kernel takes 30",
        ),
        (
            &["--qemu", "--append", &"flag ".repeat(33)],
            "has 33 words without a value that the kernel does not know, and a kernel takes 32",
        ),
    ] {
        let outcome = place.run([&start[..], more].concat());
        assert_eq!(outcome.status, Some(2), "{more:?} {outcome:#?}");
        assert!(outcome.stderr.contains(message), "{more:?} {outcome:#?}");
    }
}

#[test]
fn qemu_command_is_quoted_for_a_shell() {
    let place = place();
    let path = place.path("it's, sealed.sqsh");
    fs::rename(place.path("sealed.sqsh"), &path).unwrap();
    let arguments = [
        "vm-config",
        path.to_str().unwrap(),
        "--qemu",
        "--kernel",
        "/srv/vmlinuz",
        "--vsock",
        "5",
    ];
    let words = place.run([&arguments[..], &["--json"]].concat()).json();
    let words: Vec<_> = words
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    assert_eq!(words[..3], ["qemu-system-x86_64", "-M", "microvm"]);
    let after = |option: &str| {
        let at = words.iter().position(|word| *word == option).unwrap();
        words[at + 1]
    };
    let file = path.to_str().unwrap().replace(',', ",,");
    let drive = format!("if=none,id=root,format=raw,readonly=on,file={file}");
    assert_eq!(after("-drive"), drive);
    let line = after("-append");
    assert!(
        line.starts_with("console=ttyS0 reboot=t panic=-1 root=/dev/dm-0 "),
        "{line}"
    );
    assert!(line.contains("dm-mod.create=\"root,,,ro,0 "), "{line}");
    assert!(words.contains(&"vhost-vsock-device,guest-cid=5"));

    // A shell reads the same words from the text.
    let text = place.run(arguments);
    let script = format!("printf '%s\\n' {}", text.line());
    let shell = place.command("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(
        String::from_utf8(shell.stdout).unwrap(),
        words.join("\n") + "\n"
    );
}

fn requires(place: &Place, artifact: &str, more: &[&str]) -> (Option<i32>, Value, String) {
    let arguments = ["inspect", artifact, "--requires", "--json"];
    let outcome = place.run([&arguments[..], more].concat());
    let json = serde_json::from_str(&outcome.stdout).unwrap();
    (outcome.status, json, outcome.stderr)
}

fn options(requires: &Value) -> Vec<&str> {
    let list = requires["requires"].as_array().unwrap().iter();
    list.flat_map(|need| need["options"].as_array().unwrap())
        .map(|option| option.as_str().unwrap())
        .collect()
}

#[test]
fn required_kernel_options_are_those_of_this_artifact() {
    let place = place();
    let (status, plain, _) = requires(&place, "plain.sqsh", &[]);
    assert_eq!(status, Some(0));
    let plain = options(&plain);
    assert!(
        plain.contains(&"SQUASHFS_ZSTD") && plain.contains(&"SQUASHFS_XATTR"),
        "{plain:?}"
    );
    assert!(
        !plain.contains(&"DM_VERITY") && !plain.contains(&"SQUASHFS_ZLIB"),
        "{plain:?}"
    );
    let (_, sealed, _) = requires(&place, "sealed.sqsh", &[]);
    let sealed = options(&sealed);
    for option in [
        "SQUASHFS_ZLIB",
        "MD",
        "BLK_DEV_DM",
        "DM_INIT",
        "DM_VERITY",
        "CRYPTO_SHA256",
    ] {
        assert!(sealed.contains(&option), "{option}");
    }
    assert!(!sealed.contains(&"SQUASHFS_ZSTD"), "{sealed:?}");
    let (_, initramfs, _) = requires(&place, "sealed.sqsh", &["--initramfs"]);
    assert!(!options(&initramfs).contains(&"DM_INIT"));
    assert!(options(&initramfs).contains(&"BLK_DEV_INITRD"));
    assert!(!sealed.contains(&"BLK_DEV_INITRD"));

    // Every reason is a text of its own.
    let text = place.run(["inspect", "sealed.sqsh", "--requires"]);
    assert_eq!(
        text.stdout.lines().count() + 3,
        sealed.len(),
        "one line names two options"
    );
    assert!(
        text.stdout
            .contains("CONFIG_ACPI or CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES or CONFIG_VIRTIO_PCI")
    );
}

#[test]
fn script_agent_needs_a_kernel_that_runs_scripts() {
    let place = Place::new();
    let mut store = Store::new();
    let image = Image::new().layer(Layer::new().dir("etc"));
    let image = image.add_to(&mut store);
    store.tag("v1", &image);
    store.write_layout(&place.path("layout")).unwrap();
    let mut program = vec![0; 4096];
    program[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    program[16..20].copy_from_slice(&[2, 0, 62, 0]);
    let mut script = b"#!/bin/sh\n".to_vec();
    script.resize(300_000, b'#');
    for (agent, is_script) in [(program, false), (script, true)] {
        fs::write(place.agent(), agent).unwrap();
        let build = [
            "build",
            "oci:layout:v1",
            "--agent",
            "agent",
            "-o",
            "other.sqsh",
        ];
        let built = place.run([&build[..], &["--platform", "linux/amd64"]].concat());
        assert_eq!(built.status, Some(0), "{built:#?}");
        let (_, needs, _) = requires(&place, "other.sqsh", &[]);
        let found = options(&needs).contains(&"BINFMT_SCRIPT");
        assert_eq!(found, is_script, "{needs}");
    }
}

#[test]
fn missing_kernel_options_are_named_with_exit_1() {
    let place = place();
    let (_, sealed, _) = requires(&place, "sealed.sqsh", &[]);
    let all: String = options(&sealed)
        .iter()
        .map(|option| format!("CONFIG_{option}=y\n"))
        .collect();
    let config = |text: &str| {
        fs::write(place.path("config"), text).unwrap();
        requires(&place, "sealed.sqsh", &["--kernel-config", "config"])
    };
    let (status, compared, stderr) = config(&all);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(
        compared["requires"]
            .as_array()
            .unwrap()
            .iter()
            .all(|need| need["met"] == true)
    );

    // Cloud Hypervisor and QEMU's q35 have PCI alone.
    let pci = all
        .replace("CONFIG_VIRTIO_MMIO=y\n", "")
        .replace("CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y\n", "")
        .replace("CONFIG_ACPI=y\n", "");
    let (status, _, stderr) = config(&pci);
    assert_eq!(status, Some(0), "{stderr}");
    let neither = all
        .replace("CONFIG_VIRTIO_MMIO=y\n", "")
        .replace("CONFIG_VIRTIO_PCI=y\n", "");
    let (status, _, stderr) = config(&neither);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("CONFIG_VIRTIO_MMIO"), "{stderr}");
    assert!(stderr.contains("it is a fragment"), "{stderr}");
    let (status, _, stderr) = config(&(neither + "CONFIG_HAVE_PCI=y\n"));
    assert_eq!(status, Some(1));
    let says = "the kernel lacks 1 of";
    assert!(stderr.contains(says), "{stderr}");

    let without = all
        .replace("CONFIG_DM_INIT=y", "# CONFIG_DM_INIT is not set")
        .replace("CONFIG_SQUASHFS=y", "CONFIG_SQUASHFS=m")
        .replace("CONFIG_ACPI=y\n", "");
    let (status, compared, stderr) = config(&without);
    assert_eq!(status, Some(1));
    assert!(
        stderr.contains("CONFIG_SQUASHFS, CONFIG_DM_INIT"),
        "{stderr}"
    );
    assert!(stderr.contains("a module counts as missing"), "{stderr}");
    let missing = compared["requires"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|need| need["met"] == false);
    let found: Vec<_> = missing.map(|need| need["found"].to_string()).collect();
    assert_eq!(
        found,
        [
            r#"{"option":"SQUASHFS","setting":"m"}"#,
            r#"{"option":"DM_INIT","setting":"n"}"#
        ]
    );
    fs::write(place.path("config"), without + "CONFIG_BLK_DEV_INITRD=y\n").unwrap();
    let initramfs = ["--kernel-config", "config", "--initramfs"];
    let (status, _, stderr) = requires(&place, "sealed.sqsh", &initramfs);
    assert_eq!(status, Some(0), "{stderr}");

    for (path, message) in [
        ("agent", "not a kernel configuration"),
        ("none", "cannot use the kernel"),
    ] {
        let outcome = place.run([
            "inspect",
            "sealed.sqsh",
            "--requires",
            "--kernel-config",
            path,
        ]);
        assert_eq!(outcome.status, Some(1));
        assert!(outcome.stderr.contains(message), "{outcome:#?}");
    }
}

#[test]
fn printed_table_is_one_that_the_device_mapper_parses() {
    // This kernel may have no dm-verity. `dmsetup` reads a table only to hand it to the kernel, so the oracle is
    // `veritysetup dump`, which must name the same values.
    let place = place();
    let table = place
        .run(["boot-args", "sealed.sqsh", "--table"])
        .line()
        .to_owned();
    let fields: Vec<_> = table.split(' ').collect();
    let verity = verity(&place);
    let path: PathBuf = place.path("sealed.sqsh");
    let offset = verity["hash_offset"].to_string();
    let dump = Command::new("veritysetup")
        .arg("dump")
        .arg(path)
        .args(["--hash-offset", &offset])
        .output()
        .unwrap();
    assert!(dump.status.success(), "{dump:?}");
    let dump = String::from_utf8(dump.stdout).unwrap();
    let value = |name: &str| {
        let line = dump
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.trim().to_owned()
    };
    assert_eq!(value("Data blocks:"), fields[8]);
    assert_eq!(value("Salt:"), fields[12]);
    assert_eq!(value("Hash algorithm:"), fields[10]);
    assert_eq!(value("Hash type:"), fields[3]);
    assert_eq!(value("UUID:"), verity["uuid"].as_str().unwrap());
    assert_eq!(value("Data block size:"), "4096");
    // The tree begins one block after its superblock.
    let start: u64 = fields[9].parse().unwrap();
    assert_eq!((start - 1) * 4096, verity["hash_offset"].as_u64().unwrap());
    assert_eq!(
        fields[1].parse::<u64>().unwrap() * 512,
        verity["hash_offset"].as_u64().unwrap()
    );
}
