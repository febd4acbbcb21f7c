//! Configs, manifests and indexes as tools in use write them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: a failure here is a failed test"
)]

use ociget::{Error, Image, ImageConfig, IndexEntry, Manifest, resolve_insisting};

use crate::support::{Content, OCI, Server, quick};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

async fn resolve(content: &Content, platform: &str, insist: bool) -> Result<Image, Error> {
    let server = Server::start(content, |_| None).await;
    let source = server.source(quick());
    let platform = platform.parse().unwrap();
    match insist {
        true => resolve_insisting(&*source, None, &platform).await,
        false => ociget::resolve(&*source, None, &platform).await,
    }
}

/// An image without layers, of a config and a type for it.
fn image(content: &mut Content, manifest: &str, config: &str) -> ociget::Digest {
    let config = content.add_blob(CONFIG, config.as_bytes());
    content.add_manifest(
        manifest,
        &format!(r#"{{"schemaVersion":2,"mediaType":"{manifest}","config":{config},"layers":[]}}"#),
    )
}

/// Configs of grafana/alloy#5378 and buildpacks/pack#2315, of tools that name half a platform, and of a whole
/// one that is wrong.
#[tokio::test]
async fn config_without_platform_is_for_the_platform_wanted() {
    let rootfs = r#""rootfs":{"type":"layers","diff_ids":[]}"#;
    for (fields, wanted, holds) in [
        ("", "linux/amd64", true),
        ("", "linux/arm64", true),
        (r#""os":"","architecture":"","#, "linux/amd64", true),
        (r#""os":null,"architecture":null,"#, "linux/amd64", true),
        (r#""os":"linux","#, "linux/amd64", true),
        (r#""architecture":"x86_64","#, "linux/amd64", true),
        (r#""os":"windows","#, "linux/amd64", false),
        (r#""architecture":"arm64","#, "linux/amd64", false),
        (
            r#""os":"linux","architecture":"arm64","#,
            "linux/amd64",
            false,
        ),
    ] {
        for insist in [false, true] {
            let mut content = Content::default();
            let digest = image(&mut content, OCI, &format!("{{{fields}{rootfs}}}"));
            content.tag("v1", &digest);
            match resolve(&content, wanted, insist).await {
                Ok(image) => assert!(holds && image.platform.to_string() == wanted, "{fields}"),
                Err(error) => assert!(!holds, "{fields}: {error}"),
            }
        }
    }
}

/// Images whose config names the machine that built them (kubernetes-sigs/descheduler#1886,
/// influxdata/influxdata-docker#751, estesp/mquery#9).
#[tokio::test]
async fn platform_of_the_caller_counts_where_index_and_config_differ() {
    let mut content = Content::default();
    let wrong = content.add_image("linux", "amd64", &[]);
    let index = content.add_index(&[("linux/arm64", &wrong)]);
    content.tag("v1", &index);
    let error = resolve(&content, "linux/arm64", false).await.unwrap_err();
    assert!(matches!(error, Error::Inconsistent { .. }), "{error:?}");
    assert!(error.to_string().contains("resolve_insisting"), "{error}");
    let image = resolve(&content, "linux/arm64", true).await.unwrap();
    assert_eq!(image.platform.to_string(), "linux/arm64");
    // What the index does not list is not there, however much it is insisted on.
    let error = resolve(&content, "linux/amd64", true).await.unwrap_err();
    assert!(matches!(error, Error::Platform { .. }), "{error:?}");
}

fn config(text: &str) -> Result<ImageConfig, String> {
    ImageConfig::parse(text.as_bytes().to_vec().into()).map_err(|error| error.to_string())
}

/// microsoft/containerregistry#59, containers/skopeo#1287: Go reads keys in any case. Two spellings of one
/// key are two values, of which readers take different ones.
#[test]
fn config_keys_may_have_any_case_but_one_spelling() {
    let read = config(&format!(
        r#"{{"OS":"linux","Architecture":"amd64","rootfS":{{"Type":"layers","DIFF_IDS":["{DIGEST}"]}},
        "Config":{{"env":["A=b"],"labels":{{"Os":"x","os":"y"}},"volumes":{{"/Env":{{}},"/env":{{}}}}}}}}"#
    ))
    .unwrap();
    assert_eq!(read.platform.unwrap().to_string(), "linux/amd64");
    assert_eq!(read.diff_ids.len(), 1);
    assert_eq!(read.runtime.env, ["A=b"]);
    assert_eq!(read.runtime.labels.len(), 2);
    for text in [
        r#"{"rootfs":{"type":"layers"},"rootfS":{"type":"layers"}}"#,
        "{\"rootfs\":{\"type\":\"layers\"},\"rootf\u{17f}\":{\"type\":\"layers\"}}",
        r#"{"rootfs":{"type":"layers","diff_ids":[],"Diff_Ids":[]}}"#,
    ] {
        let error = config(text).unwrap_err();
        assert!(error.contains("occurs twice"), "{error}");
    }
}

/// moby's `strslice` takes both; Python's `json` writes half pairs for names that are not UTF-8; Go writes
/// `null` for what is empty.
#[test]
fn config_words_and_labels_are_read_as_docker_does() {
    let read = config(
        r#"{"rootfs":{"type":"layers"},"config":{"Cmd":"/bin/sh -c x","Entrypoint":"",
        "Labels":{"a":"caf\udce9","b":null,"c":"\ud83d\ude00"}}}"#,
    )
    .unwrap();
    assert_eq!(read.runtime.cmd, ["/bin/sh -c x"]);
    assert!(read.runtime.entrypoint.is_empty());
    assert_eq!(read.runtime.labels["a"], "caf\u{fffd}");
    assert_eq!(read.runtime.labels["b"], "");
    assert_eq!(read.runtime.labels["c"], "\u{1f600}");
    let text = r#"{"rootfs":{"type":"layers"},"config":{"Cmd":{"a":1}}}"#;
    assert!(
        config(text)
            .unwrap_err()
            .contains("a sequence of strings or a string")
    );
    let bytes = b"{\"rootfs\":{\"type\":\"layers\"},\"config\":{\"User\":\"caf\xe9\"}}";
    let read = ImageConfig::parse(bytes.to_vec().into()).unwrap();
    assert_eq!(read.runtime.user, "caf\u{fffd}");
    assert_eq!(read.raw, &bytes[..]);
}

/// moby/moby#22378, #30083, #48361: types that registries guessed, in Docker's manifests alone.
#[test]
fn old_types_of_configs_are_images_in_docker_manifests() {
    let parse = |manifest: &str, config: &str| {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{manifest}","layers":[],
            "config":{{{config}"digest":"{DIGEST}","size":0}}}}"#
        );
        Manifest::parse(text.as_bytes(), None)
    };
    let typed = |name: &str| format!(r#""mediaType":"{name}","#);
    for config in [
        "application/octet-stream",
        "application/json",
        "text/html; charset=utf-8",
        "text/plain",
    ]
    .map(typed)
    .into_iter()
    .chain([String::new(), r#""mediaType":null,"#.to_owned()])
    {
        assert!(parse(DOCKER, &config).is_ok(), "{config}");
        assert!(parse(OCI, &config).is_err(), "{config}");
    }
    let plugin = typed("application/vnd.docker.plugin.v1+json");
    assert!(parse(DOCKER, &plugin).is_err());
}

fn entries(entries: &str) -> Vec<IndexEntry> {
    let text = format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
    match Manifest::parse(text.as_bytes(), None).unwrap() {
        Manifest::Index(index) => index.entries,
        Manifest::Image(_) => panic!("not an index"),
    }
}

/// opencontainers/image-spec#1131: the type is that of the entry's config.
#[test]
fn entry_with_artifact_type_of_config_is_an_image() {
    let entry = |kind: &str| {
        let descriptor = format!(r#""mediaType":"{OCI}","digest":"{DIGEST}","size":2"#);
        entries(&format!(r#"{{{descriptor},"artifactType":{kind}}}"#)).len()
    };
    for (kind, count) in [
        (r#""application/vnd.oci.image.config.v1+json""#, 1),
        (r#""application/vnd.docker.container.image.v1+json""#, 1),
        ("null", 1),
        (r#""""#, 1),
        (r#""application/vnd.example.signature""#, 0),
    ] {
        assert_eq!(entry(kind), count, "{kind}");
    }
}

/// containerd/platforms#16, containerd/containerd#13091: native EROFS layers come that way.
#[tokio::test]
async fn entries_that_need_features_are_passed_over_in_any_order() {
    let mut content = Content::default();
    let [erofs, plain] = ["erofs", "plain"].map(|layer| {
        let digest = content.add_image("linux", "amd64", &[layer.as_bytes()]);
        let size = content.manifest(&digest.to_string()).len();
        (digest, size)
    });
    let entry = |(digest, size): &(ociget::Digest, usize), features: &str| {
        format!(
            r#"{{"mediaType":"{OCI}","digest":"{digest}","size":{size},
            "platform":{{"os":"linux","architecture":"amd64"{features}}}}}"#
        )
    };
    let needs = r#","os.features":["erofs"]"#;
    let none = r#","os.features":[]"#;
    let index = |content: &mut Content, entries: [String; 2]| {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            entries.join(",")
        );
        let digest = content.add_manifest(crate::support::OCI_INDEX, &text);
        content.tag("v1", &digest);
    };
    for entries in [
        [entry(&erofs, needs), entry(&plain, none)],
        [entry(&plain, ""), entry(&erofs, needs)],
    ] {
        index(&mut content, entries);
        let image = resolve(&content, "linux/amd64", false).await.unwrap();
        assert_eq!(image.manifest.get(), &plain.0);
    }
    index(&mut content, [entry(&erofs, needs), entry(&erofs, needs)]);
    let error = resolve(&content, "linux/amd64", false).await.unwrap_err();
    assert!(matches!(error, Error::Platform { .. }), "{error:?}");
    assert!(
        error.to_string().contains("os.features \"erofs\""),
        "{error}"
    );
}

/// An index calls a manifest Docker's that is the OCI's: the digest says which document is meant.
#[tokio::test]
async fn docker_entry_with_an_oci_manifest_is_taken() {
    let mut content = Content::default();
    let manifest = content.add_image("linux", "amd64", &[b"layer"]);
    let size = content.manifest(&manifest.to_string()).len();
    for (kind, holds) in [
        (DOCKER, true),
        (OCI, true),
        ("application/vnd.oci.image.index.v1+json", false),
    ] {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{kind}","digest":"{manifest}","size":{size},
            "platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
        );
        let index = content.add_manifest(crate::support::OCI_INDEX, &text);
        content.tag("v1", &index);
        let outcome = resolve(&content, "linux/amd64", false).await;
        assert_eq!(outcome.is_ok(), holds, "{kind}: {outcome:?}");
    }
}

/// opencontainers/image-spec descriptor.md: "Implementations MAY choose to ignore" what they do not know. The error
/// of the entry that is needed names what is wrong with it.
#[tokio::test]
async fn broken_entry_costs_its_own_platform_alone() {
    let mut content = Content::default();
    let manifest = content.add_image("linux", "amd64", &[b"layer"]);
    let size = content.manifest(&manifest.to_string()).len();
    let hex = manifest.hex();
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[
        {{"mediaType":"{OCI}","digest":"blake3:{hex}","size":5,"platform":{{"os":"linux","architecture":"arm64"}}}},
        {{"mediaType":"{OCI}","digest":"blake3:{hex}","size":5,"platform":{{"os":"linux","architecture":"amd64"}}}},
        {{"mediaType":"{OCI}","digest":"{manifest}","size":{size},"platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
    );
    let index = content.add_manifest(crate::support::OCI_INDEX, &text);
    content.tag("v1", &index);
    let image = resolve(&content, "linux/amd64", false).await.unwrap();
    assert_eq!(image.manifest.get(), &manifest);
    let error = resolve(&content, "linux/arm64", false).await.unwrap_err();
    assert!(matches!(error, Error::Document { .. }), "{error:?}");
    assert!(error.to_string().contains("\"blake3\""), "{error}");
    let error = resolve(&content, "linux/s390x", false).await.unwrap_err();
    assert!(matches!(error, Error::Platform { .. }), "{error:?}");
    assert!(error.to_string().contains("linux/arm64"), "{error}");
}
