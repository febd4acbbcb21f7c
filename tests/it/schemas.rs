//! Every JSON document of the program against its schema in `docs/schemas`, by an independent validator.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use test_support::image::{Image, Layer, Store};
use test_support::oracle::json_schema;
use test_support::registry::{Action, Fault, Registry};

use crate::cli::{self, Place, program};
use crate::reference::commands;

const SCHEMAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schemas");

/// Documents by the name of their schema.
struct Documents {
    place: Place,
    files: RefCell<BTreeMap<&'static str, Vec<PathBuf>>>,
}

impl Documents {
    fn add(&self, schema: &'static str, document: &str) -> Value {
        let value = serde_json::from_str(document)
            .unwrap_or_else(|error| panic!("{schema}: {error}: {document:?}"));
        let mut files = self.files.borrow_mut();
        let files = files.entry(schema).or_default();
        let path = self.place.path(&format!("{schema}-{}.json", files.len()));
        fs::write(&path, document).unwrap();
        files.push(path);
        value
    }

    /// Runs with `--json`, and keeps what is on stdout.
    fn run(&self, schema: &'static str, arguments: &[&str]) -> Value {
        let arguments = arguments.iter().copied().chain(["--json"]);
        let outcome = self.place.run(arguments);
        assert!(!outcome.stdout.is_empty(), "{outcome:#?}");
        self.add(schema, &outcome.stdout)
    }

    /// Keeps a line of stderr of each form: the validator takes its time for a thousand.
    fn lines(&self, schema: impl Fn(&Value) -> &'static str, stderr: &str) {
        let mut forms = BTreeSet::new();
        for line in stderr.lines() {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{stderr}"));
            let members = value.as_object().unwrap().iter();
            let members =
                members.map(|(name, value)| (name.clone(), std::mem::discriminant(value)));
            let names: Vec<_> = members
                .map(|(name, kind)| format!("{name} {kind:?}"))
                .collect();
            if forms.insert((value["event"].to_string(), names)) {
                self.add(schema(&value), line);
            }
        }
    }

    fn validate(self) {
        let files = self.files.into_inner();
        let names: Vec<_> = files.keys().copied().collect();
        let known = schema_names();
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        assert_eq!(
            names, known,
            "a schema without a document, or the other way round"
        );
        for (name, files) in files {
            let schema = Path::new(SCHEMAS).join(format!("{name}.schema.json"));
            json_schema::validate(&schema, &files).unwrap();
        }
    }
}

