//! `/.hpcc/image.json`, as a guest finds it, against its schema.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use test_support::image::{Flavour, Image, Layer, Store};
use test_support::oracle::{json_schema, unsquashfs};
use test_support::registry::Registry;

use crate::cli::Place;

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/image.schema.json");

/// Returns the digest of an image, and its description, which is left in `image.json` of the place.
fn described(place: &Place, image: &Image) -> (String, Value) {
    let mut store = Store::new();
    let image = image.add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let artifact = place.pull(&format!("{}/image:latest", registry.addr()), &[]);
    let json = unsquashfs::cat(Path::new(artifact.line()), ".hpcc/image.json").unwrap();
    fs::write(place.path("image.json"), &json).unwrap();
    (image.digest, serde_json::from_slice(&json).unwrap())
}

fn layer() -> Layer {
    Layer::new().file("etc/hostname", "guest\n")
}

#[test]
fn platforms_of_images_are_as_the_schema_says() {
    let place = Place::new();
    for (architecture, variant) in [
        ("amd64", ""),
        ("arm64", "v8-a"),
        ("arm64", "v9.2"),
        ("loong-arch", ""),
        ("x.y", "_z"),
        (&"a".repeat(64), &"b".repeat(64)),
    ] {
        let image = Image::new().layer(layer()).edit_config(|config| {
            config["architecture"] = json!(architecture);
            config["variant"] = json!(variant);
        });
        let mut store = Store::new();
        let image = image.add_to(&mut store);
        store.tag("v1", &image);
        let layout = place.path(&format!("layout-{architecture:.9}-{variant:.9}"));
        store.write_layout(&layout).unwrap();
        let platform = ["linux", architecture, variant].join("/");
        let source = format!("oci:{}:v1", layout.display());
        let build = ["build", &source, "--no-agent", "-o", "out"];
        let build = [&build[..], &["--platform", platform.trim_end_matches('/')]].concat();
        let built = place.run(build);
        assert_eq!(built.status, Some(0), "{built:#?}");
        let json = unsquashfs::cat(&place.path("out"), ".hpcc/image.json").unwrap();
        fs::write(place.path("image.json"), &json).unwrap();
        json_schema::validate(SCHEMA.as_ref(), &[place.path("image.json")]).unwrap();
    }
}

#[test]
fn an_image_is_described_as_its_author_meant_it() {
    let place = Place::new();
    let image = Image::new()
        .layer(layer())
        .layer(Layer::new().whiteout("etc/hostname"))
        .env("GREETING=hello")
        .entrypoint(&["/bin/build", "-x"])
        .cmd(&["all"])
        .edit_config(|config| {
            config["config"]["User"] = json!("1000:staff");
            config["config"]["WorkingDir"] = json!("/src");
            config["config"]["Labels"] = json!({ "a": "1", "b\"\n": "" });
            config["config"]["StopSignal"] = json!("SIGQUIT");
            config["config"]["Volumes"] = json!({ "/b": {}, "/a": {} });
            config["config"]["ExposedPorts"] = json!({ "80/tcp": {} });
            config["config"]["Healthcheck"] = json!({ "Test": ["CMD", "x"], "Retries": 3 });
            config["created"] = json!("2024-01-02T03:04:05Z");
        });
    let (digest, description) = described(&place, &image);
    json_schema::validate(SCHEMA.as_ref(), &[place.path("image.json")]).unwrap();
    assert_eq!(description["version"], 1);
    assert_eq!(description["identity"], digest);
    assert_eq!(description["manifest"], digest);
    assert_eq!(description["platform"], "linux/amd64");
    assert_eq!(description["layers"][0]["diff_id"], layer().diff_id());
    let config = json!({
        "env": ["GREETING=hello"],
        "entrypoint": ["/bin/build", "-x"],
        "cmd": ["all"],
        "working_dir": "/src",
        "user": "1000:staff",
        "labels": { "a": "1", "b\"\n": "" },
        "stop_signal": "SIGQUIT",
        "volumes": ["/a", "/b"],
        "exposed_ports": ["80/tcp"],
        "healthcheck": {
            "test": ["CMD", "x"],
            "interval": 0,
            "timeout": 0,
            "start_period": 0,
            "start_interval": 0,
            "retries": 3,
        },
    });
    assert_eq!(description["config"], config);
    assert_eq!(description["created"], "2024-01-02T03:04:05Z");
}

