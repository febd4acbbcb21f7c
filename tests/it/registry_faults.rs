//! Everything that a registry, or the network before it, can do wrong: the right bytes come out, or
//! the right error; and no credential goes where it does not belong.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ociget::{Error, Keychain, Options};
use test_support::image::{Image, Layer, Store};
use test_support::registry::{Action, Auth, Fault, Registry};

use crate::registry_pull::{noise, open, options, pull, pull_from, store};

const SIZE: usize = 200_000;

fn reference(registry: &Registry) -> String {
    format!("{}/app:latest", registry.addr())
}

fn status(status: u16, headers: &[(&str, &str)]) -> Action {
    let headers = headers.iter().map(|(k, v)| ((*k).into(), (*v).into()));
    Action::Status {
        status,
        headers: headers.collect(),
        body: String::new(),
    }
}

#[test]
fn a_blob_cut_at_any_of_fifty_positions_arrives_whole() {
    let registry = Registry::serve(store(SIZE)).unwrap();
    let whole = pull(&reference(&registry), options()).unwrap();
    let layer = layer_path(&registry);
    let (mut ranges, mut expected) = (Vec::new(), Vec::new());
    for part in 0..50 {
        // The first and the last byte, and 48 in between.
        let at = (whole - 1) * part / 49;
        registry.clear_faults();
        registry.clear_requests();
        registry.inject(Fault::on(&layer, Action::Truncate(at)).times(1));
        assert_eq!(
            pull(&reference(&registry), options()).unwrap(),
            whole,
            "{at}"
        );
        let seen = registry.requests();
        let asked = seen.iter().filter(|seen| seen.path.contains(&layer));
        ranges.extend(asked.filter_map(|seen| seen.header("range").map(str::to_owned)));
        // A blob that was cut before its first byte is requested as a whole.
        expected.extend((at > 0).then(|| format!("bytes={at}-{}", whole - 1)));
    }
    assert_eq!(ranges, expected);
}

/// Returns the path of the image's one layer, which is its largest blob and the last to be asked for.
fn layer_path(registry: &Registry) -> String {
    let requests = registry.requests();
    requests.last().unwrap().path.clone()
}

