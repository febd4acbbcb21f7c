//! `attest`: a statement about what an artifact was made of.

use std::fs;
use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use test_support::image::{Image, Index, Layer, Store};
use test_support::oracle::json_schema;
use test_support::registry::Registry;

use crate::cli::{self, Place};

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/statement.schema.json");
const PAGE: &str = include_str!("../../docs/evidence.md");

/// What `sha256sum` says about a file.
fn sha256sum(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(' ')
        .next()
        .unwrap()
        .trim_start_matches('\\')
        .to_owned()
}

fn layers() -> [Layer; 2] {
    [
        Layer::new().file("etc/hostname", "guest\n"),
        Layer::new().file("app", vec![7; 300_000]),
    ]
}

/// Returns an image in an index, its reference, and the digests of index, manifest and config.
fn serve() -> (Registry, String, [String; 3]) {
    let mut store = Store::new();
    let image = layers().into_iter().fold(Image::new(), Image::layer);
    let manifest = image.add_to(&mut store).digest;
    let document = store.get(&manifest).unwrap().1.bytes().unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap();
    let config = document["config"]["digest"].as_str().unwrap().to_owned();
    let index = Index::new().image(image).add_to(&mut store).digest;
    let registry = Registry::serve(store).unwrap();
    let reference = format!("{}/image@{index}", registry.addr());
    (registry, reference, [index, manifest, config])
}

fn dependency<'s>(statement: &'s Value, name: &str) -> &'s Value {
    find(statement, name).unwrap()
}

fn find<'s>(statement: &'s Value, name: &str) -> Option<&'s Value> {
    let all = &statement["predicate"]["buildDefinition"]["resolvedDependencies"];
    let mut all = all.as_array().unwrap().iter();
    all.find(|one| one["name"] == name)
}

fn hex(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap()
}

/// A worker may copy an artifact from the handle that it has attested.
#[test]
fn functions_that_read_an_artifact_keep_its_handle_in_place() {
    let (_registry, reference, _) = serve();
    let place = Place::new();
    let pulled = place.pull(&reference, &["--verity", "--json"]).json();
    let path = Path::new(pulled["path"].as_str().unwrap());
    let bytes = fs::read(path).unwrap();
    let sparse = fs::File::create_new(place.path("sparse")).unwrap();
    sparse.set_len(bytes.len() as u64).unwrap();
    for (n, block) in bytes.chunks(4096).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            sparse.write_all_at(block, n as u64 * 4096).unwrap();
        }
    }
    for path in [path.to_owned(), place.path("sparse")] {
        let mut file = hpcc_rootfs::open_artifact(&path).unwrap();
        file.seek(SeekFrom::Start(17)).unwrap();
        let record = hpcc_rootfs::Record::read(&file).unwrap();
        assert_eq!(file.stream_position().unwrap(), 17);
        hpcc_rootfs::attest(&file).unwrap();
        assert_eq!(file.stream_position().unwrap(), 17);
        hpcc_rootfs::kernel_requirements(&record, &file, false).unwrap();
        assert_eq!(file.stream_position().unwrap(), 17);
    }
}

