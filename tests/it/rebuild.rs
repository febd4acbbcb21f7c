//! `verify --rebuild`: an artifact is compared with what its image is built to now.

use std::fs;
use std::path::Path;

use test_support::image::{Image, Layer, Store};
use test_support::registry::{Auth, Registry};

use crate::cli::{Place, outcome, program};
use crate::store_damage::noise;

/// Returns a registry with one image, its pinned reference and its digest.
fn serve() -> (Registry, String, String) {
    let mut store = Store::new();
    let image = Image::new()
        .layer(Layer::new().file("noise", noise(1, 1_500_000)))
        .layer(Layer::new().dir("etc").file("etc/hostname", "guest\n"))
        .add_to(&mut store);
    let registry = Registry::serve(store).unwrap();
    let reference = format!("{}/image@{}", registry.addr(), image.digest);
    (registry, reference, image.digest)
}

/// Returns how many blobs were requested since the last time.
fn blobs(registry: &Registry) -> usize {
    let requests = registry.requests();
    registry.clear_requests();
    let blobs = requests
        .iter()
        .filter(|request| request.path.contains("/blobs/"));
    blobs.count()
}

/// Changes a byte of the image, and the record so that it agrees.
fn forge(path: &Path) {
    const CHUNK: usize = 1 << 20;
    const FOOTER: usize = 64;
    let mut bytes = fs::read(path).unwrap();
    let footer = bytes.len() - FOOTER;
    let number = |at: usize, size: usize| {
        let field = &bytes[footer + at..][..size];
        let number = field.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
        usize::try_from(number).unwrap()
    };
    let (facts_length, image_length) = (number(12, 4), number(16, 8));
    let digests: Vec<u8> = bytes[image_length..][..image_length.div_ceil(CHUNK) * 32].to_vec();
    let old_root = blake3::hash(&digests).to_hex().to_string();
    bytes[CHUNK + 7] ^= 1;
    let chunks = bytes[..image_length].chunks(CHUNK);
    let digests: Vec<u8> = chunks
        .flat_map(|chunk| *blake3::hash(chunk).as_bytes())
        .collect();
    let root = blake3::hash(&digests).to_hex().to_string();
    let facts = image_length + digests.len();
    let text = String::from_utf8(bytes[facts..][..facts_length].to_vec()).unwrap();
    assert!(text.contains(&old_root));
    bytes[image_length..facts].copy_from_slice(&digests);
    bytes[facts..][..facts_length].copy_from_slice(text.replace(&old_root, &root).as_bytes());
    let checksum = bytes.len() - 32;
    let sum = blake3::hash(&bytes[image_length..checksum]);
    bytes[checksum..].copy_from_slice(sum.as_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn rebuild_fetches_every_layer_and_finds_the_same_bytes() {
    let (registry, reference, digest) = serve();
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    let agent = place.agent();
    let agent = agent.to_str().unwrap();
    let before = place.cached();
    assert!(blobs(&registry) > 0);
    let arguments = ["verify", &digest, "--rebuild", "--agent", agent];
    let outcome = place.run(arguments);
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    assert!(outcome.line().contains("intact, rebuilt to the same bytes"));
    assert_eq!(blobs(&registry), 3, "config and layers");
    assert_eq!(place.cached(), before);
    // By its path, and from an image that is named.
    let outcome = place.run(["--json", "verify", &path, "--rebuild", "--agent", agent]);
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    let arguments = [
        "verify",
        &path,
        "--rebuild",
        "--agent",
        agent,
        "--from",
        &reference,
    ];
    assert_eq!(place.run(arguments).status, Some(0));
}

#[test]
fn rebuild_takes_platform_and_options_from_the_artifact() {
    let (_registry, reference, digest) = serve();
    let place = Place::new();
    let token = place.path("token");
    fs::write(&token, "secret").unwrap();
    let inject = format!("{}:/.hpcc/token:400", token.display());
    let options = [
        "--compressor",
        "gzip",
        "--level",
        "1",
        "--block-size",
        "64K",
        "--tails",
        "no",
        "--time",
        "9",
        "--inject",
        &inject,
    ];
    place.pull(&reference, &options).line();
    let agent = place.agent();
    let agent = agent.to_str().unwrap();
    let arguments = [
        "verify",
        &digest,
        "--rebuild",
        "--agent",
        agent,
        "--inject",
        &inject,
    ];
    let outcome = place.run(arguments);
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
}

#[test]
fn rebuild_finds_an_artifact_that_differs_from_its_image() {
    let (_registry, reference, digest) = serve();
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    forge(Path::new(&path));
    let forged = fs::read(&path).unwrap();
    assert_eq!(place.run(["verify", &digest]).status, Some(0));
    let agent = place.agent();
    let agent = agent.to_str().unwrap();
    let arguments = ["verify", &digest, "--rebuild", "--agent", agent];
    let outcome = place.run(arguments);
    assert_eq!(outcome.status, Some(1), "{outcome:#?}");
    assert!(
        outcome.stdout.contains("intact, differs from what"),
        "{outcome:#?}"
    );
    assert!(
        outcome.stderr.contains("rebuilt to other bytes"),
        "{outcome:#?}"
    );
    assert!(fs::read(&path).unwrap() == forged, "the file stays");
    let outcome = place.run(arguments.iter().chain(&["--json"]));
    let values: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(values[0]["sound"], true);
    assert_eq!(values[0]["rebuilt"]["same"], false);
}

#[test]
fn artifact_that_cannot_be_rebuilt_now_is_not_called_damaged() {
    let (registry, reference, digest) = serve();
    let place = Place::new();
    place.pull(&reference, &[]).line();
    drop(registry);
    let agent = place.agent();
    let arguments = [
        "verify",
        "--rebuild",
        "--agent",
        agent.to_str().unwrap(),
        "--retries",
        "0",
        "--json",
    ];
    let outcome = place.run(arguments);
    assert_eq!(outcome.status, Some(75), "{outcome:#?}");
    let values: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(values[0]["sound"], true);
    assert_eq!(values[0]["rebuilt"]["same"], serde_json::Value::Null);
    let error: serde_json::Value =
        serde_json::from_str(outcome.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(error["kind"], "network", "{error}");
    assert_eq!(error["transient"], true, "{error}");
    let message = format!("cannot rebuild 1 of 1 artifact, such as {digest}");
    assert_eq!(error["message"], message.as_str());
}

#[test]
fn login_on_stdin_is_for_all_artifacts_of_its_registry() {
    let mut store = Store::new();
    for tag in ["a", "b"] {
        let image = Image::new()
            .layer(Layer::new().file(tag, tag))
            .add_to(&mut store);
        store.tag(tag, &image);
    }
    let auth = Auth::Basic {
        user: "robot".into(),
        password: "hunter2".into(),
    };
    let place = Place::new();
    let registry = Registry::serve_with(store, auth).unwrap();
    fs::write(place.path("login"), "robot:hunter2\n").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = place.command(program());
        let login = fs::File::open(place.path("login")).unwrap();
        outcome(command.args(arguments).arg("--creds-stdin").stdin(login))
    };
    let [a, b] = ["a", "b"].map(|tag| format!("{}/image:{tag}", registry.addr()));
    let pulled = run(&["pull", &a, &b, "--no-agent", "--quiet"]);
    assert_eq!(pulled.status, Some(0), "{pulled:#?}");
    let rebuilt = run(&["verify", "--rebuild"]);
    assert_eq!(rebuilt.status, Some(0), "{rebuilt:#?}");
    let same = rebuilt.stdout.matches("rebuilt to the same bytes").count();
    assert_eq!(same, 2, "{rebuilt:#?}");
}

#[test]
fn damage_is_reported_even_if_the_artifact_cannot_be_set_aside() {
    let (_registry, reference, digest) = serve();
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    let mut bytes = fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    fs::write(&path, bytes).unwrap();
    // A directory in the place of the other name.
    let aside = place
        .cache()
        .join(format!(".bad-{}", digest.replacen(':', "-", 1)));
    fs::create_dir(&aside).unwrap();
    for is_aside in [false, true] {
        if is_aside {
            fs::remove_dir(&aside).unwrap();
        }
        let outcome = place.run(["verify", &digest, "--json"]);
        assert_eq!(outcome.status, Some(1), "{outcome:#?}");
        let values: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(values[0]["damage"][0]["start"], 0, "{values}");
        assert_eq!(values[0]["set_aside"], is_aside, "{values}");
        assert_eq!(Path::new(&path).exists(), !is_aside);
    }
}

#[test]
fn rebuild_with_other_host_files_fails_before_any_request() {
    let (registry, reference, digest) = serve();
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    let other = place.path("other");
    fs::write(&other, "#!/other\n").unwrap();
    let other = other.to_str().unwrap();
    let agent = place.agent();
    let agent = agent.to_str().unwrap();
    registry.clear_requests();
    let inject = format!("{agent}:/.hpcc/x");
    for (more, expected) in [
        (&[][..], "the agent given is none"),
        (&["--agent", other], "name the same file with --agent"),
        (
            &["--agent", agent, "--inject", &inject],
            "the injected files given are x",
        ),
    ] {
        let outcome = place.run(["verify", &digest, "--rebuild"].iter().chain(more));
        assert_eq!(outcome.status, Some(2), "{outcome:#?}");
        assert!(outcome.stdout.contains(expected), "{outcome:#?}");
    }
    assert!(registry.requests().is_empty(), "{:?}", registry.requests());
    // Without a store that knows it, nothing says where its image is.
    let alone = place.path("alone.sqsh");
    fs::rename(&path, &alone).unwrap();
    let outcome = place.run([
        "verify",
        alone.to_str().unwrap(),
        "--rebuild",
        "--agent",
        agent,
    ]);
    assert!(
        outcome.stdout.contains("name the image with --from"),
        "{outcome:#?}"
    );
    let outcome = place.run(["verify", "--rebuild", "--from", &reference]);
    assert_eq!(outcome.status, Some(2), "{outcome:#?}");
    // From a variable, it has no effect without what it belongs to.
    let mut verify = place.command(program());
    verify.env("HPCC_FROM", &reference).arg("verify");
    let outcome = self::outcome(&mut verify);
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
}

/// Writes an OCI layout of one image.
fn write_layout(directory: &Path) {
    let mut store = Store::new();
    let layer = Layer::new().file("etc/hostname", "guest\n");
    let image = Image::new().layer(layer).add_to(&mut store);
    store.tag("v1", &image);
    store.write_layout(directory).unwrap();
}

/// A timer runs it in another directory (jimsalterjrs/sanoid#74, hpc/charliecloud#1403).
#[test]
fn rebuild_finds_a_relative_source_from_every_directory() {
    let place = Place::new();
    write_layout(&place.path("lay"));
    place.run(["pull", "oci:lay", "--no-agent"]).line();
    let rebuild = || {
        let mut command = place.command(program());
        outcome(command.args(["verify", "--rebuild"]).current_dir("/"))
    };
    assert_eq!(rebuild().status, Some(0), "{:#?}", rebuild());
    // The note of an older version has the path as it was given, and the reference that was pulled.
    let note = fs::read_dir(place.cache()).unwrap();
    let mut note = note.map(|entry| entry.unwrap().path());
    let note = note
        .find(|path| path.to_str().unwrap().contains(".note-"))
        .unwrap();
    let mut text: serde_json::Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
    text["source"] = "oci:lay".into();
    fs::write(&note, text.to_string()).unwrap();
    assert_eq!(rebuild().status, Some(0), "{:#?}", rebuild());
    text["references"] = serde_json::json!({});
    fs::write(&note, text.to_string()).unwrap();
    let outcome = rebuild();
    assert_eq!(outcome.status, Some(1), "{outcome:#?}");
    assert!(
        outcome.stdout.contains("its note says oci:lay, and not"),
        "{outcome:#?}"
    );
}

/// Standard input is the caller's, as the lines of a script (Altinity/clickhouse-backup#1368).
#[test]
fn rebuild_of_an_image_from_stdin_reads_no_stdin() {
    let place = Place::new();
    let mut archive = tar::Builder::new(fs::File::create(place.path("root.tar")).unwrap());
    let mut header = tar::Header::new_ustar();
    header.set_size(2);
    header.set_mode(0o644);
    archive
        .append_data(&mut header, "file", &b"a\n"[..])
        .unwrap();
    archive.finish().unwrap();
    let root = fs::File::open(place.path("root.tar")).unwrap();
    let mut command = place.command(program());
    outcome(command.args(["pull", "tar:-", "--no-agent"]).stdin(root)).line();
    // The pipe stays open, and its first line is left to the next reader.
    let (read, mut write) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut write, b"line\n").unwrap();
    let mut command = place.command("timeout");
    command
        .arg("60")
        .arg(program())
        .args(["verify", "--rebuild"]);
    let outcome = outcome(command.stdin(read.try_clone().unwrap()));
    assert_eq!(outcome.status, Some(1), "{outcome:#?}");
    assert!(
        outcome.stdout.contains("pulled from standard input"),
        "{outcome:#?}"
    );
    assert!(
        outcome.stdout.contains("name the image with --from"),
        "{outcome:#?}"
    );
    drop(write);
    assert_eq!(std::io::read_to_string(read).unwrap(), "line\n");
}