#[test]
fn image_config_is_beside_its_description_byte_for_byte() {
    let mut store = Store::new();
    // A member that no reader here knows.
    let image = Image::new()
        .layer(layer())
        .edit_config(|config| config["config"]["ArgsEscaped"] = json!(true));
    let image = image.add_to(&mut store);
    store.tag("latest", &image);
    let bytes = |digest: &str| store.get(digest).unwrap().1.bytes().unwrap();
    let manifest: Value = serde_json::from_slice(&bytes(&image.digest)).unwrap();
    let expected = bytes(manifest["config"]["digest"].as_str().unwrap());
    let registry = Registry::serve(store).unwrap();
    let place = Place::new();
    let artifact = place.pull(&format!("{}/image:latest", registry.addr()), &[]);
    let found = unsquashfs::cat(Path::new(artifact.line()), ".hpcc/image-config.json").unwrap();
    assert!(found == expected);
}

#[test]
fn description_of_incomplete_image_is_as_the_schema_says() {
    let images = [
        Image::new().layer(layer()),
        Image::new(),
        Image::new().flavour(Flavour::Docker).layer(layer()),
        Image::new().layer(layer()).edit_config(|config| {
            config.as_object_mut().unwrap().remove("config");
        }),
        Image::new().layer(layer()).edit_config(|config| {
            config["config"] = json!({ "Env": null, "Cmd": null, "Labels": null, "User": "" });
        }),
    ];
    let places = images.map(|image| {
        let place = Place::new();
        described(&place, &image);
        place
    });
    let documents = places.each_ref().map(|place| place.path("image.json"));
    json_schema::validate(SCHEMA.as_ref(), &documents).unwrap();
}

// Runtimes indexed an empty list: containers/podman#29467, containers/podman#3539.
#[test]
fn healthcheck_without_a_command_has_an_empty_test() {
    let schema: Value = serde_json::from_slice(&fs::read(SCHEMA).unwrap()).unwrap();
    let at = "/properties/config/properties/healthcheck/properties/test/description";
    let says = schema.pointer(at).unwrap().as_str().unwrap();
    assert!(says.contains("Empty if the image leaves it out"), "{says}");
    for (check, interval) in [
        (json!({}), 0),
        (json!({ "Interval": 5 }), 5),
        (json!({ "Test": [] }), 0),
        (json!({ "Test": null }), 0),
    ] {
        let place = Place::new();
        let image = Image::new().layer(layer()).edit_config(|config| {
            config["config"]["Healthcheck"] = check.clone();
        });
        let (_, description) = described(&place, &image);
        json_schema::validate(SCHEMA.as_ref(), &[place.path("image.json")]).unwrap();
        let found = &description["config"]["healthcheck"];
        assert_eq!(found["test"], json!([]), "{check}");
        assert_eq!(found["interval"], interval, "{check}");
    }
}

#[test]
fn the_schema_tells_right_from_wrong() {
    let place = Place::new();
    let (_, good) = described(&place, &Image::new().layer(layer()));
    let layer = json!({ "digest": good["layers"][0]["digest"] });
    let wrong = [
        ("/version", json!(2)),
        ("/identity", json!("sha256:abc")),
        ("/layers/0", layer),
        ("/config/env", json!("A=b")),
        ("/config/labels", json!({ "a": 1 })),
    ];
    let documents = [place.path("image.json")];
    for (at, value) in wrong {
        let mut bad = good.clone();
        *bad.pointer_mut(at).unwrap() = value;
        fs::write(&documents[0], bad.to_string()).unwrap();
        assert!(
            json_schema::validate(SCHEMA.as_ref(), &documents).is_err(),
            "{at}"
        );
    }
}