/// Returns the names between backquotes in the first column of the table below a heading of the reference.
fn rows(reference: &str, header: &str) -> BTreeSet<String> {
    let (_, table) = reference.split_once(header).unwrap();
    table
        .lines()
        .skip(2)
        .map_while(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect()
}

fn schema_names() -> BTreeSet<String> {
    let files = fs::read_dir(SCHEMAS).unwrap();
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .map(|name| name.strip_suffix(".schema.json").unwrap().to_owned())
        .collect()
}

#[test]
fn each_command_with_json_has_a_schema() {
    let place = Place::new();
    let schemas = schema_names();
    // These print scripts and write pages; `help` is not a command of this program.
    let without = ["completions", "help", "man"];
    let commands = commands(&place);
    let names = commands
        .iter()
        .filter(|name| !without.contains(&name.as_str()));
    for name in names {
        let name = match name.as_str() {
            "config" => "config-show",
            name => name,
        };
        assert!(schemas.contains(name), "{name} has no schema");
    }
    let page = Path::new(SCHEMAS).parent().unwrap().join("cli.md");
    let page = fs::read_to_string(page).unwrap();
    for name in &schemas {
        let link = format!("(schemas/{name}.schema.json)");
        assert!(page.contains(&link), "{name} is not in the reference");
    }
}

/// Returns the names of the members at the top of a schema's documents, of all its forms.
fn members(schema: &Value, root: &Value, found: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap();
        members(target, root, found);
    }
    for form in schema["oneOf"].as_array().into_iter().flatten() {
        members(form, root, found);
    }
    if schema["items"].is_object() {
        members(&schema["items"], root, found);
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    found.extend(properties.map(|(name, _)| name.clone()));
}

#[test]
fn formats_page_names_the_members_of_each_document() {
    let page = Path::new(SCHEMAS).parent().unwrap().join("formats.md");
    let page = fs::read_to_string(page).unwrap();
    let mut wrong = Vec::new();
    for name in schema_names() {
        // The documents on stderr have a table of their own in the reference.
        if ["error", "log", "progress"].contains(&name.as_str()) {
            continue;
        }
        let command = name.replace('-', " ");
        let row = page.lines().find(|line| {
            line.starts_with(&format!("| `{name}` |"))
                || line.starts_with(&format!("| `{command}` |"))
        });
        let row = row.unwrap_or_else(|| panic!("no row for {name}"));
        let schema = Path::new(SCHEMAS).join(format!("{name}.schema.json"));
        let schema: Value = serde_json::from_slice(&fs::read(schema).unwrap()).unwrap();
        let mut found = BTreeSet::new();
        members(&schema, &schema, &mut found);
        assert!(!found.is_empty(), "{name} has no members");
        let missing = found
            .iter()
            .filter(|member| !row.contains(&format!("`{member}`")));
        wrong.extend(missing.map(|member| format!("{name}: {member}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Adds the objects of a schema that take further members, and the members that nothing describes.
fn gaps(value: &Value, defs: &Value, path: &str, found: &mut Vec<String>) {
    if let Some(members) = value["properties"].as_object() {
        if value["additionalProperties"] != false {
            found.push(format!("{path} is open"));
        }
        for (name, member) in members {
            let target = member["$ref"]
                .as_str()
                .map_or("", |target| &target["#/$defs/".len()..]);
            if !member["description"].is_string() && !defs[target]["description"].is_string() {
                found.push(format!("{path}/{name} has no description"));
            }
        }
    }
    let below: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Value::Array(items) => items.iter().map(|v| ("*".to_owned(), v)).collect(),
        _ => Vec::new(),
    };
    for (name, value) in below {
        gaps(value, defs, &format!("{path}/{name}"), found);
    }
}

#[test]
fn schemas_describe_each_member_and_allow_no_other() {
    for name in schema_names() {
        let text = fs::read_to_string(format!("{SCHEMAS}/{name}.schema.json")).unwrap();
        let schema: Value = serde_json::from_str(&text).unwrap();
        let mut found = Vec::new();
        gaps(&schema, &schema["$defs"], &name, &mut found);
        // The fields of a log record are those of the library that writes it.
        found.retain(|gap| gap != "log is open");
        assert_eq!(found, [""; 0]);
    }
}

#[test]
fn kinds_of_errors_are_those_of_schema_and_reference() {
    let root = Path::new(SCHEMAS).parent().unwrap().parent().unwrap();
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let schema: Value = serde_json::from_str(&read("docs/schemas/error.schema.json")).unwrap();
    let kinds = schema["properties"]["kind"]["enum"]
        .as_array()
        .unwrap()
        .iter();
    let kinds: BTreeSet<_> = kinds
        .map(|kind| kind.as_str().unwrap().to_owned())
        .collect();
    let reference = read("docs/cli.md");
    assert_eq!(rows(&reference, "| `kind` | what it means |"), kinds);
    let source = read("crates/hpcc-rootfs/src/error/kind.rs");
    let (_, names) = source.split_once("fn word(self)").unwrap();
    let (names, _) = names.split_once("\n}\n").unwrap();
    assert!(names.contains("\"internal\""));
    for name in names.split('"').skip(1).step_by(2) {
        assert!(kinds.contains(name), "{name} is in no schema");
    }
}

#[test]
fn every_json_document_is_as_its_schema_says() {
    let mut store = Store::new();
    let layer = Layer::new()
        .dir("etc")
        .file("etc/hostname", "guest\n")
        .symlink("link", "etc")
        .file(".hpcc/x", "");
    let image = Image::new()
        .layer(layer)
        .layer(Layer::new().file("large", vec![7; 200_000]))
        .add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let reference = format!("{}/team/image:latest", registry.addr());
    let pull = ["pull", &reference, "--agent", "agent"];
    let documents = Documents {
        place: Place::new(),
        files: RefCell::default(),
    };
    let place = &documents.place;

    let pulled = documents.run(
        "pull",
        &[&pull[..], &["--inject", "agent:/.hpcc/tools/x:755"]].concat(),
    );
    documents.run(
        "pull",
        &[&pull[..], &["--inject", "agent:/.hpcc/tools/x:755"]].concat(),
    );
    let path = pulled["path"].as_str().unwrap();
    documents.run("build", &["build", &reference, "-o", "out.sqsh"]);
    documents.run("list", &["list"]);
    documents.run("path", &["path", &image.digest]);
    documents.run("inspect", &["inspect", &image.digest]);
    documents.run("inspect", &["inspect", &image.digest, "--tree"]);
    documents.run("verify", &["verify"]);
    let rebuild = [
        "--rebuild",
        "--agent",
        "agent",
        "--inject",
        "agent:/.hpcc/tools/x:755",
    ];
    documents.run("verify", &[&["verify"][..], &rebuild].concat());
    documents.run("verify", &["verify", "--rebuild", "--agent", "missing"]);
    documents.run("inspect", &["inspect", &image.digest, "--requires"]);
    documents.run("boot-args", &["boot-args", &image.digest]);
    fs::write(place.path("kernel.config"), "CONFIG_SQUASHFS=y\n").unwrap();
    let compared = ["--requires", "--kernel-config", "kernel.config"];
    documents.run(
        "inspect",
        &[&["inspect", &image.digest][..], &compared].concat(),
    );
    for more in [
        &["--firecracker"][..],
        &["--firecracker", "--initrd", "i", "--vsock", "3:v.sock"],
        &["--qemu"],
    ] {
        let machine = ["vm-config", &image.digest, "--kernel", "k"];
        documents.run("vm-config", &[&machine, more].concat());
    }
    documents.run("link", &["link", &image.digest, "linked", "--detach"]);
    documents.run("attest", &["attest", &image.digest]);
    documents.run(
        "build",
        &[
            "build",
            &reference,
            "-o",
            "sealed.sqsh",
            "--verity",
            "--mount-point",
            "/made",
        ],
    );
    documents.run("attest", &["attest", "./sealed.sqsh"]);
    documents.run("inspect", &["inspect", "./sealed.sqsh"]);
    documents.run("boot-args", &["boot-args", "./sealed.sqsh", "--table"]);
    documents.run("doctor", &["doctor", &reference, "--agent", "agent"]);
    documents.run("config-show", &["config", "show", "--trust-store"]);
    fs::write(
        place.path("wrong.toml"),
        "level =\n[pull]\nagnet = 1\n[gc]\nmax-age = \"1d\"\n",
    )
    .unwrap();
    let config = ["--config", "wrong.toml"];
    documents.run("doctor", &[&["doctor"][..], &config].concat());
    documents.run("config-show", &[&["config", "show"][..], &config].concat());
    let variable = cli::outcome(
        place
            .command(program())
            .args(["doctor", "--json"])
            .env("HPCC_OFFLINE", "maybe"),
    );
    documents.add("doctor", &variable.stdout);

    let mut bytes = fs::read(path).unwrap();
    bytes[3000] ^= 1;
    fs::write(place.path("damaged.sqsh"), &bytes).unwrap();
    let missing = format!("sha256:{}", "0".repeat(64));
    documents.run("verify", &["verify", "./damaged.sqsh", "./agent"]);
    let other = place
        .cache()
        .join(format!("{}.sqsh", missing.replace(':', "-")));
    fs::write(&other, &bytes[..4096]).unwrap();
    documents.run("list", &["list"]);
    documents.run("gc", &["gc", "--max-size", "0"]);
    documents.run("gc", &["gc"]);
    documents.run("untag", &["untag", &image.digest]);
    let several = [
        "pull",
        &reference,
        "127.0.0.1:1/x",
        "--agent",
        "agent",
        "--retries",
        "0",
    ];
    documents.run("pull", &several);
    documents.run("df", &["df"]);
    documents.run("rm", &["rm", &image.digest]);

    for arguments in [
        &["pull"][..],
        &["pull", &reference],
        &["pull", &reference, "--agent", "nowhere"],
        &["inspect", &missing],
        &[
            "pull",
            "127.0.0.1:1/x",
            "--agent",
            "agent",
            "--retries",
            "0",
        ],
    ] {
        let arguments = arguments.iter().copied().chain(["--json"]);
        documents.add("error", &place.run(arguments).stderr);
    }

    registry.inject(Fault::status("/blobs/", 503).times(1));
    let slow = Action::Throttle {
        piece: 64,
        every: Duration::from_millis(30),
    };
    registry.inject(Fault::on("/blobs/", slow));
    let of_stderr = |value: &Value| match (&value["event"], &value["kind"]) {
        (Value::Null, Value::Null) => "log",
        (Value::Null, _) => "error",
        _ => "progress",
    };
    for (reference, more) in [
        (reference.as_str(), &["--progress", "json"][..]),
        (&reference, &["--progress", "json", "-v"]),
        ("127.0.0.1:1/x", &["--progress", "json", "--retries", "1"]),
        (
            &reference,
            &["--log-format", "json", "--timings", "--no-reuse"],
        ),
    ] {
        let output = place
            .command(program())
            .args(["pull", reference, "--agent", "agent"])
            .args(more)
            .env("RUST_LOG", "debug")
            .output()
            .unwrap();
        documents.lines(of_stderr, &String::from_utf8(output.stderr).unwrap());
    }
    documents.validate();
}
