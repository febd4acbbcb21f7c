//! The commands that show what the store holds, and that make room in it.

use std::fs;

use serde_json::{Value, json};
use test_support::image::{Image, Layer, Store};
use test_support::registry::Registry;

use crate::cli::Place;
use crate::names::{failed, serve};
use crate::reuse::{self, app, base};

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
fn command_that_has_nothing_to_show_says_so() {
    let place = Place::new();
    for command in ["list", "df", "verify"] {
        let said = place.run([command]);
        assert_eq!(
            (said.status, said.stdout.as_str()),
            (Some(0), ""),
            "{said:#?}"
        );
        assert!(said.stderr.ends_with(" is empty\n"), "{said:#?}");
        let quiet = place.run([command, "--quiet"]);
        assert_eq!(quiet.stderr, "", "{quiet:#?}");
    }
    // A condition that no artifact can meet is a slip. podman#19966
    for wrong in ["digest=ABCDEF", "digest=latest", "agent=any"] {
        failed(&place.run(["list", "--filter", wrong]), 2, "expected ");
    }
}

#[test]
fn gc_dry_run_removes_nothing_and_says_what_gc_does() {
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

/// docker/cli#1751, moby/moby#52476: SHARED said more than a pull saves.
#[test]
fn df_shares_what_a_later_pull_does_not_fetch() {
    let (base, [one, two]) = (base(), [app(1), app(2)]);
    let hides = Layer::new().whiteout("usr/lib/3");
    let served = reuse::serve(&[&[&base, &one], &[&base, &two], &[&base, &hides]]);
    for (second, more, is_shared) in [
        (1, &[][..], true),
        (1, &["--compressor", "gzip"], false),
        (1, &["--block-size", "4K"], false),
        (2, &[], false),
    ] {
        let place = Place::new();
        served.pull(&place, 0, &[]);
        served.pull(&place, second, more);
        let usage = place.run(["df", "--json"]).json();
        let mut artifacts = usage["artifacts"].as_array().unwrap().iter();
        let first = artifacts.find(|artifact| artifact["digest"] == served.digests[0]);
        let shared = first.unwrap()["layers"]["shared"].as_u64();
        assert_eq!(shared > Some(0), is_shared, "{second} {more:?}: {usage}");
        assert_eq!(place.run(["rm", &served.digests[0]]).status, Some(0));
        served.registry.clear_requests();
        served.pull(&place, 0, &[]);
        let fetched = served.fetched(0);
        assert_eq!(
            fetched.contains(&0),
            !is_shared,
            "{second} {more:?}: {fetched:?}"
        );
    }
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
