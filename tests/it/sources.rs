//! Archives that are not read in place: compressed as a whole, or from a pipe; and a root file system in
//! one tar file.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use test_support::image::{Compression, Image, Layer, Store};
use test_support::oracle::unsquashfs;
use tree_listing::Listing;

use crate::cli::{Outcome, Place, outcome, program};
use crate::store_damage::noise;

/// Returns the tree in an artifact, without the description and the config of the image.
pub(crate) fn tree(artifact: &Path) -> Listing {
    let extracted = unsquashfs::extract(artifact).unwrap();
    let mut listing = Listing::walk(&extracted.root()).unwrap();
    for file in ["/.hpcc/image.json", "/.hpcc/image-config.json"] {
        listing.entries.remove(file.as_bytes());
    }
    listing
}

/// `build SOURCE` with these bytes on standard input.
fn build_from(place: &Place, source: &str, input: &[u8], more: &[&str]) -> Outcome {
    let mut command = place.command(program());
    command.args(["build", source, "-o", "out"]).args(more);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    Outcome {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn build(place: &Place, source: &str, more: &[&str]) -> Outcome {
    let arguments = ["build", source, "-o", "out"];
    place.run(arguments.iter().chain(more))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Returns a layout in a tar file, with `index.json` at its end or at its start, and the tree in it.
fn archives(place: &Place) -> ([Vec<u8>; 2], Listing) {
    let mut store = Store::new();
    let image = Image::new()
        .layer(Layer::new().dir("d").file("d/a", vec![7; 300_000]))
        .layer(Layer::new().compressed(Compression::None).file("d/b", "b"))
        .layer(Layer::new().whiteout("d/a").file("c", "c"))
        .add_to(&mut store);
    store.tag("v1", &image);
    let layout = place.path("layout");
    store.write_layout(&layout).unwrap();
    let pack = |names: [&str; 3]| {
        let mut archive = tar::Builder::new(Vec::new());
        for name in names {
            let path = layout.join(name);
            match path.is_dir() {
                true => archive.append_dir_all(name, path).unwrap(),
                false => archive.append_path_with_name(path, name).unwrap(),
            }
        }
        archive.into_inner().unwrap()
    };
    let source = format!("oci:{}", layout.display());
    assert_eq!(build(place, &source, &[]).status, Some(0));
    let archives = [
        pack(["blobs", "oci-layout", "index.json"]),
        pack(["index.json", "oci-layout", "blobs"]),
    ];
    (archives, tree(&place.path("out")))
}

/// `docker save | gzip` and the archives of nixpkgs (google/go-containerregistry#783, #1908).
#[test]
fn archive_is_the_same_compressed_or_from_a_pipe() {
    let place = Place::new();
    let (archives, expected) = archives(&place);
    for archive in &archives {
        for bytes in [archive.clone(), gzip(archive), zstd(archive)] {
            fs::write(place.path("archive"), &bytes).unwrap();
            let from_file = build(&place, "oci-archive:archive", &[]);
            assert_eq!(from_file.status, Some(0), "{from_file:?}");
            assert_eq!(tree(&place.path("out")), expected);
            let piped = build_from(&place, "oci-archive:-", &bytes, &[]);
            assert_eq!(piped.status, Some(0), "{piped:?}");
            assert_eq!(tree(&place.path("out")), expected);
            // A file as standard input, which is read in place where it can be.
            let file = fs::File::open(place.path("archive")).unwrap();
            let mut command = place.command(program());
            command.args(["build", "oci-archive:-", "-o", "out"]);
            assert!(command.stdin(file).status().unwrap().success());
            assert_eq!(tree(&place.path("out")), expected);
        }
    }
    // The store takes the same.
    let gzipped = gzip(&archives[0]);
    fs::write(place.path("archive.gz"), gzipped).unwrap();
    let pulled = place.pull("oci-archive:archive.gz", &[]);
    assert_eq!(
        tree(Path::new(pulled.line())).entries.len(),
        expected.entries.len() + 1
    );
}

#[test]
fn damaged_and_foreign_archives_leave_nothing_behind() {
    let place = Place::new();
    let (archives, _) = archives(&place);
    fs::remove_file(place.path("out")).unwrap();
    let (gzipped, zstded) = (gzip(&archives[0]), zstd(&archives[0]));
    for (bytes, says) in [
        (
            &gzipped[..gzipped.len() - 9],
            "its gzip data is damaged or cut short",
        ),
        (
            &zstded[..zstded.len() - 5],
            "its zstd data is damaged or cut short",
        ),
        (
            &[&gzipped[..], b"more"].concat(),
            "its gzip data is damaged",
        ),
        (
            b"\xfd7zXZ\0 and so on",
            "neither a tar archive nor one compressed with gzip or zstd",
        ),
        (b"a text", "neither a tar archive"),
        (b"", "it is empty, and a tar file has at least one block"),
    ] {
        fs::write(place.path("archive"), bytes).unwrap();
        for outcome in [
            build(&place, "oci-archive:archive", &[]),
            build_from(&place, "oci-archive:-", bytes, &[]),
        ] {
            assert!(matches!(outcome.status, Some(1 | 2)), "{outcome:?}");
            // A short file that is read in place has no header to be wrong.
            let says = match outcome
                .stderr
                .contains("cannot read archive: it is not a tar file")
            {
                true => "it is not a tar file",
                false => says,
            };
            assert!(outcome.stderr.contains(says), "{says}: {outcome:?}");
            assert!(!place.path("out").exists());
        }
    }
    let names: Vec<_> = fs::read_dir(place.path("")).unwrap().collect();
    let hidden = |entry: &std::io::Result<fs::DirEntry>| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(".spool")
    };
    assert!(!names.iter().any(hidden));
}

/// A few hundred bytes that decompress to a gigabyte.
#[test]
fn spool_is_limited_and_its_directory_an_option() {
    let place = Place::new();
    let mut bomb = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(64 << 20);
    let zeros = std::io::Read::take(std::io::repeat(0), 64 << 20);
    bomb.append_data(&mut header, "zeros", zeros).unwrap();
    let bomb = zstd(&bomb.into_inner().unwrap());
    assert!(bomb.len() < 100_000);
    let outcome = build_from(&place, "docker-archive:-", &bomb, &["--max-spool", "1M"]);
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("1048576") && outcome.stderr.contains("--max-spool"));
    let (archives, _) = archives(&place);
    let elsewhere = place.path("no such directory");
    let elsewhere = elsewhere.to_str().unwrap();
    let outcome = build_from(
        &place,
        "oci-archive:-",
        &archives[0],
        &["--spool-dir", elsewhere],
    );
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("no such directory"), "{outcome:?}");
    assert!(outcome.stderr.contains("--spool-dir"), "{outcome:?}");
    fs::create_dir(elsewhere).unwrap();
    let outcome = build_from(
        &place,
        "oci-archive:-",
        &archives[0],
        &["--spool-dir", elsewhere],
    );
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0);
}