#[test]
fn statement_names_what_went_in_and_what_came_out() {
    let (_registry, reference, [index, manifest, config]) = serve();
    let place = Place::new();
    fs::write(place.path("token"), "of the host").unwrap();
    let more = [
        "--verity",
        "--json",
        "--inject",
        "token:/.hpcc/secrets/token:400",
    ];
    let pulled = place.pull(&reference, &more).json();
    let outcome = place.run(["attest", &index]);
    let text = outcome.line();
    let statement: Value = serde_json::from_str(text).unwrap();
    fs::write(place.path("statement.json"), text).unwrap();
    json_schema::validate(SCHEMA.as_ref(), &[place.path("statement.json")]).unwrap();
    // Sorted members, no blanks.
    assert_eq!(serde_json::to_string(&statement).unwrap(), text);
    assert!(text.starts_with(
        r#"{"_type":"https://in-toto.io/Statement/v1","predicate":{"buildDefinition""#
    ));

    let artifact = Path::new(pulled["path"].as_str().unwrap());
    let subject = &statement["subject"][0];
    assert_eq!(subject["digest"]["sha256"], sha256sum(artifact));
    assert_eq!(
        subject["name"],
        artifact.file_name().unwrap().to_str().unwrap()
    );
    let verity = &pulled["record"]["verity"];
    assert_eq!(subject["annotations"]["dm-verity-root"], verity["root"]);

    for (name, digest) in [("image", &index), ("manifest", &manifest)] {
        assert_eq!(
            dependency(&statement, name)["digest"],
            json!({ "sha256": hex(digest) })
        );
    }
    // Artifacts of format 2 do not hold the config.
    let config = json!({ "sha256": hex(&config) });
    let expected = (hpcc_rootfs::FORMAT > 2).then_some(&config);
    assert_eq!(
        find(&statement, "config").map(|found| &found["digest"]),
        expected
    );
    for (number, layer) in layers().iter().enumerate() {
        let found = dependency(&statement, &format!("layer {}", number + 1));
        assert_eq!(found["digest"]["sha256"], hex(&layer.blob_digest()));
        assert_eq!(found["annotations"]["diffId"], layer.diff_id());
    }
    let agent = dependency(&statement, "/.hpcc/agent");
    assert_eq!(agent["digest"]["sha256"], sha256sum(&place.agent()));
    let token = dependency(&statement, "/.hpcc/secrets/token");
    assert_eq!(token["digest"]["sha256"], sha256sum(&place.path("token")));
    assert_eq!(token["annotations"]["mode"], "400");

    let definition = &statement["predicate"]["buildDefinition"];
    let key = &pulled["record"]["key"];
    let parameters = json!({
        "image": index,
        "platform": key["platform"],
        "compressor": key["compressor"],
        "block_size": key["block_size"],
        "tails": key["tails"],
        "time": key["time"],
        "verity": true,
    });
    for (name, value) in parameters.as_object().unwrap() {
        assert_eq!(definition["externalParameters"][name], *value, "{name}");
    }
    assert_eq!(definition["internalParameters"]["format"], key["format"]);
    let byproduct = &statement["predicate"]["runDetails"]["byproducts"][0];
    assert_eq!(byproduct["digest"]["sha256"], verity["root"]);
    assert_eq!(byproduct["annotations"]["salt"], verity["salt"]);
}

#[test]
fn same_artifact_gives_the_same_statement_everywhere() {
    let (_registry, reference, [index, ..]) = serve();
    let (one, two) = (Place::new(), Place::new());
    one.pull(&reference, &[]);
    two.pull(&reference, &["--threads", "1"]);
    let statement = one.run(["attest", &index]).line().to_owned();
    assert_eq!(two.run(["attest", &index, "--json"]).line(), statement);
    // Neither name, place, times nor what the store remembers have a say.
    let artifact = fs::read_dir(two.cache())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let artifact = artifact
        .into_iter()
        .find(|path| path.extension().is_some())
        .unwrap();
    fs::copy(artifact, two.path("a copy")).unwrap();
    fs::remove_dir_all(two.cache()).unwrap();
    let copied = cli::outcome(
        two.command(cli::program())
            .args(["attest", "a copy"])
            .env("SOURCE_DATE_EPOCH", "1"),
    );
    assert_eq!(copied.line(), statement);
    // Without a hash tree there is none to state.
    let statement: Value = serde_json::from_str(&statement).unwrap();
    assert_eq!(
        statement["predicate"]["runDetails"]["byproducts"],
        json!([])
    );
    assert!(
        statement["subject"][0]["annotations"]
            .get("dm-verity-root")
            .is_none()
    );
    let definition = &statement["predicate"]["buildDefinition"];
    assert!(definition["externalParameters"].get("verity").is_none());
}

