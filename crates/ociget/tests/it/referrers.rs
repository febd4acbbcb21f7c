//! What refers to an image: by the API, by the tag that stands in for it, and by neither.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use ociget::{Client, Descriptor, Digest, Error, Reference, Referrers};

use crate::support::{Content, OCI_INDEX, Reply, Server, quick};

const SPDX: &str = "application/spdx+json";

fn referrers_of(server: &Server, subject: &Digest, artifact_type: Option<&str>) -> Referrers {
    let reference: Reference = format!("{}/app", server.host).parse().unwrap();
    let client = Client::new(quick()).unwrap();
    client
        .referrers(&reference, subject, artifact_type)
        .unwrap()
}

fn entry(text: &str, artifact_type: Option<&str>) -> String {
    let digest = Digest::of(text.as_bytes());
    let artifact_type = artifact_type
        .map(|name| format!(r#","artifactType":"{name}""#))
        .unwrap_or_default();
    format!(
        r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{},
        "annotations":{{"of":"{text}","gone":null}}{artifact_type}}}"#,
        text.len()
    )
}

fn index(entries: &[String]) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#,
        entries.join(",")
    )
}

fn page(entries: &[String]) -> Reply {
    Reply::new(200, index(entries)).with("content-type", OCI_INDEX)
}

fn names(found: &[Descriptor]) -> Vec<&str> {
    found
        .iter()
        .map(|entry| entry.annotations["of"].as_str())
        .collect()
}

