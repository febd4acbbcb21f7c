//! The names of artifacts, and the commands that show and remove them by name.

use std::fs;

use serde_json::{Value, json};
use test_support::image::{Descriptor, Image, Layer, Store};
use test_support::registry::Registry;

use crate::cli::{Outcome, Place};

/// A registry with the tags `a` and `b`, which share their first layer, and their images.
pub(crate) fn serve() -> (Registry, [Descriptor; 2]) {
    let mut store = Store::new();
    let base = Layer::new().dir("etc").file("etc/hostname", "guest\n");
    let images = ["a", "b"].map(|tag| {
        let own = Layer::new().file(tag, tag.repeat(5000));
        let image = Image::new().layer(base.clone()).layer(own);
        let image = image.env("GREETING=hello").add_to(&mut store);
        store.tag(tag, &image);
        image
    });
    (Registry::serve(store).unwrap(), images)
}

pub(crate) fn failed(outcome: &Outcome, status: i32, says: &str) {
    assert_eq!(outcome.status, Some(status), "{outcome:#?}");
    assert!(outcome.stderr.contains(says), "{says}: {outcome:#?}");
    if status == 1 {
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
    }
}

/// Puts a file into the store whose name begins as that of `digest` for `same` digits.
pub(crate) fn twin(place: &Place, digest: &str, same: usize) -> String {
    let hex = digest.strip_prefix("sha256:").unwrap();
    let other = if hex.as_bytes()[same] == b'0' {
        '1'
    } else {
        '0'
    };
    let twin = format!("{}{other:0<1$}", &hex[..same], 64 - same);
    fs::write(place.cache().join(format!("sha256-{twin}.sqsh")), "").unwrap();
    format!("sha256:{twin}")
}

#[test]
fn every_command_takes_digest_prefix_reference_and_path() {
    let (registry, [a, b]) = serve();
    let place = Place::new();
    let reference = |tag: &str| format!("{}/image:{tag}", registry.addr());
    let paths = ["a", "b"].map(|tag| place.pull(&reference(tag), &[]).line().to_owned());
    let hex = a.digest.strip_prefix("sha256:").unwrap();
    let full = format!("docker://{}", reference("a"));
    let names = [
        a.digest.as_str(),
        &a.digest[..13],
        &hex[..6],
        hex,
        &reference("a"),
        &full,
        &format!("{}/image@{}", registry.addr(), a.digest),
        paths[0].as_str(),
    ];
    for name in names {
        assert_eq!(place.run(["path", name]).line(), paths[0], "{name}");
        let inspected = place.run(["inspect", name, "--json"]).json();
        assert_eq!(inspected["record"]["key"]["identity"], a.digest, "{name}");
        let verified = place.run(["verify", name, "--json"]).json();
        assert_eq!(verified[0]["sound"], true, "{name}");
    }
    for name in names {
        let removed = place.run(["rm", name, "--json"]).json();
        assert_eq!(removed, json!([{ "digest": a.digest, "removed": true }]));
        assert_eq!(place.cached().len(), 1, "{name}");
        place.pull(&reference("a"), &["--quiet"]).line();
    }
    assert_eq!(place.run(["untag", &reference("b")]).status, Some(0));
    // Nothing is removed if one of the names is wrong.
    let gone = place.run(["rm", &b.digest, hex]);
    failed(&gone, 1, "is not in the store");
    assert_eq!(place.cached().len(), 1);
    let removed = place.run(["rm", hex, &a.digest, "--json"]).json();
    assert_eq!(removed, json!([{ "digest": a.digest, "removed": true }]));
    assert_eq!(place.cached(), [""; 0]);
}

