//! The names of artifacts, and the commands that show and remove them by name.

use std::fs;

use serde_json::json;
use test_support::image::{Descriptor, Image, Layer, Store};
use test_support::registry::Registry;

use crate::cli::{Outcome, Place, outcome, program};

/// Returns a registry with the tags `a` and `b`, which share their first layer, and their images.
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

/// A process without descriptors opens no note (jsdoc2md/jsdoc-api#17).
#[test]
fn tag_never_goes_back_where_no_file_can_be_opened() {
    let (registry, [a, b]) = serve();
    let place = Place::new();
    let reference = format!("{}/image:moving", registry.addr());
    for image in [&a, &b] {
        registry.retag("moving", image);
        place.pull(&reference, &["--quiet"]).line();
    }
    let limited = |descriptors: u32, arguments: &[&str]| {
        let script = format!("ulimit -n {descriptors}; exec \"$@\"");
        let mut command = place.command("sh");
        command.args(["-c", &script, "sh"]).arg(program());
        outcome(command.args(arguments))
    };
    let (older, newer) = (&a.digest[7..], &b.digest[7..]);
    let mut found = 0;
    for descriptors in 4..=24 {
        for command in ["path", "rm"] {
            let outcome = limited(descriptors, &[command, &reference]);
            assert!(
                !outcome.stdout.contains(older),
                "{descriptors}: {outcome:#?}"
            );
            found += u32::from(outcome.stdout.contains(newer));
        }
    }
    assert!(found > 0, "no limit sufficed");
    // The artifact that it means is gone, and its note stays whatever a collection could open.
    for descriptors in 4..=24 {
        limited(descriptors, &["gc"]);
    }
    failed(&place.run(["path", &reference]), 1, &b.digest);
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
fn tag_that_cannot_be_noted_is_a_warning_or_forgotten() {
    if !test_support::oracle::may_be_root("mounting a store") {
        return;
    }
    let place = Place::new();
    let write = |tags: [(&str, &str); 2]| {
        let mut store = Store::new();
        for (tag, file) in tags {
            let layer = Layer::new().file(file, file.repeat(5000));
            let image = Image::new().layer(layer).add_to(&mut store);
            store.tag(tag, &image);
        }
        drop(fs::remove_dir_all(place.path("layout")));
        store.write_layout(&place.path("layout")).unwrap();
    };
    let script = |mounts: &str, script: &str| {
        let mut command = place.command("unshare");
        command
            .args(["--mount", "sh", "-c"])
            .arg(format!("{mounts} && {script}"))
            .arg(program());
        outcome(&mut command)
    };
    let (moved, other) = ("oci:layout:moved", "oci:layout:other");
    write([("moved", "a"), ("other", "b")]);
    let pull = |reference| {
        let pulled = place.run(["pull", reference, "--no-agent"]);
        pulled.line().to_owned()
    };
    let paths = [moved, other].map(pull);
    write([("moved", "b"), ("other", "b")]);
    let read_only = "mount --bind cache cache && mount -o remount,ro,bind cache";
    let pulled = script(read_only, &format!("\"$0\" pull {moved} --no-agent"));
    assert_eq!(pulled.line(), paths[1]);
    let warning = "warning: cannot note that";
    assert!(pulled.stderr.contains(warning), "{pulled:#?}");
    assert!(pulled.stderr.contains("still stands for"), "{pulled:#?}");
    let same = script(read_only, &format!("\"$0\" pull {other} --no-agent"));
    assert!(!same.stderr.contains(warning), "{same:#?}");
    // A full disk takes no note, and gives back the space of the older one.
    let full = "mkdir full && mount -t tmpfs -o size=1M,mode=700 none full && cp -p cache/.note-* cache/*.sqsh full && \
                (cat /dev/zero > full/fill 2> /dev/null; true)";
    let run = |command: &str| format!("\"$0\" {command} --cache-dir full");
    let pulled = script(
        full,
        &format!(
            "{}; {}",
            run(&format!("pull {moved} --no-agent --min-free 0")),
            run(&format!("path {moved}"))
        ),
    );
    let is_new = |path: &str| paths[1].ends_with(path.rsplit('/').next().unwrap());
    // Unless there was space for the note all the same.
    assert!(pulled.stdout.lines().all(is_new), "{pulled:#?}");
}

/// Escaped and redacted, both are one text (containers/image#294, opencontainers/umoci#265).
#[test]
fn sources_that_look_alike_keep_their_own_artifacts() {
    let place = Place::new();
    let mut store = Store::new();
    let tags = ["v1", "https://h/a?v=1", "https://h/a?v=2"];
    for tag in tags {
        let layer = Layer::new().file("file", tag);
        let image = Image::new().layer(layer).add_to(&mut store);
        store.tag(tag, &image);
    }
    store.write_layout(&place.path("layout")).unwrap();
    for name in ["a\nz", "a\\nz"] {
        let mut store = Store::new();
        let layer = Layer::new().file("file", name);
        let image = Image::new().layer(layer).add_to(&mut store);
        store.tag("v1", &image);
        store.write_layout(&place.path(name)).unwrap();
    }
    let references = [
        "oci:a\nz:v1".to_owned(),
        "oci:a\\nz:v1".to_owned(),
        format!("oci:layout:{}", tags[1]),
        format!("oci:layout:{}", tags[2]),
    ];
    let pull = |reference: &String| place.run(["pull", reference, "--no-agent", "--quiet"]);
    let paths: Vec<_> = references
        .iter()
        .map(|reference| pull(reference).line().to_owned())
        .collect();
    for (reference, path) in references.iter().zip(&paths) {
        assert_eq!(place.run(["path", reference]).line(), path, "{reference:?}");
    }
    // What is printed of them is safe.
    for arguments in [&["list"][..], &["list", "--json"], &["df", "--json"]] {
        let printed = place.run(arguments).stdout;
        assert!(printed.contains("https://h/a?***"), "{printed}");
        assert!(!printed.contains("?v="), "{printed}");
    }
    for (reference, path) in references.iter().zip(&paths) {
        assert_eq!(
            place.run(["rm", reference]).status,
            Some(0),
            "{reference:?}"
        );
        assert!(!fs::exists(path).unwrap(), "{reference:?}");
    }
}

/// A colon in the working directory's name begins no tag.
#[test]
fn directory_with_a_colon_is_not_a_tag() {
    let place = Place::new();
    for name in ["a", "a:b/layout"] {
        let mut store = Store::new();
        for tag in ["v1", "b/layout:v1"] {
            let layer = Layer::new().file("file", format!("{name} {tag}"));
            let image = Image::new().layer(layer).add_to(&mut store);
            store.tag(tag, &image);
        }
        fs::create_dir_all(place.path(name)).unwrap();
        store.write_layout(&place.path(name)).unwrap();
    }
    let run = |directory: &str, arguments: &[&str]| {
        let mut command = place.command(program());
        outcome(command.args(arguments).current_dir(place.path(directory)))
    };
    let cases = [("a:b", "oci:layout:v1"), ("", "oci:a:b/layout:v1")];
    let pull = |(directory, reference)| {
        run(directory, &["pull", reference, "--no-agent"])
            .line()
            .to_owned()
    };
    let paths = cases.map(pull);
    assert_ne!(paths[0], paths[1]);
    for ((directory, reference), path) in cases.iter().zip(&paths) {
        assert_eq!(run(directory, &["path", reference]).line(), path);
    }
}
