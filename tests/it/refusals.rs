//! What can go wrong with a pull: one clear line each, exit 1, and nothing left behind.

use test_support::image::{Compression, Image, Index, Layer, Store, sha256};
use test_support::registry::{Action, Auth, Fault, Registry};

use crate::cli::{Outcome, Place};

fn layer() -> Layer {
    Layer::new()
        .dir("etc")
        .file("etc/hostname", "guest\n")
        .file("etc/noise", noise(300_000))
}

/// Bytes that no codec shrinks, so that positions in a blob mean something.
fn noise(length: usize) -> Vec<u8> {
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(length)
    .collect()
}

/// Returns a registry with one image under `team/image:latest`, and its digest.
fn registry() -> (Registry, String) {
    registry_with(Image::new().layer(layer()), Auth::Anonymous)
}

fn registry_with(image: Image, auth: Auth) -> (Registry, String) {
    let mut store = Store::new();
    let manifest = image.add_to(&mut store);
    store.tag("latest", &manifest);
    (Registry::serve_with(store, auth).unwrap(), manifest.digest)
}

fn reference(registry: &Registry) -> String {
    format!("{}/team/image:latest", registry.addr())
}

/// Exit 75, because the failure may pass by itself; otherwise as [`assert_refused`].
#[track_caller]
fn assert_refused_for_now(place: &Place, outcome: &Outcome, words: &[&str]) {
    assert_exit(75, place, outcome, words);
}

/// Exit 1, one line on stderr that holds every one of the words, and an empty cache.
#[track_caller]
fn assert_refused(place: &Place, outcome: &Outcome, words: &[&str]) {
    assert_exit(1, place, outcome, words);
}

#[track_caller]
fn assert_exit(code: i32, place: &Place, outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.status, Some(code), "{outcome:#?}");
    assert_eq!(outcome.stdout, "");
    let errors: Vec<_> = outcome
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    let [error] = errors[..] else {
        panic!("not one error line: {outcome:#?}");
    };
    assert!(
        outcome.stderr.ends_with(&format!("{error}\n")),
        "{outcome:#?}"
    );
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
    assert_eq!(place.cached(), [""; 0], "left in the cache");
}

#[test]
fn a_wrong_digest() {
    let (registry, _) = registry();
    let place = Place::new();
    let other = format!("sha256:{}", "0".repeat(64));
    let outcome = place.pull(&reference(&registry), &["--digest", &other]);
    assert_refused(&place, &outcome, &["not found", &other, "team/image"]);
}

#[test]
fn a_manifest_that_is_not_what_its_digest_says() {
    let (registry, digest) = registry();
    registry.inject(Fault::on("/manifests/", Action::Corrupt(40)));
    let place = Place::new();
    let outcome = place.pull(&reference(&registry), &["--digest", &digest]);
    assert_refused(&place, &outcome, &["digest mismatch", &digest]);
}

#[test]
fn no_image_for_the_platform() {
    let mut store = Store::new();
    let index = Index::new()
        .image(Image::new().layer(layer()))
        .image(Image::new().layer(layer()).platform("linux/arm64"))
        .add_to(&mut store);
    store.tag("latest", &index);
    let registry = Registry::serve(store).unwrap();
    let place = Place::new();
    let outcome = place.pull(&reference(&registry), &["--platform", "linux/riscv64"]);
    let words = ["linux/riscv64", "linux/amd64", "linux/arm64"];
    assert_refused(&place, &outcome, &words);
}

#[test]
fn an_image_for_another_platform_without_an_index() {
    let image = Image::new().layer(layer()).platform("linux/arm64");
    let (registry, _) = registry_with(image, Auth::Anonymous);
    let place = Place::new();
    let outcome = place.pull(&reference(&registry), &["--platform", "linux/amd64"]);
    assert_refused(&place, &outcome, &["linux/amd64", "linux/arm64"]);
}

#[test]
fn an_image_for_another_system() {
    let image = Image::new().layer(layer()).platform("windows/amd64");
    let (registry, _) = registry_with(image, Auth::Anonymous);
    let place = Place::new();
    let outcome = place.pull(&reference(&registry), &["--platform", "windows/amd64"]);
    assert_refused(&place, &outcome, &["windows", "only linux images"]);
}