/// An image of one layer behind its documents, as `regctl image export` writes it, and another image's
/// blobs: nothing but documents is put aside. Behind the layer there is nothing left to read but damage.
#[test]
fn layer_that_comes_when_it_is_needed_is_not_spooled() {
    let place = Place::new();
    let mut store = Store::new();
    let bytes: Vec<u8> = (0u32..)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(3_000_000)
        .collect();
    let files = |layer: Layer| layer.file("a", bytes.clone());
    let image = Image::new()
        .layer(files(Layer::new().dir("d")))
        .add_to(&mut store);
    store.tag("v1", &image);
    let foreign = Image::new()
        .layer(files(Layer::new().dir("other")))
        .add_to(&mut store);
    store.tag("v2", &foreign);
    let layout = place.path("layout");
    store.write_layout(&layout).unwrap();
    let source = format!("oci:{}:v1", layout.display());
    assert_eq!(build(&place, &source, &[]).status, Some(0));
    let expected = fs::read(place.path("out")).unwrap();

    let mut blobs: Vec<_> = fs::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    blobs.sort_by_key(|path| fs::metadata(path).unwrap().len());
    let mut archive = tar::Builder::new(Vec::new());
    let names = ["oci-layout", "index.json"].map(|name| layout.join(name));
    for path in names.iter().chain(&blobs) {
        let name = path.strip_prefix(&layout).unwrap();
        archive.append_path_with_name(path, name).unwrap();
    }
    let archive = archive.into_inner().unwrap();
    assert!(archive.len() > 6_000_000);
    let limit = ["--max-spool", "16K", "--spool-dir", "."];
    for bytes in [archive.clone(), gzip(&archive)] {
        let outcome = build_from(&place, "oci-archive:-:v1", &bytes, &limit);
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        assert!(fs::read(place.path("out")).unwrap() == expected);
        // The same from the store, once and again, with an agent.
        fs::write(place.path("archive"), &bytes).unwrap();
        for _ in 0..2 {
            let pulled = place.pull("oci-archive:archive:v1", &limit);
            let found = tree(Path::new(pulled.line())).entries.len();
            assert_eq!(found, tree(&place.path("out")).entries.len() + 1);
        }
    }
    let zipped = gzip(&archive);
    let outcome = build_from(
        &place,
        "oci-archive:-:v1",
        &zipped[..zipped.len() - 4],
        &limit,
    );
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
    assert!(
        outcome.stderr.contains("damaged or cut short"),
        "{outcome:?}"
    );
}