#[test]
fn ambiguous_and_unknown_names_remove_nothing() {
    let (registry, [a, b]) = serve();
    let place = Place::new();
    let reference = format!("{}/image:a", registry.addr());
    place.pull(&reference, &[]).line();
    let twin = twin(&place, &a.digest, 8);
    let before = place.cached();
    for name in [&a.digest[..13], &a.digest[7..15]] {
        for command in ["path", "inspect", "verify", "rm", "untag"] {
            let outcome = place.run([command, name]);
            failed(&outcome, 1, "is the name of 2 artifacts");
            for candidate in [&a.digest, &twin, &reference] {
                assert!(outcome.stderr.contains(candidate), "{outcome:#?}");
            }
        }
    }
    assert_eq!(place.run(["path", &a.digest[..16]]).status, Some(0));
    for (name, status, says) in [
        ("sha256:abc12", 2, "at least 6"),
        ("sha256:ABCDEF", 2, "digits 0 to 9 and a to f"),
        (&a.digest[..70], 0, ""),
        (&b.digest[..20], 1, "is not in the store"),
        ("debian:12", 1, "is not in the store"),
        ("", 2, "found an empty name"),
    ] {
        let outcome = place.run(["inspect", name]);
        match status {
            0 => assert_eq!(outcome.status, Some(0), "{outcome:#?}"),
            _ => failed(&outcome, status, says),
        }
    }
    let outcome = place.run(["rm", &a.digest, "debian:12"]);
    failed(&outcome, 1, "debian:12 is not in the store");
    let outcome = place.run(["rm", "./elsewhere.sqsh"]);
    failed(&outcome, 1, "./elsewhere.sqsh is not in the store");
    assert_eq!(place.cached(), before);
}

#[test]
fn name_of_a_file_and_of_an_artifact_is_ambiguous() {
    let (registry, [a, _]) = serve();
    let place = Place::new();
    let path = place.pull(&format!("{}/image:a", registry.addr()), &[]);
    let prefix = &a.digest[7..15];
    fs::copy(path.line(), place.path(prefix)).unwrap();
    failed(
        &place.run(["inspect", prefix]),
        1,
        &format!("write ./{prefix} for the file"),
    );
    let inspected = place.run(["inspect", &format!("./{prefix}"), "--json"]);
    assert_eq!(
        inspected.json()["path"],
        place.path(prefix).to_str().unwrap()
    );
}

#[test]
fn tag_offline_is_what_it_was_pulled_to_last() {
    let (registry, [a, b]) = serve();
    let place = Place::new();
    let reference = format!("{}/image:moving", registry.addr());
    let offline = |reference: &str| place.pull(reference, &["--offline", "--quiet"]);
    let none = offline(&reference);
    failed(
        &none,
        1,
        "no artifact in the store was pulled by this reference",
    );
    for image in [&a, &b, &a] {
        registry.retag("moving", image);
        let path = place.pull(&reference, &["--quiet"]).line().to_owned();
        registry.clear_requests();
        assert_eq!(offline(&reference).line(), path);
        assert_eq!(place.run(["path", &reference]).line(), path);
        assert!(registry.requests().is_empty());
    }
    let listed = place.run(["list", "--json"]).json();
    for artifact in listed.as_array().unwrap() {
        let full = format!("docker://{reference}");
        assert_eq!(artifact["references"], json!([full]));
    }
    drop(registry);
    // Another agent needs no layer that the store does not hold.
    fs::write(place.agent(), "#!/another agent\n").unwrap();
    assert!(offline(&reference).line().contains(&a.digest[7..]));
    let outcome = place.pull(
        &reference,
        &["--offline", "--no-reuse", "--block-size", "4K"],
    );
    assert_eq!(outcome.status, Some(1), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("pull it without --offline"),
        "{outcome:#?}"
    );
}