#[test]
fn nothing_is_stated_about_a_damaged_artifact() {
    let (_registry, reference, [index, ..]) = serve();
    let place = Place::new();
    let path = place.pull(&reference, &["--verity"]).line().to_owned();
    let length = place.run(["inspect", &index, "--json"]).json()["record"]["image_length"]
        .as_u64()
        .unwrap();
    for (offset, part) in [(150, "data"), (length + 600, "verity superblock")] {
        let file = fs::File::options()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[!byte[0]], offset).unwrap();
        let outcome = place.run(["attest", &index]);
        assert_eq!(outcome.status, Some(1));
        assert_eq!(outcome.stdout, "");
        assert!(outcome.stderr.contains(part), "{outcome:#?}");
        file.write_all_at(&byte, offset).unwrap();
    }
    fs::write(place.path("other"), "no artifact").unwrap();
    let outcome = place.run(["attest", "other"]);
    assert_eq!(outcome.status, Some(1));
    assert_eq!(place.run(["attest", &index]).status, Some(0));
}

/// Returns the fenced block of the page that begins with this line.
fn recipe(start: &str) -> &'static str {
    let blocks = PAGE.split("```sh\n").skip(1);
    let mut blocks = blocks.map(|block| block.split("```").next().unwrap());
    blocks.find(|block| block.starts_with(start)).unwrap()
}

#[test]
fn recipe_with_openssl_accepts_the_signed_artifact_alone() {
    let (_registry, reference, [index, ..]) = serve();
    let place = Place::new();
    let path = place.pull(&reference, &[]).line().to_owned();
    let directory = cli::program().parent().unwrap().to_str().unwrap();
    let search = format!("{directory}:{}", std::env::var("PATH").unwrap());
    let run = |script: &str, artifact: &str| {
        let mut command = place.command("sh");
        command
            .args(["-uc", script])
            .env("PATH", &search)
            .env("ARTIFACT", artifact);
        cli::outcome(&mut command)
    };
    let signed = run(recipe("openssl genpkey"), &path);
    assert_eq!(signed.status, Some(0), "{signed:#?}");
    let verify = recipe("type=application/vnd.in-toto+json\nhpcc-rootfs attest");
    assert_eq!(run(verify, &path).status, Some(0));
    let envelope: Value =
        serde_json::from_slice(&fs::read(place.path("statement.dsse.json")).unwrap()).unwrap();
    assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
    // Not all readers take it for optional (secure-systems-lab/securesystemslib 416, in-toto/archivista 321).
    let key =
        "openssl pkey -pubin -in public.pem -outform DER | openssl dgst -sha256 -r | cut -c-64";
    let key = run(key, &path).stdout;
    assert_eq!(envelope["signatures"][0]["keyid"], key.trim_end());
    let decode = "cut -d'\"' -f8 statement.dsse.json | openssl base64 -d -A";
    let payload = run(decode, &path).stdout;
    assert_eq!(payload, place.run(["attest", &index]).stdout);
    // Another artifact, with files of its own beside the signature: nothing of them may stand for the signed ones.
    let other = place.pull(&reference, &["--verity"]).line().to_owned();
    let theirs = "hpcc-rootfs attest \"$ARTIFACT\" | tee statement.json expected.json > signed";
    assert_eq!(run(theirs, &other).status, Some(0));
    assert_ne!(run(verify, &other).status, Some(0));
    let payload = place.run(["attest", &other]).stdout;
    let encode = format!("printf %s '{payload}' | openssl base64 -A");
    let payload = run(&encode, &other).stdout;
    let forged = json!({"payloadType": envelope["payloadType"], "payload": payload, "signatures": envelope["signatures"]});
    fs::write(place.path("statement.dsse.json"), forged.to_string()).unwrap();
    assert_ne!(run(verify, &other).status, Some(0));
    // A damaged artifact is stated nothing about, so nothing is verified.
    fs::write(place.path("damaged"), "no artifact").unwrap();
    assert_ne!(run(verify, "damaged").status, Some(0));
}