#[test]
fn a_stall_is_a_break() {
    let registry = Registry::serve(store(SIZE)).unwrap();
    let whole = pull(&reference(&registry), options()).unwrap();
    let stall = Action::Stall {
        at: 70_000,
        time: Duration::from_secs(30),
    };
    let layer = layer_path(&registry);
    registry.inject(Fault::on(&layer, stall.clone()).times(1));
    let start = Instant::now();
    assert_eq!(pull(&reference(&registry), options()).unwrap(), whole);
    assert!(start.elapsed() < Duration::from_secs(20));

    registry.inject(Fault::on(&layer, stall));
    let error = pull(&reference(&registry), options()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Interrupted {
                received: 70_000,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.is_transient());
}

#[test]
fn retry_after_is_honored_in_both_forms() {
    let date = |ahead| httpdate(SystemTime::now() + Duration::from_secs(ahead));
    for (value, least) in [("1".to_owned(), 1000), (date(3), 1000)] {
        let registry = Registry::serve(store(100)).unwrap();
        let action = status(429, &[("retry-after", &value)]);
        registry.inject(Fault::on("/manifests/", action).times(1));
        let start = Instant::now();
        pull(&reference(&registry), options()).unwrap();
        let took = start.elapsed().as_millis();
        assert!(took >= least && took < 20_000, "{value}: {took} ms");
    }
    // A wait that looks like a hang is an error at once.
    for value in ["3600".to_owned(), date(3600)] {
        let registry = Registry::serve(store(100)).unwrap();
        let action = status(429, &[("retry-after", &value)]);
        registry.inject(Fault::on("/manifests/", action));
        let start = Instant::now();
        let error = pull(&reference(&registry), options()).unwrap_err();
        assert!(matches!(error, Error::Throttled(_)), "{error:?}");
        assert!(start.elapsed() < Duration::from_secs(60));
    }
}

/// As `date` prints it: an implementation that is not the product's.
fn httpdate(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let output = std::process::Command::new("date")
        .env("LC_ALL", "C")
        .args(["-u", "+%a, %d %b %Y %H:%M:%S GMT", "-d"])
        .arg(format!("@{}", seconds.as_secs()))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn transient_statuses_are_tried_again_and_others_not() {
    for (code, requests) in [
        (500, 2),
        (502, 2),
        (503, 2),
        (408, 2),
        (403, 1),
        (404, 1),
        (400, 1),
    ] {
        let registry = Registry::serve(store(100)).unwrap();
        registry.inject(Fault::status("/blobs/", code));
        let error = pull(&reference(&registry), options()).unwrap_err();
        assert_eq!(error.refusal().unwrap().status, code);
        let seen = registry.requests();
        let blobs = seen.iter().filter(|seen| seen.path.contains("/blobs/"));
        assert_eq!(blobs.count(), requests, "{code}");
        registry.clear_faults();
        registry.inject(Fault::status("/blobs/", code).times(1));
        assert_eq!(pull(&reference(&registry), options()).is_ok(), requests > 1);
    }
}

#[test]
fn lies_about_lengths_and_ranges_never_yield_a_wrong_byte() {
    let size = |error: &Error| matches!(error, Error::Size { .. });
    let digest = |error: &Error| matches!(error, Error::Digest { .. });
    let broke = |error: &Error| matches!(error, Error::Interrupted { .. });
    let protocol = |error: &Error| matches!(error, Error::Protocol { .. });
    let partial = status(206, &[("content-range", "bytes 0-9/10")]);
    type Verdict<'a> = &'a dyn Fn(&Error) -> bool;
    let cases: [(Action, Verdict<'_>); 4] = [
        (Action::ContentLength(10), &size),
        (Action::ContentLength(1 << 40), &size),
        (Action::Corrupt(100_000), &digest),
        (partial, &protocol),
    ];
    for (action, verdict) in cases {
        let registry = Registry::serve(store(SIZE)).unwrap();
        pull(&reference(&registry), options()).unwrap();
        registry.inject(Fault::on(&layer_path(&registry), action.clone()));
        let error = pull(&reference(&registry), options()).unwrap_err();
        assert!(verdict(&error), "{action:?}: {error:?}");
    }
    // After a break: other ranges than asked for, and none at all.
    for (range, verdict) in [
        ("bytes 0-199999/200000", &protocol as Verdict<'_>),
        ("bytes 50001-199999/200000", &protocol),
        ("nonsense", &protocol),
    ] {
        let registry = Registry::serve(store(SIZE)).unwrap();
        pull(&reference(&registry), options()).unwrap();
        let layer = layer_path(&registry);
        registry.inject(Fault::on(&layer, Action::Truncate(50_000)).times(1));
        registry.inject(Fault::on(&layer, status(206, &[("content-range", range)])));
        let error = pull(&reference(&registry), options()).unwrap_err();
        assert!(verdict(&error) || broke(&error), "{range}: {error:?}");
    }
    let registry = Registry::serve(store(SIZE)).unwrap();
    let whole = pull(&reference(&registry), options()).unwrap();
    let layer = layer_path(&registry);
    registry.inject(Fault::on(&layer, Action::Truncate(50_000)).times(1));
    registry.inject(Fault::on(&layer, Action::IgnoreRange));
    assert_eq!(pull(&reference(&registry), options()).unwrap(), whole);
}

/// Options of ada, whose password is for one registry alone.
fn ada(directory: &tempfile::TempDir, registry: &Registry) -> Options {
    let mut options = options();
    login(directory, registry, &mut options);
    options
}

/// ada's password, for one registry alone.
pub(crate) fn login(directory: &tempfile::TempDir, registry: &Registry, options: &mut Options) {
    let file = directory.path().join("auth.json");
    // ada:hunter2
    let config = format!(
        "{{\"auths\":{{\"{}\":{{\"auth\":\"YWRhOmh1bnRlcjI=\"}}}}}}",
        registry.addr()
    );
    std::fs::write(&file, config).unwrap();
    options.credentials = Arc::new(Keychain::from_file(file));
}

#[test]
fn a_redirect_to_another_port_works_and_gets_no_credential() {
    let user = Auth::Basic {
        user: "ada".into(),
        password: "hunter2".into(),
    };
    let storage = Registry::serve(store(SIZE)).unwrap();
    let registry = Registry::serve_with(store(SIZE), user).unwrap();
    registry.inject(Fault::on(
        "/blobs/",
        Action::Redirect(format!("http://{}", storage.addr())),
    ));
    let directory = tempfile::tempdir().unwrap();
    pull(&reference(&registry), ada(&directory, &registry)).unwrap();
    // That nothing else came is what the support looks at, on every request.
    assert!(!storage.requests().is_empty());
}

#[test]
fn allowed_redirect_to_another_host_gets_no_credential() {
    let user = Auth::Bearer {
        user: Some(("ada".into(), "hunter2".into())),
    };
    let storage = Registry::serve(store(SIZE)).unwrap();
    let registry = Registry::serve_with(store(SIZE), user).unwrap();
    let origin = format!("http://localhost:{}", storage.addr().port());
    registry.inject(Fault::on("/blobs/", Action::Redirect(origin)));
    let directory = tempfile::tempdir().unwrap();
    let mut options = ada(&directory, &registry);
    options.allow_private_realms.push("localhost".to_owned());
    pull(&reference(&registry), options).unwrap();
    assert!(!storage.requests().is_empty());
}

#[test]
fn endless_body_is_abandoned_when_it_is_too_long() {
    let registry = Registry::serve(store(SIZE)).unwrap();
    pull(&reference(&registry), options()).unwrap();
    registry.inject(Fault::on(&layer_path(&registry), Action::Endless));
    let error = pull(&reference(&registry), options()).unwrap_err();
    assert!(
        matches!(&error, Error::Size { found, .. } if found.starts_with("more than")),
        "{error:?}"
    );
    // The same of a document, which has a cap instead of a size.
    registry.clear_faults();
    registry.inject(Fault::on("/manifests/", Action::Endless).method("GET"));
    let error = pull(&reference(&registry), options()).unwrap_err();
    assert!(
        matches!(&error, Error::Protocol { reason, .. } if reason.contains("more than 4194304")),
        "{error:?}"
    );
}

#[test]
fn slow_blob_completes_and_slow_document_times_out() {
    let registry = Registry::serve(store(SIZE)).unwrap();
    let whole = pull(&reference(&registry), options()).unwrap();
    let layer = layer_path(&registry);
    // The last 100 bytes at 20 a second: no pause is nearly as long as the limit, the whole is much longer.
    let drip = |at| Action::Drip {
        at,
        every: Duration::from_millis(50),
    };
    let mut hasty = options();
    hasty.stall_timeout = Duration::from_secs(1);
    registry.inject(Fault::on(&layer, drip(whole - 100)));
    assert_eq!(pull(&reference(&registry), hasty.clone()).unwrap(), whole);
    let seen = registry.requests();
    let asked = seen.iter().filter(|seen| seen.path == layer);
    assert_eq!(asked.count(), 2, "one a pull: it was no break");

    registry.inject(Fault::on("/manifests/", drip(0)).method("GET"));
    let error = pull(&reference(&registry), hasty).unwrap_err();
    assert!(
        matches!(&error, Error::Unreachable { reason, .. } if reason.contains("document")),
        "{error:?}"
    );
}

#[test]
fn redirects_and_realms_to_internal_hosts_are_refused_unsent() {
    let inside = Registry::serve(Store::new()).unwrap();
    let port = inside.addr().port();
    for target in [
        format!("http://localhost:{port}"),
        format!("http://[::1]:{port}"),
        format!("http://127.0.0.2:{port}"),
        "http://169.254.169.254".to_owned(),
        "http://10.0.0.1".to_owned(),
        "ftp://storage.example".to_owned(),
        "http://user:pw@storage.example".to_owned(),
    ] {
        let registry = Registry::serve(store(100)).unwrap();
        registry.inject(Fault::on("/blobs/", Action::Redirect(target.clone())));
        let error = pull(&reference(&registry), options()).unwrap_err();
        assert!(
            matches!(error, Error::Forbidden { .. }),
            "{target}: {error:?}"
        );

        let registry = Registry::serve(store(100)).unwrap();
        let challenge = format!("Bearer realm=\"{target}/token\",service=\"x\"");
        let action = status(401, &[("www-authenticate", &challenge)]);
        registry.inject(Fault::on("/manifests/", action));
        let directory = tempfile::tempdir().unwrap();
        let error = pull(&reference(&registry), ada(&directory, &registry)).unwrap_err();
        assert!(
            matches!(error, Error::Forbidden { .. }),
            "{target}: {error:?}"
        );
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
    assert_eq!(inside.requests(), []);
}

#[test]
fn token_that_expires_during_a_pull_is_replaced() {
    let registry = Registry::serve_with(store(SIZE), Auth::Bearer { user: None }).unwrap();
    let whole = pull(&reference(&registry), options()).unwrap();
    let layer = layer_path(&registry);
    registry.clear_requests();
    let challenge = format!(
        "Bearer realm=\"http://{}/token\",service=\"test registry\"",
        registry.addr()
    );
    registry.inject(Fault::on(&layer, Action::Truncate(50_000)).times(1));
    let expired = status(401, &[("www-authenticate", &challenge)]);
    registry.inject(Fault::on(&layer, expired).times(1));
    assert_eq!(pull(&reference(&registry), options()).unwrap(), whole);
    let tokens = registry.requests();
    let tokens = tokens.iter().filter(|r| r.path.starts_with("/token"));
    assert_eq!(tokens.count(), 2);
}

#[test]
fn a_manifest_that_changes_between_requests_changes_nothing() {
    // The tag is requested once; its later target is not seen.
    let registry = Registry::serve(store(SIZE)).unwrap();
    pull(&reference(&registry), options()).unwrap();
    let by_tag = registry
        .requests()
        .iter()
        .filter(|request| request.path.ends_with("/manifests/latest"))
        .count();
    assert_eq!(by_tag, 1);
    // Also not if it moves between the question what it stands for and the next one.
    let mut both = store(SIZE);
    let newer = Image::new()
        .layer(Layer::new().file("newer", "newer"))
        .add_to(&mut both);
    let registry = Registry::serve(both).unwrap();
    let whole = pull(&reference(&registry), options()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let source = open(&reference(&registry), options());
        let first = source.identity().await.unwrap();
        registry.retag("latest", &newer);
        assert_eq!(pull_from(&*source).await.unwrap(), whole);
        let later = open(&reference(&registry), options());
        let second = later
            .identity()
            .await
            .unwrap()
            .map(|digest| digest.to_string());
        assert_eq!(second, Some(newer.digest.clone()));
        assert_ne!(first.map(|digest| digest.to_string()), second);
    });
    // By digest, other bytes than those are refused.
    let digest = format!("sha256:{}", "0".repeat(64));
    let page = Action::Status {
        status: 200,
        headers: Vec::new(),
        body: String::from_utf8_lossy(&noise(100)).into_owned(),
    };
    registry.inject(Fault::on("/manifests/", page));
    let pinned = format!("{}/app@{digest}", registry.addr());
    let error = pull(&pinned, options()).unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error:?}");
}
