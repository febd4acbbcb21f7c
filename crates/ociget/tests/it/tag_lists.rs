//! Lists of tags: their pages, and registries whose pages do not end.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::sync::{Arc, Mutex};

use ociget::{Client, Error, Event, Progress, Reference, Tags};

use crate::support::{Content, Delivery, Reply, Seen, Server, quick};

fn tags_of(server: &Server) -> Tags {
    let reference: Reference = format!("{}/app", server.host).parse().unwrap();
    Client::new(quick()).unwrap().tags(&reference).unwrap()
}

fn page(tags: &[&str]) -> Reply {
    let tags: Vec<String> = tags.iter().map(|tag| format!("{tag:?}")).collect();
    let body = format!(r#"{{"name":"app","tags":[{}]}}"#, tags.join(","));
    Reply::new(200, body).with("content-type", "application/json")
}

fn asks_for(seen: &Seen, parameter: &str) -> bool {
    let (_, query) = seen.path.split_once('?').unwrap_or_default();
    query.split('&').any(|found| found == parameter)
}

/// What a registry that always answers the same lists.
async fn listed(reply: Reply) -> Result<Vec<String>, Error> {
    let server = Server::start(&Content::default(), move |_| Some(reply.clone())).await;
    tags_of(&server).all().await
}

#[tokio::test]
async fn pages_are_followed_by_their_links() {
    let server = Server::start(&Content::default(), |seen| {
        Some(match seen.path.as_str() {
            "/v2/app/tags/list?n=1000" => {
                page(&["v1", "v2"]).with("link", r#"</v2/app/tags/list?token=a%2Bb>; rel="next""#)
            }
            "/v2/app/tags/list?token=a%2Bb" => {
                // The page before overlaps, and a filter of the registry left a page empty.
                page(&["v2"]).with("link", r#"<list?empty>; rel="next""#)
            }
            "/v2/app/tags/list?empty" => page(&[]).with("link", "<?last=v2>; rel=next"),
            "/v2/app/tags/list?last=v2" => page(&["v3"]),
            _ => return None,
        })
    })
    .await;
    let mut tags = tags_of(&server);
    let mut pages = Vec::new();
    while let Some(page) = tags.page().await.unwrap() {
        pages.push(page);
    }
    assert_eq!(pages, [vec!["v1", "v2"], vec![], vec![], vec!["v3"]]);
    assert_eq!(tags.page().await.unwrap(), None);
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn full_page_without_link_is_continued_after_its_last_tag() {
    // regclient/regclient#274
    let server = Server::start(&Content::default(), |seen| {
        let last = ["b", "d", "e"]
            .iter()
            .find(|last| asks_for(seen, &format!("last={last}")));
        Some(match last {
            None => page(&["a", "b"]),
            Some(&"b") => page(&["c", "d"]),
            Some(&"d") => page(&["e"]),
            _ => Reply::new(500, ""),
        })
    })
    .await;
    let tags = tags_of(&server).page_size(2).all().await.unwrap();
    assert_eq!(tags, ["a", "b", "c", "d", "e"]);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn registry_that_refuses_or_ignores_last_has_sent_all_tags() {
    // CodesWhat/drydock#927: the registry's cursor is not a tag, and a guess is answered with 405.
    for second in [
        Reply::new(405, ""),
        Reply::new(404, ""),
        page(&["a", "b"]),
        page(&[]),
    ] {
        let server = Server::start(&Content::default(), move |seen| {
            Some(match asks_for(seen, "last=b") {
                true => second.clone(),
                false => page(&["a", "b"]),
            })
        })
        .await;
        let tags = tags_of(&server).page_size(2).all().await.unwrap();
        assert_eq!(tags, ["a", "b"]);
        assert_eq!(server.seen().len(), 2);
    }
}

#[tokio::test]
async fn page_size_that_is_refused_is_left_to_the_registry() {
    let server = Server::start(&Content::default(), |seen| {
        Some(match seen.path.contains("n=") {
            true => Reply::new(400, r#"{"errors":[{"code":"PAGINATION_NUMBER_INVALID"}]}"#),
            false => page(&["a"]),
        })
    })
    .await;
    assert_eq!(tags_of(&server).all().await.unwrap(), ["a"]);
}

#[tokio::test]
async fn list_begins_after_the_tag_that_the_caller_names() {
    let server = Server::start(&Content::default(), |_| Some(page(&["b"]))).await;
    let tags = tags_of(&server).after("a+b").page_size(7);
    assert_eq!(tags.all().await.unwrap(), ["b"]);
    assert_eq!(server.seen()[0].path, "/v2/app/tags/list?n=7&last=a%2Bb");
}

#[tokio::test]
async fn link_to_another_host_is_refused() {
    // google/go-containerregistry#2332
    let other = Server::start(&Content::default(), |_| Some(page(&["stolen"]))).await;
    for target in [
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "//example.com/v2/app/tags/list".to_owned(),
        format!(
            "http://localhost:{}/x",
            other.host.rsplit(':').next().unwrap()
        ),
        "file:///etc/passwd".to_owned(),
    ] {
        let link = format!("<{target}>; rel=\"next\"");
        let error = listed(page(&["a"]).with("link", link)).await.unwrap_err();
        assert!(
            matches!(error, Error::Forbidden { .. }),
            "{target}: {error:?}"
        );
    }
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn link_to_another_port_is_requested_from_the_registry() {
    let other = Server::start(&Content::default(), |_| Some(page(&["stolen"]))).await;
    let target = format!("https://{}/v2/app/tags/list?last=a", other.host);
    let server = Server::start(&Content::default(), move |seen| {
        Some(match asks_for(seen, "last=a") {
            true => page(&["b"]),
            false => page(&["a"]).with("link", format!("<{target}>; rel=\"next\"")),
        })
    })
    .await;
    assert_eq!(tags_of(&server).all().await.unwrap(), ["a", "b"]);
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn pages_without_end_are_an_error() {
    let next = |query: &str| format!("</v2/app/tags/list?{query}>; rel=\"next\"");
    // The same page, and one that leads back to the first.
    for query in ["n=1000", "x"] {
        let error = listed(page(&["a"]).with("link", next(query)))
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("circle"), "{text}");
    }
    // Always another page, with nothing new in it.
    let count = Mutex::new(0);
    let server = Server::start(&Content::default(), move |_| {
        let mut count = count.lock().unwrap();
        *count += 1;
        Some(page(&["a"]).with("link", next(&count.to_string())))
    })
    .await;
    let error = tags_of(&server).all().await.unwrap_err().to_string();
    assert!(error.contains("100 pages in a row"), "{error}");
    assert!(server.seen().len() < 110);
}

#[tokio::test]
async fn page_that_is_too_long_is_an_error() {
    let endless = Reply::new(200, vec![b' '; 1 << 20]).sent(Delivery::Endless);
    let claimed = Reply::new(200, "").with("content-length", (1_u64 << 40).to_string());
    for reply in [endless, claimed] {
        let error = listed(reply).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
        assert!(
            error.to_string().contains("more than 16777216 bytes"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn number_of_short_tags_has_a_bound() {
    let tags = |count: u32, from: u32| {
        let tags: Vec<String> = (0..count).map(|n| format!("\"{:x}\"", from + n)).collect();
        let body = format!(r#"{{"name":"app","tags":[{}]}}"#, tags.join(","));
        Reply::new(200, body).with("content-type", "application/json")
    };
    let error = listed(tags((1 << 19) + 1, 0)).await.unwrap_err();
    assert!(error.to_string().contains("more than 524288"), "{error}");
    // The same over two pages.
    let (first, second) = (tags(1 << 19, 0), tags(1, 1 << 19));
    let server = Server::start(&Content::default(), move |seen| {
        Some(match seen.path.ends_with("?b") {
            false => first.clone().with("link", "<?b>; rel=next"),
            true => second.clone(),
        })
    })
    .await;
    let mut tags = tags_of(&server);
    assert_eq!(tags.page().await.unwrap().unwrap().len(), 1 << 19);
    let error = tags.page().await.unwrap_err();
    assert!(error.to_string().contains("more than 524288"), "{error}");
}

#[tokio::test]
async fn list_of_broken_form_fails_and_an_empty_one_not() {
    for (body, says) in [
        ("<html>", "not one"),
        ("[]", "not one"),
        ("{}", "no field tags"),
        (r#"{"message":"not supported"}"#, "no field tags"),
        (r#"{"name":"My web app","version":1}"#, "no field tags"),
        (r#"{"tags":{"a":1}}"#, "not one"),
        (r#"{"tags":[1]}"#, "not one"),
        ("", "not one"),
    ] {
        let error = listed(Reply::new(200, body)).await.unwrap_err().to_string();
        assert!(error.contains(says), "{body}: {error}");
    }
    let html = Reply::new(200, "<html>").with("content-type", "text/html");
    let error = listed(html).await.unwrap_err().to_string();
    assert!(error.contains("not JSON"), "{error}");
    for body in [
        r#"{"name":"app","tags":null}"#,
        r#"{"name":"app"}"#,
        r#"{"Name":"app","Tags":null}"#,
        r#"{"tags":null}"#,
        r#"{"tags":[null]}"#,
    ] {
        let tags = listed(Reply::new(200, body)).await.unwrap();
        assert!(tags.is_empty(), "{body}: {tags:?}");
    }
}

// golang/go#14750
#[tokio::test]
async fn keys_of_a_list_may_have_any_case() {
    let body = r#"{"Name":"app","TAGS":["v1"],"version":1}"#;
    assert_eq!(listed(Reply::new(200, body)).await.unwrap(), ["v1"]);
}

/// Registries also list digests (containers/skopeo#2346) and nothing (containers/skopeo#2409) among tags.
#[tokio::test]
async fn name_that_is_not_a_tag_is_omitted_with_warning() {
    let body = r#"{"tags":["v1","../etc","a\nb","\u001b[31m","","-x",null,"sha256:0123","v2"]}"#;
    let server = Server::start(&Content::default(), move |_| Some(Reply::new(200, body))).await;
    let warnings = Arc::<Mutex<Vec<String>>>::default();
    let heard = Arc::clone(&warnings);
    let mut options = quick();
    options.progress = Progress::new(move |event| {
        if let Event::Warning { text } = event {
            heard.lock().unwrap().push((*text).to_owned());
        }
    });
    let reference: Reference = format!("{}/app", server.host).parse().unwrap();
    let tags = Client::new(options).unwrap().tags(&reference).unwrap();
    assert_eq!(tags.all().await.unwrap(), ["v1", "v2"]);
    let warnings = warnings.lock().unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("6 names"), "{warnings:?}");
}

#[tokio::test]
async fn repository_that_is_unknown_is_not_found() {
    let server = Server::start(&Content::default(), |_| None).await;
    let error = tags_of(&server).all().await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error:?}");
    assert_eq!(error.kind(), ociget::ErrorKind::NotFound);
}

#[tokio::test]
async fn failed_request_is_repeated_by_the_next_call() {
    let fails = Arc::new(Mutex::new(false));
    let failing = Arc::clone(&fails);
    let server = Server::start(&Content::default(), move |seen| {
        if *failing.lock().unwrap() {
            return Some(Reply::new(403, ""));
        }
        Some(match asks_for(seen, "last=a") {
            true => page(&["b"]),
            false => page(&["a"]).with("link", "<?last=a>; rel=next"),
        })
    })
    .await;
    let mut tags = tags_of(&server);
    assert_eq!(tags.page().await.unwrap().unwrap(), ["a"]);
    *fails.lock().unwrap() = true;
    assert!(matches!(tags.page().await, Err(Error::Denied(_))));
    *fails.lock().unwrap() = false;
    assert_eq!(tags.page().await.unwrap().unwrap(), ["b"]);
    assert_eq!(tags.page().await.unwrap(), None);
}

#[tokio::test]
async fn list_read_further_after_broken_page_stays_an_error() {
    let server = Server::start(&Content::default(), |seen| {
        Some(match asks_for(seen, "last=a") {
            true => Reply::new(200, "{"),
            false => page(&["a"]).with("link", "<?last=a>; rel=next"),
        })
    })
    .await;
    let mut tags = tags_of(&server);
    assert!(tags.page().await.unwrap().is_some());
    assert!(matches!(tags.page().await, Err(Error::Protocol { .. })));
    assert!(matches!(tags.page().await, Err(Error::Usage(_))));
}

#[tokio::test]
async fn mirror_that_may_resolve_tags_sends_every_page() {
    let origin = Server::start(&Content::default(), |_| Some(page(&["origin"]))).await;
    for (capabilities, expected) in [
        (r#"["pull", "resolve"]"#, &["a", "b"][..]),
        (r#"["pull"]"#, &["origin"]),
    ] {
        let mirror = Server::start(&Content::default(), |seen| {
            Some(match asks_for(seen, "last=a") {
                true => page(&["b"]),
                false => page(&["a"]).with("link", "<?last=a>; rel=next"),
            })
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let of_host = dir.path().join(&origin.host);
        std::fs::create_dir(&of_host).unwrap();
        let hosts = format!(
            "[host.\"http://{}\"]\ncapabilities = {capabilities}\n",
            mirror.host
        );
        std::fs::write(of_host.join("hosts.toml"), hosts).unwrap();
        let mut options = quick();
        options.hosts_dir = Some(dir.path().to_owned());
        let reference: Reference = format!("{}/app", origin.host).parse().unwrap();
        let tags = Client::new(options).unwrap().tags(&reference).unwrap();
        assert_eq!(tags.all().await.unwrap(), expected);
        let named = format!("ns={}", origin.host.replace(':', "%3A"));
        assert!(mirror.seen().iter().all(|seen| asks_for(seen, &named)));
    }
}