#[test]
fn tag_never_goes_back_to_an_older_image() {
    let (registry, [a, b]) = serve();
    let place = Place::new();
    let reference = format!("{}/image:moving", registry.addr());
    let notes = || {
        let names = fs::read_dir(place.cache()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".note-")).count()
    };
    type Way<'a> = (&'a str, &'a dyn Fn(&str));
    let ways: [Way<'_>; 4] = [
        ("rm", &|path| {
            assert_eq!(place.run(["rm", &reference]).status, Some(0));
            assert!(!fs::exists(path).unwrap());
        }),
        ("untag", &|path| {
            assert_eq!(place.run(["untag", path]).status, Some(0));
        }),
        ("verify", &|path| {
            let damaged = fs::File::options().write(true).open(path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&damaged, b"damage", 4000).unwrap();
            assert_eq!(place.run(["verify", &reference]).status, Some(1));
        }),
        ("gc", &|path| {
            // The older one is leased.
            let lease = format!(".lease-{}", a.digest.replace(':', "-"));
            let lease = fs::File::open(place.cache().join(lease)).unwrap();
            rustix::fs::flock(&lease, rustix::fs::FlockOperation::LockShared).unwrap();
            let collected = place.run(["gc", "--max-size", "0", "--json"]).json();
            assert_eq!(collected["removed"][0]["digest"], b.digest);
            assert!(!fs::exists(path).unwrap());
        }),
    ];
    for (way, remove) in ways {
        for image in [&a, &b] {
            registry.retag("moving", image);
            place.pull(&reference, &["--quiet"]).line();
        }
        remove(place.run(["path", &reference]).line());
        // Neither another pull nor a collection makes it forget.
        place
            .pull(&format!("{}/image:a", registry.addr()), &["--quiet"])
            .line();
        assert_eq!(place.run(["gc"]).status, Some(0), "{way}");
        for command in ["path", "inspect", "verify", "rm", "untag", "boot-args"] {
            let outcome = place.run([command, &reference]);
            failed(&outcome, 1, "is not in the store");
            assert!(outcome.stderr.contains(&b.digest), "{way}: {outcome:#?}");
        }
        let outcome = place.pull(&reference, &["--offline", "--quiet"]);
        failed(&outcome, 1, &b.digest);
        assert_eq!(place.cached().len(), 1, "{way}");
        assert_eq!(notes(), 2, "{way}");
    }
    // The note goes with the last artifact that has the reference.
    assert_eq!(place.run(["rm", &a.digest]).status, Some(0));
    assert_eq!(place.run(["gc"]).status, Some(0));
    assert_eq!(notes(), 0);
    failed(&place.run(["path", &reference]), 1, "is not in the store");
}

#[test]
fn several_images_are_pulled_although_one_fails() {
    let (registry, [a, b]) = serve();
    let place = Place::new();
    let [first, missing, last] =
        ["a", "missing", "b"].map(|tag| format!("{}/image:{tag}", registry.addr()));
    let path = |digest: &str| {
        place
            .cache()
            .join(format!("{}.sqsh", digest.replace(':', "-")))
    };
    let outcome = place.pull(&first, &[&missing, &last, "--quiet"]);
    assert_eq!(outcome.status, Some(1), "{outcome:#?}");
    let expected = [&a, &b].map(|image| format!("{}\n", path(&image.digest).display()));
    assert_eq!(outcome.stdout, expected.concat());
    assert!(
        outcome.stderr.contains("1 of 3 images could not be pulled"),
        "{outcome:#?}"
    );

    let pulled = place.pull(&first, &[&last, "--json"]).json();
    assert_eq!(pulled[0]["digest"], a.digest);
    assert_eq!(pulled[1]["digest"], b.digest);
    let pinned = place.pull(&first, &[&last, "--digest", &a.digest]);
    failed(&pinned, 2, "--digest is for one image");
}

