use super::*;

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

fn descriptor(media_type: &str, size: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{D}","size":{size}}}"#)
}

fn image(extra: &str) -> String {
    let config = descriptor(OCI_CONFIG, "2");
    let layer = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "3");
    format!(r#"{{"schemaVersion":2,{extra}"config":{config},"layers":[{layer}]}}"#)
}

#[test]
fn images_of_both_worlds_are_read() {
    let docker = image(&format!(r#""mediaType":"{DOCKER}","#))
        .replace(OCI_CONFIG, "application/vnd.docker.container.image.v1+json")
        .replace(
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        );
    for (text, header, media_type) in [
        (image(""), None, MediaType::OciManifest),
        (image(""), Some(OCI), MediaType::OciManifest),
        (image(""), Some("application/json"), MediaType::OciManifest),
        (
            image(&format!(r#""mediaType":"{OCI}","#)),
            None,
            MediaType::OciManifest,
        ),
        (docker.clone(), Some(DOCKER), MediaType::DockerManifest),
        (docker, None, MediaType::DockerManifest),
    ] {
        match Manifest::parse(text.as_bytes(), header) {
            Ok(Manifest::Image(manifest)) => {
                assert_eq!(manifest.media_type, media_type, "{text}");
                assert_eq!(manifest.config.size, 2);
                assert_eq!(manifest.layers.len(), 1);
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn an_index_keeps_images_and_nested_indexes_only() {
    let entry = |media_type: &str, rest: &str| {
        format!(r#"{{"mediaType":"{media_type}","digest":"{D}","size":7{rest}}}"#)
    };
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#,
        [
            entry(OCI, r#","platform":{"os":"linux","architecture":"amd64"}"#),
            entry(
                OCI,
                r#","platform":{"os":"unknown","architecture":"unknown"}"#
            ),
            entry(
                OCI,
                r#","annotations":{"vnd.docker.reference.type":"attestation-manifest"}"#
            ),
            entry(OCI, r#","artifactType":"application/x-signature""#),
            entry("application/x-whatever", ""),
            entry(
                OCI_INDEX,
                r#","annotations":{"org.opencontainers.image.ref.name":"v1"}"#
            ),
            entry(DOCKER, r#","annotations":null"#),
        ]
        .join(",")
    );
    let Ok(Manifest::Index(index)) = Manifest::parse(text.as_bytes(), Some(OCI_INDEX)) else {
        panic!("{text}");
    };
    let seen: Vec<_> = index
        .entries
        .iter()
        .map(|e| {
            (
                e.descriptor.media_type,
                e.platform.as_ref().map(ToString::to_string),
                e.ref_name.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (MediaType::OciManifest, Some("linux/amd64".to_owned()), None),
            (MediaType::OciIndex, None, Some("v1")),
            (MediaType::DockerManifest, None, None),
        ]
    );
    let empty = br#"{"schemaVersion":2,"manifests":[]}"#;
    assert!(
        matches!(Manifest::parse(empty, None), Ok(Manifest::Index(index)) if index.entries.is_empty())
    );
}

#[test]
fn everything_else_is_refused_by_name() {
    let both = image(r#""manifests":[],"#);
    let negative = image("").replace(r#""size":3"#, r#""size":-3"#);
    let huge = image("").replace(r#""size":3"#, r#""size":9223372036854775808"#);
    let fraction = image("").replace(r#""size":3"#, r#""size":3.5"#);
    let big_config = image("").replace(r#""size":2"#, r#""size":4194305"#);
    let path = image("").replace(&D[7..], "../../../../etc/passwd");
    let md5 = image("").replace("sha256:", "md5:");
    let twice = image(r#""layers":[],"#);
    let empty_config = image(r#""artifactType":"application/x-sbom","#)
        .replace(OCI_CONFIG, "application/vnd.oci.empty.v1+json");
    let helm = image("").replace(OCI_CONFIG, "application/vnd.cncf.helm.config.v1+json");
    let encrypted = image("").replace("tar+gzip", "tar+gzip+encrypted");
    let odd_layer = image("").replace("layer.v1.tar+gzip", "layer.v1.tar+lzma");
    let config_as_layer =
        image("").replace("application/vnd.oci.image.layer.v1.tar+gzip", OCI_CONFIG);
    for (text, header, says) in [
        (both.as_str(), None, "ambiguous"),
        (&negative, None, "-3"),
        (&huge, None, "9223372036854775808"),
        (&fraction, None, "3.5"),
        (&big_config, None, "4194305"),
        (&path, None, "digest"),
        (&md5, None, "md5"),
        (&twice, None, "\"layers\" occurs twice"),
        (&empty_config, None, "application/x-sbom"),
        (&helm, None, "helm"),
        (&encrypted, None, "encrypted"),
        (&odd_layer, None, "tar+lzma"),
        (&config_as_layer, None, "a layer of type"),
        (&image(""), Some(OCI_INDEX), "ambiguous"),
        (
            &image(&format!(r#""mediaType":"{OCI}","#)),
            Some(DOCKER),
            "sent as",
        ),
        (
            &image(&format!(r#""mediaType":"{OCI_INDEX}","#)),
            None,
            "ambiguous",
        ),
        (&image(r#""mediaType":"application/x-odd","#), None, "x-odd"),
        (
            r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#,
            None,
            "schema 1",
        ),
        (r#"{"schemaVersion":3}"#, None, "schemaVersion 3"),
        (r#"{"schemaVersion":2}"#, None, "neither"),
        (r#"{"schemaVersion":2,"layers":[]}"#, None, "config"),
        ("", None, "EOF"),
        ("[]", None, "not a valid manifest"),
        ("<html>", None, "not a valid manifest"),
    ] {
        let error = Manifest::parse(text.as_bytes(), header)
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{text}\n{error}");
    }
}

#[test]
fn schema_1_is_known_by_its_number_or_its_layers() {
    for text in [
        r#"{"schemaVersion":1}"#.to_owned(),
        image(r#""fsLayers":[],"#),
    ] {
        let error = Manifest::parse(text.as_bytes(), None).unwrap_err();
        assert!(error.to_string().contains("schema 1"), "{text}\n{error}");
    }
}

/// bazel-contrib/rules_oci#690, distribution/distribution#2650, oras-project/oras-go#934
#[test]
fn version_that_a_program_left_unset_is_2() {
    let with = |version: &str| image("").replace("\"schemaVersion\":2,", version);
    for version in ["", "\"schemaVersion\":null,", "\"schemaVersion\":0,"] {
        assert!(Manifest::parse(with(version).as_bytes(), None).is_ok());
    }
    let error = Manifest::parse(with("\"schemaVersion\":1,").as_bytes(), None).unwrap_err();
    assert!(error.to_string().contains("schemaVersion 1"), "{error}");
}

#[test]
fn untyped_configs_are_those_of_old_docker_images_alone() {
    for (kind, is_old) in [
        ("", true),
        ("application/octet-stream", true),
        ("Text/Plain; charset=utf-8", true),
        ("application/json", true),
        ("text/html", true),
        ("application/vnd.oci.empty.v1+json", false),
    ] {
        for (manifest, may) in [(DOCKER, true), (OCI, false)] {
            let text = image(&format!(r#""mediaType":"{manifest}","#)).replace(OCI_CONFIG, kind);
            match Manifest::parse(text.as_bytes(), None) {
                Ok(Manifest::Image(image)) => {
                    assert!(is_old && may, "{manifest} {kind}");
                    assert_eq!(image.config.media_type, MediaType::DockerConfig);
                }
                Ok(other) => panic!("{other:?}"),
                Err(error) => assert!(!(is_old && may), "{manifest} {kind}: {error}"),
            }
        }
    }
}

#[test]
fn features_rule_out_entries_for_linux_alone() {
    let index = |os: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"{OCI}","digest":"{D}","size":7,
            "platform":{{"os":"{os}","architecture":"amd64","os.features":["x"]}}}}]}}"#
        )
    };
    for (os, is_usable) in [("linux", false), ("windows", true)] {
        match Manifest::parse(index(os).as_bytes(), None) {
            Ok(Manifest::Index(index)) => {
                let entry = &index.entries[0];
                assert_eq!(entry.platform.is_some(), is_usable, "{os}");
                assert_eq!(entry.unusable.is_none(), is_usable, "{os}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn entry_is_an_artifact_by_the_type_of_its_config() {
    for (kind, is_image) in [
        ("", true),
        (OCI_CONFIG, true),
        ("application/x-sbom", false),
    ] {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"{OCI}","digest":"{D}","size":7,
            "artifactType":"{kind}"}}]}}"#
        );
        match Manifest::parse(text.as_bytes(), None) {
            Ok(Manifest::Index(index)) => assert_eq!(index.entries.len() == 1, is_image, "{kind}"),
            other => panic!("{other:?}"),
        }
    }
}

/// opencontainers/image-spec descriptor.md: an algorithm that a reader does not know does not make a document invalid.
#[test]
fn entry_that_is_not_valid_leaves_the_others_usable() {
    let good = format!(
        r#"{{"mediaType":"{OCI}","digest":"{D}","size":7,"annotations":{{"a":1}},
        "platform":{{"os":"linux","architecture":"amd64"}}}}"#
    );
    let arm = r#""platform":{"os":"linux","architecture":"arm64"}"#;
    for (bad, says) in [
        (
            format!(
                r#"{{"mediaType":"{OCI}","digest":"blake3:{}","size":5,{arm}}}"#,
                &D[7..]
            ),
            "blake3",
        ),
        (
            format!(r#"{{"mediaType":"{OCI}","digest":"{D}","size":4194305,{arm}}}"#),
            "4194305",
        ),
        (
            format!(r#"{{"mediaType":"{OCI}","digest":"{D}","size":9223372036854775808,{arm}}}"#),
            "9223372036854775808",
        ),
        (
            format!(r#"{{"mediaType":"{OCI}","size":5,{arm}}}"#),
            "`digest`",
        ),
        (
            format!(r#"{{"mediaType":"{OCI}","digest":"{D}",{arm}}}"#),
            "`size`",
        ),
        (
            format!(r#"{{"mediaType":"{OCI}","digest":"{D}","size":"5",{arm}}}"#),
            "size: invalid type: string \"5\", expected a whole number",
        ),
        (
            format!(r#"{{"mediaType":"{OCI}","digest":null,"size":5,{arm}}}"#),
            "null",
        ),
        (
            format!(r#"{{"mediaType":7,"digest":"{D}","size":5,{arm}}}"#),
            "string",
        ),
        (
            format!(r#"{{"mediaType":"{OCI}","digest":"{D}","size":5,"artifactType":[],{arm}}}"#),
            "string",
        ),
        ("null".to_owned(), "expected an object"),
        ("\"x\"".to_owned(), "expected an object"),
        (
            format!(r#"["{OCI}","{D}",5,null,[],{{}},{{}}]"#),
            "expected an object",
        ),
    ] {
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{bad},{good}]}}"#);
        let Ok(Manifest::Index(index)) = Manifest::parse(text.as_bytes(), Some(OCI_INDEX)) else {
            panic!("{text}");
        };
        assert_eq!(
            (index.entries.len(), index.entries[0].position),
            (1, 1),
            "{bad}"
        );
        let [unusable] = &index.unusable[..] else {
            panic!("{bad}: {:?}", index.unusable);
        };
        assert_eq!(unusable.platform.is_some(), bad.contains("arm64"), "{bad}");
        let error = unusable.error().to_string();
        assert!(error.starts_with("entry 0 of its manifests"), "{error}");
        assert!(error.contains(says), "{error}");
    }
    for size in ["-5", "5.5", "1e30"] {
        let bad = format!(r#"{{"mediaType":"{OCI}","digest":"{D}","size":{size},{arm}}}"#);
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{bad},{good}]}}"#);
        let error = Manifest::parse(text.as_bytes(), None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("has the size"), "{error}");
    }
}

#[test]
fn array_in_place_of_an_object_makes_no_manifest() {
    let config = descriptor(OCI_CONFIG, "2");
    let fields = format!(r#"["{OCI_CONFIG}","{D}",2,null,[],null,{{}}]"#);
    for (text, says) in [
        (
            format!(r#"[2,"{OCI}",null,{config},[],null,null,{{}}]"#),
            "manifest: invalid type: sequence, expected an object",
        ),
        (
            format!(r#"{{"schemaVersion":2,"config":{fields},"layers":[]}}"#),
            "config: invalid type: sequence",
        ),
        (
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{fields}]}}"#),
            "layers[0]: invalid type: sequence",
        ),
    ] {
        let error = Manifest::parse(text.as_bytes(), Some(OCI)).unwrap_err();
        assert!(error.to_string().contains(says), "{text}\n{error}");
    }
    let entry = |platform: &str| {
        format!(r#"{{"mediaType":"{OCI}","digest":"{D}","size":5,"platform":{platform}}}"#)
    };
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        entry(r#"["linux","arm64",null,null,[]]"#)
    );
    let Ok(Manifest::Index(index)) = Manifest::parse(text.as_bytes(), Some(OCI_INDEX)) else {
        panic!("{text}");
    };
    assert_eq!(index.entries[0].unusable, Some(PlatformError::Type));
}

/// Go writes `null` for an empty list.
#[test]
fn layers_that_are_null_are_none() {
    let config = descriptor(OCI_CONFIG, "2");
    let text = format!(r#"{{"schemaVersion":2,"config":{config},"layers":null}}"#);
    match Manifest::parse(text.as_bytes(), Some(OCI)) {
        Ok(Manifest::Image(image)) => assert!(image.layers.is_empty()),
        other => panic!("{other:?}"),
    }
    let text = format!(r#"{{"schemaVersion":2,"config":{config}}}"#);
    assert!(Manifest::parse(text.as_bytes(), Some(OCI)).is_err());
}
