//! `/.hpcc/image.json`, as a guest finds it, against its schema.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use test_support::image::{Flavour, Image, Layer, Store};
use test_support::oracle::{json_schema, unsquashfs};
use test_support::registry::Registry;

use crate::cli::Place;

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/image.schema.json");

/// The digest of an image, and its description, which is left in `image.json` of the place.
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
    });
    assert_eq!(description["config"], config);
}

#[test]
fn whatever_an_image_leaves_out_its_description_is_as_the_schema_says() {
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