/// `docker export typo | hpcc-rootfs build tar:-`: a shell does not tell that the first program failed.
#[test]
fn empty_input_is_no_root_file_system() {
    let place = Place::new();
    fs::write(place.path("rootfs"), "").unwrap();
    for outcome in [
        build(&place, "tar:rootfs", &[]),
        build_from(&place, "tar:-", b"", &[]),
    ] {
        assert_eq!(outcome.status, Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains("it is empty"), "{outcome:?}");
        assert!(!place.path("out").exists());
    }
    // Nothing but the end of an archive is a tar file.
    let outcome = build_from(&place, "tar:-", &[0; 1024], &[]);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
}

/// `docker export`: what the tar says, and no config.
#[test]
fn root_file_system_in_a_tar_file_becomes_an_image() {
    let place = Place::new();
    let layer = Layer::new()
        .dir("etc")
        .file("etc/hosts", "127.0.0.1 localhost\n")
        .hardlink("etc/same", "etc/hosts")
        .symlink("bin", "usr/bin");
    let rootfs = layer.tar();
    let mut trees = Vec::new();
    let mut digests = Vec::new();
    for bytes in [rootfs.clone(), gzip(&rootfs), zstd(&rootfs)] {
        fs::write(place.path("rootfs"), &bytes).unwrap();
        for outcome in [
            build(&place, "tar:rootfs", &["--json"]),
            build_from(&place, "tar:-", &bytes, &["--json"]),
        ] {
            let result = outcome.json();
            digests.push(result["digest"].as_str().unwrap().to_owned());
            let artifact = place.path("out");
            let image = unsquashfs::cat(&artifact, ".hpcc/image.json").unwrap();
            let image: serde_json::Value = serde_json::from_slice(&image).unwrap();
            assert_eq!(image["config"]["cmd"], serde_json::json!([]));
            assert_eq!(image["layers"].as_array().unwrap().len(), 1);
            trees.push(tree(&artifact));
        }
    }
    let digest = test_support::image::sha256(&rootfs);
    assert!(digests.iter().all(|found| *found == digest), "{digests:?}");
    assert!(trees.iter().all(|found| *found == trees[0]));
    let hosts = &trees[0].entries[&b"/etc/hosts"[..]];
    assert_eq!(hosts.kind.name(), "file");
    let wrong = format!("sha256:{}", "0".repeat(64));
    let outcome = build(&place, "tar:rootfs", &["--digest", &wrong]);
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains(&digest), "{outcome:?}");
}

/// A root file system in a tar file is a layer like others. From standard input nothing is reused, because
/// it cannot be read again.
#[test]
fn tar_file_with_another_agent_is_copied_from_first_build() {
    let place = Place::new();
    let rootfs = Layer::new().file("noise", noise(1, 300_000)).tar();
    fs::write(place.path("rootfs.tar"), &rootfs).unwrap();
    let zipped = zstd(&rootfs);
    fs::write(place.path("rootfs.tar.zst"), zipped).unwrap();
    place.pull("tar:rootfs.tar", &[]).line();
    let mut artifacts = Vec::new();
    for (source, agent, layers) in [
        ("tar:rootfs.tar", "#!/second\n", 1),
        ("tar:rootfs.tar.zst", "#!/third\n", 1),
        ("tar:-", "#!/third, once more\n", 0),
    ] {
        fs::write(place.agent(), agent).unwrap();
        let mut command = place.command(program());
        command.args(["pull", source, "--json", "--agent"]);
        command.arg(place.agent());
        command.stdin(fs::File::open(place.path("rootfs.tar")).unwrap());
        let outcome = outcome(&mut command).json();
        assert_eq!(outcome["built"]["reuse"]["layers"], layers, "{outcome}");
        artifacts.push(fs::read(outcome["path"].as_str().unwrap()).unwrap());
        let cold = Place::new();
        fs::write(cold.agent(), agent).unwrap();
        fs::write(cold.path("rootfs.tar"), &rootfs).unwrap();
        let cold = cold.pull("tar:rootfs.tar", &[]);
        assert!(fs::read(cold.line()).unwrap() == artifacts[artifacts.len() - 1]);
    }
}

