use serde_json::json;

use super::*;

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

#[test]
fn aliases_become_the_names_of_manifests() {
    for (text, expected) in [
        ("linux/amd64", "linux/amd64"),
        ("Linux/x86_64", "linux/amd64"),
        ("linux/x86-64/v2", "linux/amd64/v2"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/i686", "linux/386"),
        ("windows/amd64", "windows/amd64"),
    ] {
        assert_eq!(platform(text).to_string(), expected, "{text}");
    }
    for text in [
        "",
        "linux",
        "linux/",
        "/amd64",
        "a/b/c/d",
        "linux/amd 64",
        "linux//v8",
        "linux/\u{1b}[31m",
        "linux/amd64/v1\n",
    ] {
        assert!(text.parse::<Platform>().is_err(), "{text}");
    }
    assert_eq!(Platform::host().os(), "linux");
}

fn entry(value: serde_json::Value) -> Result<Option<String>, PlatformError> {
    Ok(RawPlatform::entry(value)?.map(|platform| platform.to_string()))
}

#[test]
fn odd_but_honest_platforms_of_documents_are_kept() {
    for (value, expected) in [
        (json!(null), None),
        (json!({}), None),
        (json!({"os": "", "architecture": null}), None),
        (
            json!({"os": "linux", "architecture": "arm64", "variant": ""}),
            Some("linux/arm64"),
        ),
        (
            json!({"os": "linux", "architecture": "arm64", "variant": "v8.0", "features": ["x"]}),
            Some("linux/arm64/v8.0"),
        ),
        (
            json!({"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.1",
                "os.features": ["win32k"]}),
            Some("windows/amd64"),
        ),
        (
            json!({"os": "linux", "architecture": "x86_64", "os.version": "24.04 LTS",
                "os.features": null}),
            Some("linux/amd64"),
        ),
        (
            json!({"os": "unknown", "architecture": "unknown"}),
            Some("unknown/unknown"),
        ),
    ] {
        let found = entry(value.clone()).unwrap();
        assert_eq!(found.as_deref(), expected, "{value}");
    }
}

#[test]
fn platforms_of_documents_with_foreign_characters_are_refused() {
    for bad in [
        "a b",
        "a/b",
        "\u{1b}[31mv8",
        "v8\u{202e}",
        "v8\n",
        "ü",
        &"v".repeat(65),
    ] {
        for field in ["os", "architecture", "variant"] {
            let mut value = json!({"os": "linux", "architecture": "amd64"});
            value[field] = json!(bad);
            let error = entry(value).unwrap_err().to_string();
            let says = format!("the platform's {field} is ");
            assert!(error.starts_with(&says), "{error}");
            assert!(error.chars().all(printable::is_printable), "{error}");
        }
    }
    for value in [
        json!("linux/amd64"),
        json!(["linux"]),
        json!({"os": 5, "architecture": "amd64"}),
        json!({"os": "linux", "architecture": "amd64", "os.version": 10}),
        json!({"os": "linux", "architecture": "amd64", "os.version": "\u{9b}31m"}),
        json!({"os": "linux", "architecture": "amd64", "os.features": ["a\nb"]}),
        json!({"os": "linux", "architecture": ""}),
        json!({"os": "", "architecture": "amd64"}),
    ] {
        assert!(entry(value.clone()).is_err(), "{value}");
    }
}

#[test]
fn only_what_runs_is_accepted() {
    for (wanted, found, runs) in [
        ("linux/amd64", "linux/amd64", true),
        ("linux/amd64", "linux/amd64/v1", true),
        ("linux/amd64", "linux/amd64/v2", false),
        ("linux/amd64/v3", "linux/amd64", true),
        ("linux/amd64/v3", "linux/amd64/v3", true),
        ("linux/amd64/v3", "linux/amd64/v4", false),
        ("linux/amd64", "linux/386", false),
        ("linux/amd64", "windows/amd64", false),
        ("linux/amd64", "unknown/unknown", false),
        ("linux/arm64", "linux/arm64/v8", true),
        ("linux/arm64/v8", "linux/arm64", true),
        ("linux/arm64", "linux/arm64/v9", false),
        ("linux/arm64/v8.1", "linux/arm64/v8", true),
        ("linux/arm64", "linux/arm/v7", false),
        ("linux/arm/v6", "linux/arm/v7", false),
        ("linux/arm/v6", "linux/arm", false),
        ("linux/arm", "linux/arm/v6", true),
        ("linux/mips64le", "linux/mips64le/hardfloat", true),
        (
            "linux/mips64le/softfloat",
            "linux/mips64le/hardfloat",
            false,
        ),
    ] {
        assert_eq!(
            platform(wanted).accepts(&platform(found)),
            runs,
            "{wanted} {found}"
        );
    }
}

#[test]
fn index_and_config_may_differ_in_detail_only() {
    for (index, config, agree) in [
        ("linux/arm64/v8", "linux/arm64", true),
        ("linux/amd64", "linux/amd64/v3", true),
        ("linux/arm64/v8", "linux/arm64/8", true),
        ("linux/arm/v6", "linux/arm/v7", false),
        ("linux/amd64", "linux/arm64", false),
        ("linux/amd64", "windows/amd64", false),
        ("linux/mips/a", "linux/mips/b", false),
    ] {
        assert_eq!(
            platform(index).agrees_with(&platform(config)),
            agree,
            "{index} {config}"
        );
    }
}

#[test]
fn a_variant_off_the_ladders_fits_best_by_name() {
    let wanted = platform("linux/mips64le/softfloat");
    let same = wanted.fit(&platform("linux/mips64le/softfloat"));
    let unsaid = wanted.fit(&platform("linux/mips64le"));
    assert!(same > unsaid && unsaid.is_some(), "{same:?} {unsaid:?}");
    assert_eq!(wanted.fit(&platform("linux/mips64le/hardfloat")), None);
}

#[test]
fn parts_of_a_platform_are_given_back() {
    let full = platform("linux/arm64/v8");
    assert_eq!(full.os(), "linux");
    assert_eq!(full.architecture(), "arm64");
    assert_eq!(full.variant(), Some("v8"));
    assert_eq!(platform("linux/arm64").variant(), None);
}

#[test]
fn one_unknown_part_makes_a_platform_unknown() {
    for (text, is_unknown) in [
        ("unknown/unknown", true),
        ("linux/unknown", true),
        ("unknown/amd64", true),
        ("linux/amd64", false),
    ] {
        assert_eq!(platform(text).is_unknown(), is_unknown, "{text}");
    }
}

#[test]
fn half_of_a_configs_platform_rules_out_other_images() {
    let raw = |os: &str, architecture: &str| -> RawPlatform {
        serde_json::from_value(json!({"os": os, "architecture": architecture})).unwrap()
    };
    let wanted = platform("linux/amd64");
    for (os, architecture, allows) in [
        ("", "", true),
        ("linux", "", true),
        ("windows", "", false),
        ("", "amd64", true),
        ("", "x86_64", true),
        ("", "arm64", false),
    ] {
        let raw = raw(os, architecture);
        assert_eq!(raw.config().unwrap(), None, "{os}/{architecture}");
        let half = raw.half().unwrap();
        assert_eq!(half.allows(&wanted), allows, "{os}/{architecture}");
    }
    // A config with both parts has no half, and each part is checked on its own.
    let whole = raw("windows", "arm64");
    assert_eq!(whole.config().unwrap(), Some(platform("windows/arm64")));
    assert_eq!(whole.half().unwrap(), HalfPlatform::default());
    for (os, architecture) in [("a b", ""), ("", "a\n"), ("linux", "\u{1b}")] {
        assert!(
            raw(os, architecture).half().is_err(),
            "{os:?} {architecture:?}"
        );
    }
}

#[test]
fn versions_and_features_have_a_longest_length() {
    for (length, is_kept) in [(MAX_VERSION, true), (MAX_VERSION + 1, false)] {
        let text = "9".repeat(length);
        for value in [
            json!({"os": "linux", "architecture": "amd64", "os.version": text}),
            json!({"os": "linux", "architecture": "amd64", "os.features": [text]}),
        ] {
            assert_eq!(entry(value).is_ok(), is_kept, "{length}");
        }
    }
}

#[test]
fn features_are_those_of_the_document() {
    let features = RawPlatform::features(&json!({"os.features": ["a", 5, "b"]}));
    assert_eq!(features, ["a", "b"]);
    assert!(RawPlatform::features(&json!({"features": ["a"]})).is_empty());
}

#[test]
fn platforms_are_same_if_every_part_is() {
    let same = |one: &str, other: &str| {
        let (one, other) = (platform(one), platform(other));
        let forth = one.is_same(&other);
        assert_eq!(forth, other.is_same(&one));
        forth
    };
    for (one, other) in [
        ("linux/amd64", "linux/amd64"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/mips/x", "linux/mips/x"),
    ] {
        assert!(same(one, other), "{one} {other}");
    }
    for (one, other) in [
        ("linux/amd64", "windows/amd64"),
        ("linux/amd64", "linux/arm64"),
        ("linux/mips", "windows/mips"),
        ("linux/mips", "linux/ppc"),
        ("linux/arm/v6", "linux/arm/v7"),
        ("linux/mips/x", "linux/mips/y"),
        ("linux/mips", "linux/mips/x"),
    ] {
        assert!(!same(one, other), "{one} {other}");
    }
}