fn tag_of(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

#[tokio::test]
async fn pages_of_the_api_are_followed_and_filtered() {
    let subject = Digest::of(b"image");
    for applied in [
        None,
        Some("artifactType"),
        Some("annotations, artifacttype"),
    ] {
        let server = Server::start(&Content::default(), move |seen| {
            let reply = match seen.path.ends_with("page=2") {
                true => page(&[
                    entry("c", Some(SPDX)),
                    entry("d", None),
                    entry("a", Some(SPDX)),
                ]),
                false => page(&[
                    entry("a", Some(SPDX)),
                    entry("b", Some("application/other")),
                ])
                .with("link", "<?page=2>; rel=\"next\""),
            };
            Some(match applied {
                Some(applied) => reply.with("OCI-Filters-Applied", applied),
                None => reply,
            })
        })
        .await;
        let mut referrers = referrers_of(&server, &subject, Some(SPDX));
        let first = referrers.page().await.unwrap().unwrap();
        assert_eq!(names(&first), ["a"]);
        assert_eq!(first[0].artifact_type.as_deref(), Some(SPDX));
        let second = referrers.page().await.unwrap().unwrap();
        // The registry vouches for an entry without a type only if it filtered.
        let expected: &[&str] = if applied.is_some() {
            &["c", "d"]
        } else {
            &["c"]
        };
        assert_eq!(names(&second), expected);
        assert_eq!(referrers.page().await.unwrap(), None);
        assert!(!referrers.is_fallback());
        // A plus sign in a query is a space.
        let path = format!("/v2/app/referrers/{subject}?artifactType=application%2Fspdx%2Bjson");
        assert_eq!(server.seen()[0].path, path);
        let all = referrers_of(&server, &subject, None).all().await.unwrap();
        assert_eq!(names(&all), ["a", "b", "c", "d"]);
    }
}

#[tokio::test]
async fn missing_api_falls_back_to_the_referrers_tag() {
    let subject = Digest::of(b"image");
    // kubernetes/registry.k8s.io#287: unknown paths lead to a page for people.
    let html = Reply::new(200, "<html>").with("content-type", "text/html; charset=utf-8");
    // quay/quay#3071: 400 where the manifest is unknown.
    let refusals = [404, 400, 405, 406, 415, 501].map(|status| Reply::new(status, ""));
    for refusal in refusals.into_iter().chain([html]) {
        let listed = index(&[
            entry("a", Some(SPDX)),
            entry("b", Some("application/other")),
        ]);
        let mut content = Content::default();
        let list = content.add_manifest(OCI_INDEX, &listed);
        content.tag(&tag_of(&subject), &list);
        let server = Server::start(&content, move |seen| {
            seen.path.contains("/referrers/").then(|| refusal.clone())
        })
        .await;
        let mut referrers = referrers_of(&server, &subject, Some(SPDX));
        let found = referrers.page().await.unwrap().unwrap();
        assert_eq!(names(&found), ["a"]);
        assert!(referrers.is_fallback());
        assert_eq!(referrers.page().await.unwrap(), None);
        let nothing = referrers_of(&server, &Digest::of(b"other"), None);
        assert_eq!(nothing.all().await.unwrap(), []);
    }
}

#[tokio::test]
async fn refusal_that_says_something_else_is_an_error() {
    let subject = Digest::of(b"image");
    for (status, is_expected) in [
        (
            401,
            (|error| matches!(error, Error::Unauthorized(_))) as fn(&Error) -> bool,
        ),
        (403, |error| matches!(error, Error::Denied(_))),
        (429, |error| matches!(error, Error::Throttled(_))),
        (500, |error| matches!(error, Error::Registry(_))),
    ] {
        let server = Server::start(&Content::default(), move |seen| {
            seen.path
                .contains("/referrers/")
                .then(|| Reply::new(status, ""))
        })
        .await;
        let error = referrers_of(&server, &subject, None)
            .all()
            .await
            .unwrap_err();
        assert!(is_expected(&error), "{status}: {error:?}");
        assert!(server.seen_at("/manifests/").is_empty());
    }
}

#[tokio::test]
async fn referrers_tag_that_leads_to_something_else_means_none() {
    // oras-project/oras-go#1396: the registry takes the tag for the digest and sends the image itself.
    let (mut content, image) = Content::image(b"layer");
    let subject = content.add_index(&[("linux/amd64", &image)]);
    content.tag(&tag_of(&subject), &subject);
    content.tag(&tag_of(&image), &image);
    let other = Digest::of(b"other");
    content.tag(&tag_of(&other), &image);
    let server = Server::start(&content, |_| None).await;
    for subject in [&subject, &image, &other] {
        let found = referrers_of(&server, subject, None).all().await.unwrap();
        assert_eq!(found, []);
    }
}

#[tokio::test]
async fn type_missing_in_referrers_tag_is_read_from_the_manifest() {
    // sigstore/cosign#4641
    let mut content = Content::default();
    let mut entries = Vec::new();
    for (name, config, declared) in [
        ("by config", SPDX, ""),
        (
            "declared",
            "application/vnd.oci.empty.v1+json",
            r#""artifactType":"application/spdx+json","#,
        ),
        ("other", "application/other", ""),
    ] {
        let config = content.add_blob(config, name.as_bytes());
        let manifest = format!(r#"{{"schemaVersion":2,{declared}"config":{config},"layers":[]}}"#);
        content.add_manifest(crate::support::OCI, &manifest);
        entries.push(entry(name, None).replace(
            &Digest::of(name.as_bytes()).to_string(),
            &Digest::of(manifest.as_bytes()).to_string(),
        ));
    }
    entries.push(entry("gone", None));
    let list = content.add_manifest(OCI_INDEX, &index(&entries));
    let subject = Digest::of(b"image");
    content.tag(&tag_of(&subject), &list);
    let server = Server::start(&content, |_| None).await;
    let found = referrers_of(&server, &subject, Some(SPDX))
        .all()
        .await
        .unwrap();
    assert_eq!(names(&found), ["by config", "declared"]);
    assert_eq!(found[0].artifact_type.as_deref(), Some(SPDX));
}

#[tokio::test]
async fn list_of_broken_form_fails_and_one_broken_entry_not() {
    let subject = Digest::of(b"image");
    for (body, holds) in [
        ("{", false),
        ("{}", false),
        (r#"{"errors":[]}"#, false),
        (r#"{"manifests":[{}]}"#, true),
        (r#"{"manifests":[null,7,{"digest":3}]}"#, true),
        (r#"{"manifests":{}}"#, false),
        (r#"{"manifests":[],"manifests":[]}"#, false),
        (r#"{"schemaVersion":2,"manifests":null}"#, true),
        (
            r#"{"manifests":[{"mediaType":"a","digest":"sha384:00","size":1}]}"#,
            true,
        ),
        (
            r#"{"manifests":[{"mediaType":"a","digest":"sha256:../..","size":1}]}"#,
            true,
        ),
    ] {
        let server = Server::start(&Content::default(), move |_| {
            Some(Reply::new(200, body).with("content-type", OCI_INDEX))
        })
        .await;
        let found = referrers_of(&server, &subject, None).all().await;
        assert_eq!(found.is_ok_and(|found| found.is_empty()), holds, "{body}");
    }
}

#[tokio::test]
async fn pages_in_a_circle_or_at_another_host_fail() {
    let subject = Digest::of(b"image");
    for (link, says) in [
        ("<?a=1>; rel=next", "circle"),
        ("<http://10.0.0.1/x>; rel=next", "refused to follow"),
    ] {
        let server = Server::start(&Content::default(), move |_| {
            Some(page(&[entry("a", None)]).with("link", link))
        })
        .await;
        let error = referrers_of(&server, &subject, None)
            .all()
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn lists_with_fields_in_another_case_are_read() {
    let subject = Digest::of(b"image");
    let text = index(&[entry("a", None)]).replace("manifests", "Manifests");
    let text = text.replace("digest", "Digest");
    for has_api in [true, false] {
        let mut content = Content::default();
        let tagged = content.add_manifest(OCI_INDEX, &text);
        content.tag(&tag_of(&subject), &tagged);
        let text = text.clone();
        let server = Server::start(&content, move |seen| {
            let reply = match has_api {
                true => Reply::new(200, text.clone()).with("content-type", OCI_INDEX),
                false => Reply::new(404, ""),
            };
            seen.path.contains("/referrers/").then_some(reply)
        })
        .await;
        let found = referrers_of(&server, &subject, None).all().await.unwrap();
        assert_eq!(names(&found), ["a"]);
    }
}
