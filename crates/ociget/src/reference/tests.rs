use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn short_forms_are_filled_in() {
    for (text, long, api_host) in [
        (
            "alpine",
            "docker.io/library/alpine:latest",
            "registry-1.docker.io",
        ),
        (
            "alpine:3.20",
            "docker.io/library/alpine:3.20",
            "registry-1.docker.io",
        ),
        (
            "team/app",
            "docker.io/team/app:latest",
            "registry-1.docker.io",
        ),
        (
            "docker.io/alpine",
            "docker.io/library/alpine:latest",
            "registry-1.docker.io",
        ),
        (
            "index.docker.io/a/b",
            "docker.io/a/b:latest",
            "registry-1.docker.io",
        ),
        (
            "registry-1.docker.io/x",
            "docker.io/library/x:latest",
            "registry-1.docker.io",
        ),
        ("localhost/app", "localhost/app:latest", "localhost"),
        (
            "localhost:5000/app:v1",
            "localhost:5000/app:v1",
            "localhost:5000",
        ),
        (
            "127.0.0.1:5000/app",
            "127.0.0.1:5000/app:latest",
            "127.0.0.1:5000",
        ),
        ("host:5000/a/b/c", "host:5000/a/b/c:latest", "host:5000"),
        ("Host/app", "Host/app:latest", "Host"),
        ("ghcr.io/o/r:t", "ghcr.io/o/r:t", "ghcr.io"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000"),
        (
            "[2001:DB8::1]/app",
            "[2001:db8::1]/app:latest",
            "[2001:db8::1]",
        ),
        (
            "a__b/c--d.e_f",
            "docker.io/a__b/c--d.e_f:latest",
            "registry-1.docker.io",
        ),
        (
            "host:5000",
            "docker.io/library/host:5000",
            "registry-1.docker.io",
        ),
    ] {
        let reference: Reference = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(reference.to_string(), long, "{text}");
        assert_eq!(reference.api_host(), api_host, "{text}");
        assert_eq!(long.parse::<Reference>().unwrap(), reference, "{text}");
    }
}

#[test]
fn a_digest_stands_beside_a_tag_or_alone() {
    let both: Reference = format!("reg.io/app:v1@sha256:{HEX}").parse().unwrap();
    assert_eq!(both.tag(), Some("v1"));
    assert_eq!(both.digest(), Some(&Digest::of(b"")));
    assert_eq!(both.to_string(), format!("reg.io/app:v1@sha256:{HEX}"));
    let alone: Reference = format!("reg.io/app@sha256:{HEX}").parse().unwrap();
    assert_eq!(alone.tag(), None);
    assert_eq!(alone.to_string(), format!("reg.io/app@sha256:{HEX}"));
}

/// A name that fitted only before `docker.io/library/` was filled in printed a form that did not
/// parse again.
#[test]
fn what_is_filled_in_counts_towards_the_longest_name() {
    let filled_in = "docker.io/library/".len();
    let longest = "a".repeat(MAX_NAME - filled_in);
    let reference: Reference = longest.parse().unwrap();
    assert_eq!(reference.to_string().parse(), Ok(reference));
    assert_eq!(
        format!("{longest}a").parse::<Reference>(),
        Err(ReferenceError::NameTooLong(MAX_NAME + 1))
    );
}

#[test]
fn credentials_in_a_reference_are_refused_without_repeating_them() {
    for text in [
        "bob:s3cret@reg.io/app",
        "bob:s3@cret@reg.io/app",
        "https://bob:s3cret@reg.io/app",
        "https://reg.io/app@bob:s3cret@reg.io",
        "s3cret@reg.io/app",
        "bob%3As3cret%40reg.io/app",
        &format!("bob:s3cret@reg.io/app@sha256:{HEX}"),
    ] {
        let error = text.parse::<Reference>().unwrap_err();
        assert_eq!(error, ReferenceError::Credentials, "{text}");
        assert!(
            error.to_string().contains("Options::credentials"),
            "{error}"
        );
    }
}

// containerd/containerd#12491, google/go-containerregistry#1408: signatures in queries.
#[test]
fn query_in_a_reference_is_refused_and_not_repeated() {
    for text in [
        "reg.io/app?t=s3cret",
        "reg.io/app:v1?t=s3cret",
        "reg.io:5?t=s3cret/app",
        "reg.io/app?t=a/s3cret",
        "reg.io/app?t=a:s3cret",
        "reg.io/?t=s3cret",
        &format!("reg.io/app?t=s3cret@sha256:{HEX}"),
    ] {
        let error = text.parse::<Reference>().unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
    let error = "app?x".parse::<Reference>().unwrap_err();
    assert_eq!(error, ReferenceError::Query);
}

#[test]
fn what_is_not_a_reference_is_refused() {
    let long_name = format!("reg.io/{}", "a".repeat(MAX_NAME));
    let long_tag = format!("app:{}", "t".repeat(MAX_TAG + 1));
    let id_with_tag = format!("{HEX}:v1");
    for text in [
        "",
        ":v1",
        "/app",
        "app/",
        "a//b",
        "App",
        "team/App",
        "reg.io/",
        "reg.io/App",
        "https://reg.io/app",
        "reg.io:port/app",
        "reg.io:/app",
        "reg.io:0/app",
        "reg.io:65536/app",
        "reg.io:+80/app",
        "-reg.io/app",
        "reg..io/app",
        "user@reg.io/app",
        "reg.io/../app",
        "reg.io/.app",
        "reg.io/app-",
        "reg.io/a___b",
        "reg.io/a._b",
        "reg.io/app:",
        "reg.io/app:-x",
        "reg.io/app:a b",
        "reg.io/app@",
        "reg.io/app@sha256:abc",
        "reg.io/app@md5:d41d8cd98f00b204e9800998ecf8427e",
        "[::1/app",
        "[::1]x/app",
        "[fe80::1%eth0]/app",
        "reg.io/é",
        "reg.io/app?x=1",
        "reg.io/app#x",
        HEX,
        &id_with_tag,
        &long_name,
        &long_tag,
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text}");
    }
}

#[test]
fn parts_of_a_reference_are_given_back() {
    let reference: Reference = "MyHost:5000/team/app:v1".parse().unwrap();
    assert_eq!(reference.registry(), "myhost:5000");
    assert_eq!(reference.repository(), "team/app");
    assert_eq!(reference.tag(), Some("v1"));
    // The port of https says nothing, so this is Docker Hub; another port is another server.
    let hub: Reference = "docker.io:443/library/alpine".parse().unwrap();
    assert_eq!(hub.registry(), "docker.io");
    let other: Reference = "docker.io:5000/library/alpine".parse().unwrap();
    assert_eq!(other.registry(), "docker.io:5000");
    assert_eq!(other.api_host(), "docker.io:5000");
}

#[test]
fn an_address_alone_is_refused_as_a_whole() {
    let error = "[::1]".parse::<Reference>().unwrap_err();
    assert_eq!(error, ReferenceError::Component("[::1]".to_owned()));
}

#[test]
fn tags_follow_the_grammar_of_the_specification() {
    let longest = "t".repeat(MAX_TAG);
    for tag in ["v1", "_x", "A.b-c_d", "0", &longest] {
        assert!(is_tag(tag), "{tag}");
    }
    for text in ["", ".x", "-x", "a b", "a/b", "é", &format!("{longest}t")] {
        assert!(!is_tag(text), "{text}");
    }
}