#[test]
fn list_has_a_header_and_sorts_and_filters() {
    let (registry, [a, b]) = serve();
    let place = Place::new();
    let empty = place.run(["list"]);
    assert_eq!((empty.status, empty.stdout.as_str()), (Some(0), ""));
    let said = format!("the store at {} is empty\n", place.cache().display());
    assert_eq!(empty.stderr, said);
    assert_eq!(place.run(["list", "--quiet"]).stderr, "");

    for tag in ["a", "b"] {
        place
            .pull(&format!("{}/image:{tag}", registry.addr()), &[])
            .line();
    }
    fs::write(
        place.cache().join(format!("sha256-{:064}.sqsh", 7)),
        "not one",
    )
    .unwrap();
    let listed = place.run(["list"]).stdout;
    let lines: Vec<_> = listed.lines().collect();
    let columns: Vec<_> = lines[0].split_whitespace().collect();
    let expected = [
        "DIGEST", "SIZE", "BUILT", "USED", "PLATFORM", "AGENT", "SOURCE",
    ];
    assert_eq!(columns, expected);
    assert!(
        lines[1].starts_with(&format!("sha256:{:064}", 7)),
        "{listed}"
    );
    assert!(lines[1].contains("unusable: "), "{listed}");
    assert_eq!(lines.len(), 4);
    assert_eq!(place.run(["list", "--no-header"]).stdout.lines().count(), 3);

    let digests = |more: &[&str]| -> Vec<String> {
        let listed = place.run(["list", "--json"].iter().chain(more)).json();
        let digest = |artifact: &Value| artifact["digest"].as_str().unwrap().to_owned();
        listed.as_array().unwrap().iter().map(digest).collect()
    };
    let both = vec![a.digest.clone(), b.digest.clone()];
    let usable = ["--filter", "status=usable"];
    assert_eq!(
        digests(&[&usable[..], &["--sort", "source"]].concat()),
        both
    );
    let reversed: Vec<_> = both.iter().rev().cloned().collect();
    let reverse = ["--sort", "source", "--reverse"];
    assert_eq!(digests(&[&usable[..], &reverse].concat()), reversed);
    assert_eq!(digests(&["--filter", "source=*:b"]), [b.digest.as_str()]);
    assert_eq!(digests(&["--filter", "larger=1K"]).len(), 2);
    assert_eq!(digests(&["--filter", "unused=1h"]), [""; 0]);
    assert_eq!(digests(&["--filter", "platform=linux/s390x"]), [""; 0]);
    for wrong in [["--filter", "size=1"], ["--sort", "name"]] {
        assert_eq!(place.run(["list"].iter().chain(&wrong)).status, Some(2));
    }
}

