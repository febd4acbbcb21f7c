//! The library's calls and its example programs against Debian's registry, with skopeo and umoci as judges.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use ociget::{Client, CopyOptions, Reference, copy_to_layout};
use test_support::docker_registry::DockerRegistry;
use test_support::image::{Image, Index, Layer, Store};
use test_support::oracle::umoci;
use test_support::registry::Registry;
use test_support::skopeo::{self, Copy};

use crate::registry_pull::{noise, open, options};

/// Returns the example programs by name. Built on first use.
fn example(name: &str) -> &'static Path {
    static EXAMPLES: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let examples = EXAMPLES.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        // As part of the workspace they were built along with the tests, and nothing is left to do.
        build.args(["build", "--locked", "--quiet", "--workspace"]);
        for name in ["tags", "referrers", "copy_to_layout", "blob"] {
            build.args(["--example", name]);
        }
        let built = build
            .args(["--message-format", "json"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(built.status.success(), "the examples do not build");
        String::from_utf8(built.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter_map(|message| {
                let path = message["executable"].as_str()?;
                Some((message["target"]["name"].as_str()?.to_owned(), path.into()))
            })
            .collect()
    });
    &examples[name]
}

fn run(name: &str, arguments: &[&str], auth_file: Option<&Path>) -> Output {
    let mut command = Command::new(example(name));
    command
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent");
    if let Some(file) = auth_file {
        command.env("REGISTRY_AUTH_FILE", file);
    }
    command.output().unwrap()
}

#[track_caller]
fn lines(name: &str, arguments: &[&str], auth_file: Option<&Path>) -> Vec<String> {
    let output = run(name, arguments, auth_file);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// Returns an index of two images as `team/app:v1` in `registry`; returns its digest and that of a layer.
fn fill(registry: &DockerRegistry, login: Option<(&str, &str)>) -> (String, String) {
    let mut store = Store::new();
    let layer = |length| Layer::new().file("noise", noise(length));
    let amd = Image::new().platform("linux/amd64").layer(layer(200_000));
    let arm = Image::new().platform("linux/arm64").layer(layer(1000));
    let manifest = amd.add_to(&mut store);
    let index = Index::new().image(amd).image(arm).add_to(&mut store);
    store.tag("latest", &index);
    let (_, manifest) = store.get(&manifest.digest).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest.bytes().unwrap()).unwrap();
    let blob = manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
    let seed = Registry::serve(store).unwrap();
    let from = format!("docker://{}/seed:latest", seed.addr());
    for tag in ["v1", "v2", "v10"] {
        let to = format!("docker://{}/team/app:{tag}", registry.addr());
        let copy = Copy::new(&from, &to).all();
        let copy = match login {
            Some((user, password)) => copy.destination_user(user, password),
            None => copy,
        };
        copy.run().unwrap();
    }
    (index.digest, blob)
}

#[test]
fn real_registry_tags_are_listed_for_every_page_size() {
    let registry = DockerRegistry::start().unwrap();
    fill(&registry, None);
    let reference = format!("{}/team/app", registry.addr());
    let sorted = |mut tags: Vec<String>| {
        tags.sort();
        tags
    };
    // Debian's version sends them in no order, and all at once where others send pages.
    let expected = ["v1", "v10", "v2"];
    assert_eq!(sorted(lines("tags", &[&reference], None)), expected);
    let client = Client::new(options()).unwrap();
    let parsed: Reference = reference.parse().unwrap();
    for size in [0, 1, 2, 3, 4] {
        let tags = client.tags(&parsed).unwrap().page_size(size);
        assert_eq!(sorted(block_on(tags.all()).unwrap()), expected, "{size}");
    }
    let unknown = format!("{}/team/none", registry.addr());
    let output = run("tags", &[&unknown], None);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("NAME_UNKNOWN"));
}

#[test]
fn real_registry_referrers_are_those_under_the_referrers_tag() {
    // oras-project/rust-oci-client#259: the registry answers 404 for the API.
    let registry = DockerRegistry::start().unwrap();
    let (digest, _) = fill(&registry, None);
    let reference = format!("{}/team/app:v1", registry.addr());
    assert!(lines("referrers", &[&reference, &digest], None).is_empty());
    // An index is all that the tag schema needs; here it lists the images themselves.
    let tag = format!(
        "docker://{}/team/app:{}",
        registry.addr(),
        digest.replace(':', "-")
    );
    let mut store = Store::new();
    let signature = Image::new().layer(Layer::new().file("signature", "s"));
    let signature = signature.add_to(&mut store);
    let index = Index::new().member(signature.clone()).add_to(&mut store);
    store.tag("latest", &index);
    let seed = Registry::serve(store).unwrap();
    let from = format!("docker://{}/seed:latest", seed.addr());
    Copy::new(&from, &tag).all().run().unwrap();
    assert_eq!(
        lines("referrers", &[&reference, &digest], None),
        [signature.digest]
    );
    let other = [&*reference, &digest, "application/other"];
    assert!(lines("referrers", &other, None).is_empty());
}

#[test]
fn blob_of_a_real_registry_is_found_by_its_digest() {
    let registry = DockerRegistry::start_with_user("ada", "hunter2").unwrap();
    let (_, blob) = fill(&registry, Some(("ada", "hunter2")));
    let reference = format!("{}/team/app", registry.addr());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("auth.json");
    for (auth, code) in [("YWRhOmh1bnRlcjI=", 0), ("YWRhOndyb25n", 1)] {
        let config = format!(
            r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#,
            registry.addr()
        );
        fs::write(&file, config).unwrap();
        let output = run("blob", &[&reference, &blob], Some(&file));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(
            !errors.contains("hunter2") && !errors.contains(auth),
            "{errors}"
        );
        if code == 0 {
            assert_eq!(test_support::image::sha256(&output.stdout), blob);
        }
    }
}

#[test]
fn layout_from_real_registry_is_read_by_skopeo_and_umoci() {
    let registry = DockerRegistry::start().unwrap();
    let (digest, _) = fill(&registry, None);
    let reference = format!("{}/team/app:v1", registry.addr());
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("layout");
    let arguments = [&*reference, out.to_str().unwrap()];
    for _ in 0..2 {
        assert_eq!(lines("copy_to_layout", &arguments, None), [&*digest]);
    }
    // skopeo copies it back, and the digest is the same.
    let back = format!("{}/back/app:v1", registry.addr());
    let layout = format!("oci:{}:v1", out.display());
    Copy::new(&layout, &format!("docker://{back}"))
        .all()
        .run()
        .unwrap();
    assert_eq!(skopeo::digest(&back).unwrap(), digest);
    // umoci reads images, not indexes: one platform in the same layout.
    let image = block_on(async {
        let source = open(&reference, options());
        let platform = "linux/amd64".parse().unwrap();
        let image = ociget::resolve(&*source, None, &platform).await.unwrap();
        let mut options = CopyOptions::default();
        options.ref_name = Some("amd64".to_owned());
        let copied = copy_to_layout(&*source, Some(image.manifest.get()), &out, &options).await;
        assert_eq!(copied.unwrap().fetched, 0);
        image
    });
    assert_eq!(image.layers.len(), 1);
    if let Some(tree) = umoci::unpack(&out, "amd64").unwrap() {
        let found = fs::read(tree.root().join("noise")).unwrap();
        assert_eq!(found, noise(200_000));
    }
}
