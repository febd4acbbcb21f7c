//! Text that others chose, from every place that it comes from, through every command that prints it:
//! nothing that a terminal obeys, no line that is not the program's own, and JSON that decodes to it.
//! kubernetes#101695, kubernetes#107617

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Output;

use serde_json::{Value, json};
use test_support::image::{Image, Index, Layer, Store};
use test_support::registry::{Action, Fault, Registry};

use crate::cli::{Place, program};

/// Escape sequences in 7 and 8 bits, bidirectional controls, separators, invisible characters, a line
/// that looks like one of `list`, and letters that must stay readable.
const NASTY: &str = "größe\u{1b}[31m\u{7}\u{7f}\u{9b}32m\u{202e}\u{2066}\u{61c}\u{200f}\u{2028}\u{200b}\
     \u{e0041}\r\nsha256:fake\t日本";

/// What is not to reach a terminal, by ranges that do not come from the program.
fn is_forbidden(c: char) -> bool {
    matches!(c,
        '\0'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

/// Checks a run, and returns its stdout and stderr.
#[track_caller]
fn assert_clean(what: &str, output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    for stream in [&stdout, &stderr] {
        let found = stream.chars().find(|c| is_forbidden(*c));
        assert_eq!(found, None, "{what}: {stream:?}");
        let fake = stream.lines().find(|line| line.starts_with("sha256:fake"));
        assert_eq!(fake, None, "{what}: {stream}");
    }
    assert!(!stderr.contains("panicked"), "{what}: {stderr}");
    (stdout, stderr)
}

/// Runs with and without `-v` and `--json`; returns stdout as JSON, `null` where it failed, and stderr as text.
#[track_caller]
fn run<A: AsRef<OsStr>>(place: &Place, arguments: &[A]) -> (Value, String) {
    let mut last = (Value::Null, String::new());
    for more in [&[][..], &["-v"], &["--json"]] {
        let mut command = place.command(program());
        command.args(arguments);
        let is_pull = arguments[0].as_ref() == "pull";
        if is_pull && arguments.iter().all(|word| word.as_ref() != "--agent") {
            command.args(["--agent", "agent"]);
        }
        let output = command.args(more).output().unwrap();
        let what = format!("{:?} {more:?}", arguments[0].as_ref());
        let (stdout, stderr) = assert_clean(&what, &output);
        assert!(
            matches!(output.status.code(), Some(0..=2)),
            "{what}: {output:?}"
        );
        if more.is_empty() {
            last.1 = stderr;
        } else if more == ["--json"] {
            if !stdout.is_empty() {
                last.0 = serde_json::from_str(&stdout).unwrap();
            }
            for line in stderr.lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                assert!(line["message"].is_string(), "{what}: {line}");
            }
        }
    }
    last
}

fn layer() -> Layer {
    Layer::new().dir("etc").file("etc/hostname", "guest\n")
}

/// Returns a registry with `image`, and the reference of it.
fn serve(image: &Image) -> (Registry, String) {
    let mut store = Store::new();
    let manifest = image.add_to(&mut store);
    store.tag("latest", &manifest);
    let registry = Registry::serve(store).unwrap();
    let reference = format!("{}/team/image:latest", registry.addr());
    (registry, reference)
}

fn build(place: &Place, source: &str) -> (Value, String) {
    run(place, &["build", source, "-o", "out.sqsh"])
}

#[test]
fn platform_of_a_config_is_refused_in_printable_words() {
    let place = Place::new();
    for field in ["os", "architecture", "variant", "os.version"] {
        let image = Image::new().layer(layer()).edit_config(|config| {
            config[field] = json!(NASTY);
        });
        let (_registry, reference) = serve(&image);
        for (_, stderr) in [
            build(&place, &reference),
            run(&place, &["pull", &reference]),
        ] {
            assert!(
                stderr.contains(&format!("the platform's {field} is")),
                "{stderr}"
            );
            assert!(stderr.contains("größe"), "{stderr}");
        }
    }
}

#[test]
fn platform_of_an_index_entry_does_not_cost_the_others() {
    let mut store = Store::new();
    let other = Image::new()
        .layer(Layer::new().file("other", ""))
        .add_to(&mut store);
    let bad = other.with_platform(json!({"os": "linux", "architecture": NASTY}));
    let good = Image::new().layer(layer()).platform("linux/amd64");
    let index = Index::new().member(bad).image(good).add_to(&mut store);
    store.tag("latest", &index);
    let registry = Registry::serve(store).unwrap();
    let reference = format!("{}/team/image:latest", registry.addr());
    let place = Place::new();
    for (platform, works) in [("linux/amd64", true), ("linux/arm64", false)] {
        let (built, stderr) = run(
            &place,
            &[
                "build",
                &reference,
                "-o",
                "out.sqsh",
                "--platform",
                platform,
            ],
        );
        assert_eq!(built.is_object(), works, "{stderr}");
        assert_eq!(stderr.contains("1 entry skipped"), !works, "{stderr}");
    }
}

#[test]
fn tags_and_media_types_of_layouts_are_printable() {
    let place = Place::new();
    let mut store = Store::new();
    let image = Image::new().layer(layer()).add_to(&mut store);
    store.tag(NASTY, &image);
    store.write_layout(&place.path("layout")).unwrap();
    let (_, stderr) = build(&place, "oci:layout:other");
    assert!(stderr.contains("it holds größe\\u{1b}[31m"), "{stderr}");
    for edit in [
        |manifest: &mut Value| manifest["layers"][0]["mediaType"] = json!(NASTY),
        |manifest: &mut Value| manifest["config"]["mediaType"] = json!(NASTY),
        |manifest: &mut Value| manifest["mediaType"] = json!(NASTY),
        |manifest: &mut Value| manifest["layers"][0]["digest"] = json!(NASTY),
        |manifest: &mut Value| manifest["layers"] = json!(NASTY),
    ] {
        let (_registry, reference) = serve(&Image::new().layer(layer()).edit_manifest(edit));
        let (built, stderr) = build(&place, &reference);
        assert!(built.is_null(), "{built}");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
}

#[test]
fn names_in_docker_archives_are_printable() {
    let place = Place::new();
    let entry = |config: &str, layers: &[&str]| json!({"Config": config, "RepoTags": [NASTY], "Layers": layers});
    for (list, tag) in [
        (json!([entry("c", &[])]), ":other:v1"),
        (json!([entry("c", &[]), entry("c", &[])]), ""),
        (json!([entry(NASTY, &[])]), ""),
        (json!([entry(&format!("../{NASTY}"), &[])]), ""),
        (json!(NASTY), ""),
    ] {
        let archive = Layer::new().file("manifest.json", list.to_string());
        fs::write(place.path("image.tar"), archive.tar()).unwrap();
        let (built, stderr) = build(&place, &format!("docker-archive:image.tar{tag}"));
        assert!(built.is_null(), "{built}");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
}

#[test]
fn words_of_a_registry_are_printable() {
    let (registry, reference) = serve(&Image::new().layer(layer()));
    let place = Place::new();
    let words = json!({"errors": [{"code": NASTY, "message": NASTY}]}).to_string();
    for status in [400, 401, 403, 404] {
        registry.clear_faults();
        registry.inject(Fault::on(
            "/v2/",
            Action::Status {
                status,
                headers: Vec::new(),
                body: words.clone(),
            },
        ));
        let (_, stderr) = run(&place, &["pull", &reference]);
        assert!(stderr.contains("größe"), "{stderr}");
    }
}

#[test]
fn names_of_image_files_are_printable() {
    let place = Place::new();
    let (_registry, reference) = serve(
        &Image::new().layer(
            layer()
                .file(NASTY, "x")
                .file(b"raw\x9b31m\xff", "x")
                .symlink("link", NASTY),
        ),
    );
    let (built, _) = build(&place, &reference);
    assert!(built.is_object());
    let (inspected, _) = run(&place, &["inspect", "--tree", "./out.sqsh"]);
    assert!(
        inspected["tree"].to_string().contains("raw\\\\x9b31m"),
        "{inspected}"
    );
    let bytes = fs::read(place.path("out.sqsh")).unwrap();
    for at in (96..bytes.len().min(1500)).step_by(400) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        fs::write(place.path("damaged.sqsh"), damaged).unwrap();
        run(&place, &["verify", "./damaged.sqsh"]);
        run(&place, &["inspect", "--tree", "./damaged.sqsh"]);
    }
    let broken = Image::new().layer(layer().hardlink(NASTY, "missing"));
    let (_registry, reference) = serve(&broken);
    let (_, stderr) = build(&place, &reference);
    assert!(stderr.contains("hard link"), "{stderr}");
}

/// A line of `list` cannot be made of two.
#[test]
fn note_of_an_artifact_stays_one_line_of_list() {
    let (_registry, reference) = serve(&Image::new().layer(layer()));
    let place = Place::new();
    assert!(run(&place, &["pull", &reference]).0.is_object());
    let digest = run(&place, &["list"]).0[0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let note = place
        .cache()
        .join(format!(".note-{}", digest.replace(':', "-")));
    let mut text: Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
    text["source"] = json!(NASTY);
    fs::write(&note, text.to_string()).unwrap();
    let (listed, _) = run(&place, &["list"]);
    assert_eq!(listed[0]["source"], json!(NASTY));
    let text = place.run(["list", "--no-header"]);
    assert_eq!(text.stdout.lines().count(), 1, "{text:?}");
    assert!(text.stdout.contains("  größe\\u{1b}[31m"), "{text:?}");
    for command in [
        &["inspect", &digest][..],
        &["verify"],
        &["gc"],
        &["pull", &reference],
    ] {
        run(&place, command);
    }
}

#[test]
fn names_of_host_files_are_printable() {
    let (_registry, reference) = serve(&Image::new().layer(layer()));
    let place = Place::new();
    let raw = OsString::from_vec([b"raw\x9b31m\xff ", NASTY.as_bytes()].concat());
    for name in [OsStr::new(NASTY), &raw] {
        let missing = [OsStr::new("missing-"), name].join(OsStr::new(""));
        let source = [OsStr::new("oci:"), name].join(OsStr::new(""));
        let source = [
            OsStr::new("build"),
            &source,
            OsStr::new("-o"),
            OsStr::new("x"),
        ];
        let with = |option: &'static str| {
            let fixed = ["pull", &reference, option].map(OsStr::new);
            fixed
                .into_iter()
                .chain([missing.as_os_str()])
                .collect::<Vec<_>>()
        };
        for arguments in [
            &["inspect".as_ref(), missing.as_os_str()][..],
            &["verify".as_ref(), missing.as_os_str()],
            &[
                "list".as_ref(),
                "--cache-dir".as_ref(),
                place.agent().join(name).as_os_str(),
            ],
            &source,
            &with("--agent"),
            &with("--authfile"),
            &with("--ca-file"),
            &with("--hosts-dir"),
        ] {
            run(&place, arguments);
        }
        let output = place.path("outputs").join(name);
        fs::create_dir_all(output.parent().unwrap()).unwrap();
        let arguments = ["build", &reference, "-o"].map(OsStr::new);
        let arguments: Vec<_> = arguments.into_iter().chain([output.as_os_str()]).collect();
        let (built, stderr) = run(&place, &arguments);
        let path = built["path"].as_str().unwrap_or_else(|| panic!("{stderr}"));
        match output.to_str() {
            Some(output) => assert_eq!(path, output),
            None => assert!(path.contains("raw\\x9b31m\\xff"), "{path}"),
        }
    }
}

#[test]
fn arguments_and_environment_are_printable() {
    let place = Place::new();
    for arguments in [
        &[NASTY][..],
        &["pull"],
        &["pull", NASTY],
        &["pull", "a", NASTY],
        &["pull", "a", "--digest", NASTY],
        &["pull", "a", "--platform", NASTY],
        &["pull", "a", "--plain-http", &format!("{NASTY}/")],
        &["pull", "a", "--inject", NASTY],
        &["pull", "a", "--level", NASTY],
        &["build", NASTY, "-o", "x"],
        &["build", &format!("docker-daemon:{NASTY}"), "-o", "x"],
        &["path", NASTY],
        &["untag", NASTY],
        &["gc", "--max-size", NASTY],
        &[&format!("--{NASTY}")],
        &["help", NASTY],
        &["--help"],
        &["pull", "--help"],
    ] {
        for variable in [
            "HPCC_CACHE_DIR",
            "SOURCE_DATE_EPOCH",
            "HOME",
            "HTTP_PROXY",
            "RUST_LOG",
        ] {
            let mut command = place.command(program());
            command.arg0(NASTY).args(arguments).env(variable, NASTY);
            let output = command.output().unwrap();
            assert_clean(&format!("{arguments:?} with {variable}"), &output);
        }
    }
}

#[test]
fn files_of_the_configuration_are_printable() {
    let (registry, reference) = serve(&Image::new().layer(layer()));
    let place = Place::new();
    let hosts = place.path("hosts").join(registry.addr().to_string());
    fs::create_dir_all(&hosts).unwrap();
    for text in [
        format!("[host.{NASTY:?}]\n").replace("\\u{", "\\U{"),
        format!("[host.{}]\n", json!(NASTY)),
        format!("server = {}\n", json!(NASTY)),
        NASTY.to_owned(),
    ] {
        fs::write(hosts.join("hosts.toml"), text).unwrap();
        run(&place, &["pull", &reference, "--hosts-dir", "hosts"]);
    }
    registry.inject(Fault::on(
        "/v2/",
        Action::Status {
            status: 401,
            headers: vec![("WWW-Authenticate".to_owned(), "Basic realm=x".to_owned())],
            body: String::new(),
        },
    ));
    let host = registry.addr().to_string();
    for auth in [
        json!({"auths": {host.clone(): {"auth": NASTY}}}),
        json!({"credHelpers": {host.clone(): NASTY}}),
        json!({"credsStore": NASTY}),
        json!(NASTY),
    ] {
        fs::write(place.path("auth.json"), auth.to_string()).unwrap();
        run(&place, &["pull", &reference, "--authfile", "auth.json"]);
    }
}

#[test]
fn no_image_makes_an_error_of_megabytes() {
    let place = Place::new();
    let mut store = Store::new();
    let image = Image::new().layer(layer()).add_to(&mut store);
    for number in 0..10_000 {
        store.tag(&format!("release-candidate-{number}"), &image);
    }
    let layout = place.path("layout");
    store.write_layout(&layout).unwrap();
    let source = format!("oci:{}:other", layout.display());
    for json in [&[][..], &["--json"]] {
        let command = [
            &["build", &source, "--output", "x", "--agent", "agent"],
            json,
        ]
        .concat();
        let built = place.run(command);
        assert_eq!(built.status, Some(1), "{built:#?}");
        let length = built.stderr.len();
        assert!((4000..10_000).contains(&length), "{length}");
        assert!(built.stderr.contains(" [cut] "), "{built:#?}");
    }
}

#[test]
fn no_argument_or_setting_makes_a_long_error() {
    let place = Place::new();
    let long = "x".repeat(100_000);
    let option = format!("--{long}");
    let file = place.path("long.toml");
    fs::write(&file, format!("level = {long:?}\n")).unwrap();
    let file = file.to_str().unwrap();
    let filter = format!("{long}=");
    let runs: [(&[&str], &str, &str); 8] = [
        (&["gc", "--max-size", &long], "HPCC_CONFIG", "none"),
        (&["list", &option], "HPCC_CONFIG", "none"),
        (&["path", &long], "HPCC_CONFIG", "none"),
        (&["list"], "HPCC_QUIET", &long),
        (&["pull", "image"], "HPCC_CONFIG", file),
        (&["list"], "HPCC_CONFIG", &long),
        (&["list"], "RUST_LOG", &filter),
        (&["doctor", "--no-agent"], "HPCC_CONFIG", file),
    ];
    for (arguments, variable, value) in runs {
        for json in [&[][..], &["--json"]] {
            let mut command = place.command(program());
            command.args(arguments).args(json).env(variable, value);
            let output = command.output().unwrap();
            let (stdout, stderr) = assert_clean(arguments[0], &output);
            let what = format!("{arguments:.10?} {variable} {json:?}");
            let all = format!("{stdout}{stderr}");
            assert!(all.contains(" [cut] "), "{what}");
            assert!(all.len() < 20_000, "{what}: {}", all.len());
            let objects = stderr.lines().filter(|_| !json.is_empty());
            for object in objects.map(|line| serde_json::from_str::<Value>(line).unwrap()) {
                for member in ["message", "hint"] {
                    let length = object[member]
                        .as_str()
                        .map_or(0, |text| text.chars().count());
                    assert!(length <= 4000, "{what}: {member} has {length}");
                }
            }
        }
    }
}