#[test]
fn no_agent_for_the_architecture_before_anything_is_fetched() {
    let (registry, _) = registry();
    let place = Place::new();
    let agent = place.agent();
    let outcome = place.run([
        "pull",
        &reference(&registry),
        "--platform",
        "linux/amd64",
        "--agent-arm64",
        agent.to_str().unwrap(),
    ]);
    assert_refused(
        &place,
        &outcome,
        &["no agent for amd64", "arm64", "--agent"],
    );
    let fetched = registry.requests();
    assert!(
        !fetched
            .iter()
            .any(|request| request.path.contains("/blobs/"))
    );
}

#[test]
fn an_agent_that_is_not_there() {
    let (registry, _) = registry();
    let place = Place::new();
    let outcome = place.run(["pull", &reference(&registry), "--agent", "nowhere/agent"]);
    assert_refused(&place, &outcome, &["nowhere/agent", "No such file"]);
}

#[test]
fn a_registry_that_cannot_be_reached() {
    // A port that was free a moment ago, and that the kernel assigns to no other process so soon.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let place = Place::new();
    let outcome = place.pull(&format!("{address}/team/image:latest"), &[]);
    assert_refused_for_now(&place, &outcome, &[&address.to_string(), "refused"]);
}

#[test]
fn a_registry_that_wants_credentials() {
    let auth = Auth::Basic {
        user: "robot".into(),
        password: "hunter2".into(),
    };
    let (registry, _) = registry_with(Image::new().layer(layer()), auth);
    let place = Place::new();
    let outcome = place.pull(&reference(&registry), &[]);
    let host = registry.addr().to_string();
    assert_refused(&place, &outcome, &["401", &host, "credentials"]);
}

#[test]
fn wrong_credentials_are_not_printed() {
    use base64::Engine as _;
    let auth = Auth::Basic {
        user: "robot".into(),
        password: "hunter2".into(),
    };
    let (registry, _) = registry_with(Image::new().layer(layer()), auth);
    let place = Place::new();
    let secret = base64::engine::general_purpose::STANDARD.encode("robot:letmein");
    let config = serde_json::json!({
        "auths": { registry.addr().to_string(): { "auth": secret } }
    });
    std::fs::write(place.path("auth.json"), config.to_string()).unwrap();
    let outcome = place.pull(&reference(&registry), &["--authfile", "auth.json", "-v"]);
    assert_refused(&place, &outcome, &["401"]);
    assert!(!outcome.stderr.contains("letmein") && !outcome.stderr.contains(&secret));
}

#[test]
fn a_tag_that_is_not_there() {
    let (registry, _) = registry();
    let place = Place::new();
    let outcome = place.pull(&format!("{}/team/image:nightly", registry.addr()), &[]);
    assert_refused(&place, &outcome, &["not found", "nightly"]);
}

#[test]
fn a_blob_that_ends_early() {
    let (registry, digest) = registry();
    registry.inject(Fault::on("/blobs/", Action::Truncate(1000)));
    let place = Place::new();
    let outcome = place.pull(&reference(&registry), &["--digest", &digest]);
    assert_refused_for_now(&place, &outcome, &["sha256:", &registry.addr().to_string()]);
}

#[test]
fn a_blob_with_one_wrong_bit() {
    let (registry, _) = registry();
    registry.inject(Fault::on("/blobs/", Action::Corrupt(250_000)));
    let place = Place::new();
    let outcome = place.pull(&reference(&registry), &[]);
    assert_refused(&place, &outcome, &["sha256:"]);
}