#[test]
fn several_images_on_standard_input_need_a_file() {
    let place = Place::new();
    let rootfs = Layer::new().file("noise", noise(1, 3000)).tar();
    for bytes in [rootfs.clone(), gzip(&rootfs)] {
        fs::write(place.path("input"), &bytes).unwrap();
        let mut command = place.command(program());
        command.args(["pull", "tar:-", "tar:-", "--no-agent"]);
        command.stdin(fs::File::open(place.path("input")).unwrap());
        let pulled = outcome(&mut command);
        assert_eq!(pulled.status, Some(0), "{pulled:?}");
        assert_eq!(pulled.stdout.lines().count(), 2, "{pulled:?}");
    }
    fs::remove_dir_all(place.cache()).unwrap();
    for name in ["pull", "doctor"] {
        for other in ["tar:-", "oci-archive:-:v1", "docker-archive:-"] {
            let mut command = place.command(program());
            command.args([name, "tar:-", other, "--no-agent"]);
            let refused = outcome(command.stdin(Stdio::piped()));
            assert_eq!(refused.status, Some(2), "{refused:?}");
            let says = "2 images are read from standard input";
            assert!(refused.stderr.contains(says), "{refused:?}");
            assert!(!place.cache().exists());
        }
    }
}

#[test]
fn named_pipe_for_a_file_is_refused_with_advice() {
    let place = Place::new();
    let fifo = place.path("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    for transport in ["tar", "docker-archive", "oci-archive"] {
        let outcome = build(&place, &format!("{transport}:fifo"), &[]);
        assert!(matches!(outcome.status, Some(1 | 2)), "{outcome:?}");
        assert!(
            outcome.stderr.contains("a named pipe (FIFO)"),
            "{outcome:?}"
        );
        assert!(
            outcome.stderr.contains("write - in its place"),
            "{outcome:?}"
        );
    }
}

/// The writer at the other end sleeps, and sends nothing or half an archive.
#[test]
fn signal_ends_a_build_that_waits_for_a_pipe() {
    use rustix::process::{Pid, Signal, kill_process};
    let place = Place::new();
    let (archives, _) = archives(&place);
    fs::remove_file(place.path("out")).unwrap();
    for sent in [&archives[0][..0], &archives[0][..4096]] {
        let mut command = place.command(program());
        command.args(["build", "oci-archive:-", "-o", "out"]);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(sent).unwrap();
        // Long enough that it waits; if it does not yet, it hears the signal all the same.
        std::thread::sleep(Duration::from_millis(500));
        let started = Instant::now();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(started.elapsed() < Duration::from_secs(10));
        assert_eq!(output.status.code(), Some(143));
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            says.contains("terminated; nothing more was published"),
            "{says}"
        );
        assert!(!place.path("out").exists());
        drop(stdin);
    }
}

/// Index and config that name different platforms: `--platform` says which counts.
#[test]
fn platform_option_settles_index_and_config_that_disagree() {
    let place = Place::new();
    let mut store = Store::new();
    let image = Image::new()
        .platform("linux/s390x")
        .layer(Layer::new().file("f", "f"))
        .add_to(&mut store)
        .with_platform(serde_json::json!({"os": "linux", "architecture": "riscv64"}));
    let index = test_support::image::Index::new()
        .member(image)
        .add_to(&mut store);
    store.tag("v1", &index);
    store.write_layout(&place.path("layout")).unwrap();
    let outcome = build(&place, "oci:layout", &["--platform", "linux/riscv64"]);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    let outcome = build(&place, "oci:layout", &["--platform", "linux/s390x"]);
    assert_eq!(outcome.status, Some(1), "{outcome:?}");
}