#[test]
fn dry_run_of_gc_removes_nothing_and_says_what_gc_then_does() {
    let (registry, [a, _]) = serve();
    let place = Place::new();
    for tag in ["a", "b"] {
        place
            .pull(&format!("{}/image:{tag}", registry.addr()), &[])
            .line();
    }
    fs::write(place.cache().join(".staged-1-1"), "left").unwrap();
    let names = || {
        let mut names: Vec<_> = fs::read_dir(place.cache())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let lease = format!(".lease-{}", a.digest.replace(':', "-"));
    let leased = fs::File::open(place.cache().join(lease)).unwrap();
    leased.lock_shared().unwrap();
    let before = names();
    let arguments = ["gc", "--max-size", "0", "--max-age", "1w"];
    let collect = |more: &[&str]| place.run(arguments.iter().chain(more));
    let text = collect(&["--dry-run"]);
    assert!(
        text.stdout.contains("would remove 1 artifact, "),
        "{text:#?}"
    );
    assert!(text.stdout.contains("1 artifact in use"), "{text:#?}");
    let mut dry = collect(&["--dry-run", "--json"]).json();
    assert_eq!(names(), before);
    let really = collect(&["--json"]).json();
    assert_eq!(
        (&dry["dry_run"], &really["dry_run"]),
        (&json!(true), &json!(false))
    );
    dry["dry_run"] = json!(false);
    assert_eq!(dry, really);
    assert_eq!(really["leftovers"], 5, "{really}");
    assert_eq!(really["pinned"], json!([a.digest]));
    assert_eq!(place.cached().len(), 1);
    for wrong in ["1.5GB", "1h30", "-1"] {
        assert_eq!(
            place.run(["gc", "--max-age", wrong]).status,
            Some(2),
            "{wrong}"
        );
    }
}

#[test]
fn df_says_what_artifacts_take_and_share() {
    let (registry, images) = serve();
    let place = Place::new();
    assert!(place.run(["df"]).stderr.contains("is empty"));
    for tag in ["a", "b"] {
        place
            .pull(&format!("{}/image:{tag}", registry.addr()), &[])
            .line();
    }
    let usage = place.run(["df", "--json"]).json();
    let artifacts = usage["artifacts"].as_array().unwrap();
    assert_eq!(artifacts.len(), 2);
    for artifact in artifacts {
        let layers = &artifact["layers"];
        let (total, shared) = (layers["total"].as_u64().unwrap(), layers["shared"].as_u64());
        assert!(shared > Some(0) && shared < Some(total), "{artifact}");
        assert!(artifact["disk"].as_u64() > Some(0), "{artifact}");
        assert_eq!(artifact["links"], 1);
    }
    let text = place.run(["df"]).stdout;
    assert!(
        text.contains("SHARED") && text.contains("total artifacts "),
        "{text}"
    );
    place.run(["rm", &images[0].digest]);
    let usage = place.run(["df", "--json"]).json();
    assert_eq!(usage["artifacts"][0]["layers"]["shared"], 0);
}

/// Whitespace as one space, and what differs from run to run as `…`.
fn normal(text: &str, changing: &[&str]) -> String {
    let mut text = text.to_owned();
    for change in changing {
        text = text.replace(change, "…");
    }
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(|text| line(text) + "\n").collect()
}

#[test]
fn list_and_inspect_are_those_of_the_snapshot() {
    let mut store = Store::new();
    let image = Image::new()
        .layer(Layer::new().file("etc/hostname", "guest\n"))
        .env("GREETING=hello world")
        .entrypoint(&["/bin/sh", "-c"])
        .cmd(&["echo \u{1b}[31m"])
        .edit_config(|config| {
            config["config"]["User"] = json!("1000:staff");
            config["config"]["ExposedPorts"] = json!({ "80/tcp": {} });
        })
        .add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let place = Place::new();
    let reference = format!("{}/image:latest", registry.addr());
    let path = place.pull(&reference, &[]).line().to_owned();
    let host = registry.addr().to_string();
    let inspected = place.run(["inspect", &reference, "--json"]).json();
    let root = inspected["record"]["root"].as_str().unwrap();
    let agent = inspected["record"]["key"]["agent"].as_str().unwrap();
    let layer = &inspected["layers"][0];
    let size = layer["size"].as_u64().unwrap();
    assert_eq!(layer["layer"], 1);
    assert!(size > 0 && size < 1000, "{layer}");
    let layer = layer["digest"].as_str().unwrap();
    assert_eq!(inspected["image"]["layers"][0]["digest"], layer);
    let changing = [
        &path,
        &host,
        &image.digest,
        root,
        agent,
        &layer[..19],
        &agent[7..19],
    ];
    let text = place.run(["inspect", &reference]).stdout;
    let text = normal(&text, &changing).replace(&format!("… {size}B"), "… SIZE");
    let expected = [
        "path …",
        "identity …",
        "agent …",
        "compressor zstd 3",
        "root blake3:…",
        "verity none",
        "source …/image:latest",
        "entrypoint [\"/bin/sh\",\"-c\"]",
        "cmd [\"echo \\u001b[31m\"]",
        "user 1000:staff",
        "working dir -",
        "env GREETING=hello world",
        "layer 1 of 1 … SIZE",
        "superblock 96B",
    ];
    let mut lines = text.lines();
    for line in expected {
        assert!(lines.any(|found| found == line), "{line}: {text}");
    }
    assert!(text.contains(" files (zstd 3)\n"), "{text}");
    assert_eq!(inspected["source"], reference);
    assert_eq!(
        inspected["references"],
        json!([format!("docker://{reference}")])
    );
    assert_eq!(inspected["image"]["config"]["user"], "1000:staff");
    let contents = &inspected["contents"];
    let parts = contents["parts"].as_array().unwrap().iter();
    let bytes: u64 = parts.map(|part| part["bytes"].as_u64().unwrap()).sum();
    assert_eq!(bytes, inspected["record"]["image_length"]);
    // The agent, the description and the file of the layer, at least.
    assert!(contents["files"].as_u64() >= Some(3), "{contents}");

    let listed = normal(&place.run(["list"]).stdout, &changing);
    let row = listed.lines().nth(1).unwrap();
    assert_eq!(
        listed.lines().next(),
        Some("DIGEST SIZE BUILT USED PLATFORM AGENT SOURCE")
    );
    assert!(
        row.starts_with("… 8.0K ") || row.starts_with("… 12.0K "),
        "{listed}"
    );
    assert!(row.ends_with(" linux/amd64 … …/image:latest"), "{listed}");
}