/// Each is found long before the download is at its end.
#[test]
fn damaged_copy_is_reported_by_its_digest_first() {
    let layer = |compression| {
        let layer = Layer::new().dir("etc").file("etc/noise", noise(8_000_000));
        layer.compressed(compression)
    };
    for (compression, position, sense) in [
        (Compression::Gzip, 0, "not a layer"),
        (Compression::Zstd, 2, "not a layer"),
        (Compression::None, 512, "checksum"),
        (Compression::None, 512 + 156, "checksum"),
    ] {
        let (registry, _) = registry_with(Image::new().layer(layer(compression)), Auth::Anonymous);
        let mut blob = layer(compression).blob();
        registry.inject(Fault::on(&sha256(&blob), Action::Corrupt(position)));
        let place = Place::new();
        let outcome = place.pull(&reference(&registry), &[]);
        assert_refused(
            &place,
            &outcome,
            &["digest mismatch", "damaged or was replaced"],
        );

        // The same bytes under their own digest are the maker's.
        blob[usize::try_from(position).unwrap()] ^= 1;
        let media_type = "application/vnd.oci.image.layer.v1.tar";
        let image = Image::new().layer(Layer::of_blob(media_type, blob));
        let (registry, _) = registry_with(image, Auth::Anonymous);
        let outcome = place.pull(&reference(&registry), &[]);
        assert_refused(&place, &outcome, &[sense]);
    }
}

#[test]
fn a_layer_that_is_not_what_the_config_promises() {
    let image = Image::new().layer(layer()).edit_config(|config| {
        config["rootfs"] = serde_json::json!({
            "type": "layers",
            "diff_ids": [format!("sha256:{}", "1".repeat(64))],
        });
    });
    let (registry, _) = registry_with(image, Auth::Anonymous);
    let place = Place::new();
    let outcome = place.pull(&reference(&registry), &[]);
    assert_refused(&place, &outcome, &["config promises", "digest mismatch"]);
}

#[test]
fn an_image_over_a_limit() {
    let (registry, _) = registry();
    let place = Place::new();
    for (option, value, words) in [
        ("--max-entries", "2", ["etc/noise", "entries"]),
        ("--max-bytes", "100K", ["etc/noise", "102400"]),
        (
            "--max-layer-bytes",
            "100K",
            ["etc/noise", "--max-layer-bytes"],
        ),
        ("--max-unpacked", "100K", ["etc/noise", "--max-unpacked"]),
        ("--max-metadata", "400", ["memory", "--max-metadata"]),
        ("--max-depth", "1", ["depth", "--max-depth"]),
        ("--max-path", "8", ["length of the path", "--max-path"]),
        ("--max-layers", "0", ["layers", "--max-layers"]),
    ] {
        let outcome = place.pull(&reference(&registry), &[option, value]);
        assert_refused(&place, &outcome, &words);
    }
}

#[test]
fn a_cache_that_is_a_file() {
    let (registry, _) = registry();
    let place = Place::new();
    std::fs::write(place.path("cache"), "").unwrap();
    let outcome = place.pull(&reference(&registry), &[]);
    assert_refused(&place, &outcome, &["cache", "ot a directory"]);
}

#[test]
fn contradicting_arguments_are_usage_errors() {
    let place = Place::new();
    let one = format!("sha256:{}", "1".repeat(64));
    let two = format!("sha256:{}", "2".repeat(64));
    let pinned = format!("127.0.0.1:1/image@{one}");
    let cases: [&[&str]; 7] = [
        &["pull", &pinned, "--digest", &two, "--agent", "agent"],
        &["pull"],
        &["pull", "image", "--digest", "sha256:short"],
        &[
            "pull",
            "image",
            "--agent",
            "agent",
            "--agent-amd64",
            "agent",
        ],
        &["path", "sha256:short"],
        &[
            "pull",
            "image",
            "--compressor",
            "gzip",
            "--level",
            "-1",
            "--agent",
            "agent",
        ],
        &["frobnicate"],
    ];
    for arguments in cases {
        let outcome = place.run(arguments);
        assert_eq!(outcome.status, Some(2), "{arguments:?}: {outcome:#?}");
        assert_eq!(outcome.stdout, "");
    }
}

#[test]
fn error_of_a_config_names_its_url() {
    let image = Image::new().layer(layer());
    let image = image.edit_config(|config| config["config"]["Env"] = "no array".into());
    let (registry, _) = registry_with(image, Auth::Anonymous);
    let outcome = Place::new().pull(&reference(&registry), &[]);
    assert_eq!(outcome.status, Some(1), "{outcome:#?}");
    let url = format!("http://{}/v2/team/image/blobs/sha256:", registry.addr());
    assert!(outcome.stderr.contains(&url), "{outcome:#?}");
}
