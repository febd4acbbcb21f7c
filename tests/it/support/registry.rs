//! The embedded registry: skopeo can pull from it, and its faults are what they say.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use test_support::image::{Descriptor, Flavour, Image, Index, Layer, Store, sha256};
use test_support::registry::{Action, Auth, Fault, Registry};
use test_support::skopeo::{self, Copy};
use test_support::{Failure, Result};

#[test]
fn skopeo_copies_an_image_out_of_it() -> Result<()> {
    for flavour in [Flavour::Oci, Flavour::Docker] {
        let (store, image) = store(flavour);
        let registry = Registry::serve(store)?;
        let directory = tempfile::tempdir()?;
        let source = format!("docker://{}/some/name:latest", registry.addr());
        let target = format!("oci:{}:copied", directory.path().display());
        Copy::new(&source, &target).run()?;
        let copied = Store::open_layout(directory.path())?;
        let found = copied
            .tagged("copied")
            .ok_or_else(|| Failure::new("skopeo wrote no tag"))?;
        let unchanged = found.digest == image.digest;
        assert_eq!(unchanged, flavour == Flavour::Oci, "Docker's is converted");
        let asked: Vec<_> = registry.requests().into_iter().map(|r| r.path).collect();
        let layers = asked
            .iter()
            .filter(|path| path.contains("/v2/some/name/blobs/"));
        assert_eq!(layers.count(), 3, "two layers and a config: {asked:?}");
    }
    Ok(())
}

#[test]
fn skopeo_copies_an_index_out_of_it() -> Result<()> {
    let mut store = Store::new();
    let one = |platform| {
        Image::new()
            .platform(platform)
            .layer(Layer::new().file("platform", platform))
    };
    let index = Index::new()
        .image(one("linux/amd64"))
        .image(one("linux/arm64"))
        .attestation()
        .add_to(&mut store);
    store.tag("latest", &index);
    let registry = Registry::serve(store)?;
    let directory = tempfile::tempdir()?;
    let source = format!("docker://{}/multi@{}", registry.addr(), index.digest);
    let target = format!("oci:{}:all", directory.path().display());
    Copy::new(&source, &target).all().run()?;
    let copied = Store::open_layout(directory.path())?;
    assert_eq!(
        copied.tagged("all").map(|d| &*d.digest),
        Some(&*index.digest)
    );
    Ok(())
}

#[test]
fn only_authenticated_clients_get_in() -> Result<()> {
    let user = || ("ada".to_owned(), "secret".to_owned());
    let (name, password) = user();
    for auth in [
        Auth::Basic {
            user: name,
            password,
        },
        Auth::Bearer { user: Some(user()) },
    ] {
        let (store, _) = store(Flavour::Oci);
        let registry = Registry::serve_with(store, auth.clone())?;
        let directory = tempfile::tempdir()?;
        let source = format!("docker://{}/private:latest", registry.addr());
        let target = format!("oci:{}:copied", directory.path().display());
        let copy = Copy::new(&source, &target);
        assert!(copy.run().is_err(), "{auth:?} without credentials");
        let wrong = copy.clone().source_user("ada", "guess");
        assert!(wrong.run().is_err(), "{auth:?} with a wrong password");
        copy.source_user("ada", "secret").run()?;
        assert_eq!(
            registry.requests()[0].status,
            401,
            "the first request is open"
        );
    }
    Ok(())
}

#[test]
fn a_revoked_token_and_one_for_another_repository_are_refused() -> Result<()> {
    let (store, _) = store(Flavour::Oci);
    let registry = Registry::serve_with(store, Auth::Bearer { user: None })?;
    let answer = get(
        &registry,
        "/token?service=s&scope=repository%3Aours%3Apull",
        "",
    )?;
    let json: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let token = json["token"].as_str().unwrap_or_default();
    let header = format!("Authorization: Bearer {token}\r\n");
    let status = |path: &str| Ok::<_, Failure>(get(&registry, path, &header)?.status);
    assert_eq!(status("/v2/ours/manifests/latest")?, 200);
    assert_eq!(status("/v2/theirs/manifests/latest")?, 401);
    registry.revoke_tokens();
    assert_eq!(status("/v2/ours/manifests/latest")?, 401);
    Ok(())
}

#[test]
fn ranges_are_served_to_the_byte() -> Result<()> {
    let (registry, path, body) = one_blob()?;
    let size = body.len();
    for (range, status, expected) in [
        ("", 200, &body[..]),
        ("Range: bytes=10-\r\n", 206, &body[10..]),
        ("Range: bytes=0-0\r\n", 206, &body[..1]),
        ("Range: bytes=5-99999999\r\n", 206, &body[5..]),
        ("Range: lines=5-\r\n", 200, &body[..]),
    ] {
        let answer = get(&registry, &path, range)?;
        assert_eq!(
            (answer.status, &*answer.body),
            (status, expected),
            "{range}"
        );
    }
    let answer = get(&registry, &path, "Range: bytes=10-19\r\n")?;
    let expected = format!("content-range: bytes 10-19/{size}");
    assert!(answer.head.contains(&expected), "{}", answer.head);
    let beyond = format!("Range: bytes={size}-\r\n");
    assert_eq!(get(&registry, &path, &beyond)?.status, 416);
    Ok(())
}

#[test]
fn faults_do_what_they_say_as_often_as_they_say() -> Result<()> {
    let (registry, path, body) = one_blob()?;
    let announced = format!("content-length: {}", body.len());
    for at in [0, 1, 65_536, 100_000] {
        registry.inject(Fault::on("/blobs/", Action::Truncate(at)).times(1));
        let answer = get(&registry, &path, "")?;
        let kept = usize::try_from(at)?;
        assert!(answer.head.contains(&announced), "{}", answer.head);
        assert!(
            answer.body == body[..kept],
            "cut at {at}: {} came",
            answer.body.len()
        );
    }
    registry.inject(Fault::on("/blobs/", Action::Corrupt(70_000)).times(1));
    let answer = get(&registry, &path, "")?;
    let different: Vec<usize> = (0..body.len())
        .filter(|&i| answer.body[i] != body[i])
        .collect();
    assert_eq!(different, [70_000]);

    for (lie, comes) in [(1000, 1000), (1_000_000, body.len())] {
        registry.inject(Fault::on("/blobs/", Action::ContentLength(lie)).times(1));
        let answer = get(&registry, &path, "")?;
        assert!(answer.head.contains(&format!("content-length: {lie}")));
        assert!(
            answer.body == body[..comes],
            "{lie}: {} came",
            answer.body.len()
        );
    }
    registry.inject(Fault::on("/blobs/", Action::IgnoreRange).times(1));
    assert_eq!(get(&registry, &path, "Range: bytes=9-\r\n")?.status, 200);

    let retry_after = [("Retry-After".to_owned(), "7".to_owned())];
    let action = Action::Status {
        status: 429,
        headers: retry_after.to_vec(),
        body: "slow down".into(),
    };
    registry.inject(Fault::on("/blobs/", action).method("GET").times(2));
    for expected in [429, 429, 200] {
        assert_eq!(get(&registry, &path, "")?.status, expected);
    }
    let answer = get(&registry, &path, "")?;
    assert!(answer.body == body, "no fault is left over");
    Ok(())
}

#[test]
fn delays_and_stalls_take_time_and_end_when_dropped() -> Result<()> {
    let (registry, path, body) = one_blob()?;
    let time = Duration::from_millis(150);
    for action in [Action::Delay(time), Action::Stall { at: 500, time }] {
        registry.inject(Fault::on("/blobs/", action).times(1));
        let start = Instant::now();
        assert!(get(&registry, &path, "")?.body == body);
        assert!(start.elapsed() >= time);
    }
    let forever = Duration::from_secs(3600);
    registry.inject(Fault::on(
        "/blobs/",
        Action::Stall {
            at: 500,
            time: forever,
        },
    ));
    let mut stream = request(&registry, &path, "")?;
    stream.read_exact(&mut [0; 600])?;
    drop(registry);
    let mut rest = Vec::new();
    // A close or a reset; what counts is that the wait is over.
    drop(stream.read_to_end(&mut rest));
    assert!(rest.len() < 500);
    Ok(())
}

#[test]
fn secrets_meant_for_others_are_noticed_on_every_request() -> Result<()> {
    let user = || ("ada".to_owned(), "secret".to_owned());
    let (name, password) = user();
    let basic = |text: &str| {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        format!("Authorization: Basic {encoded}\r\n")
    };
    let (ada, guess, eve) = (basic("ada:secret"), basic("ada:guess"), basic("eve:x"));
    let bearer = "Authorization: Bearer abc\r\n".to_owned();
    let open = Auth::Anonymous;
    let closed = Auth::Basic {
        user: name,
        password,
    };
    let tokens = Auth::Bearer { user: Some(user()) };
    let public = Auth::Bearer { user: None };
    let (blob, token) = ("/v2/x/blobs/y", "/token?scope=a");
    for (auth, path, header, strays) in [
        (&open, blob, "", 0),
        (&open, blob, &*ada, 1),
        (&open, blob, &*bearer, 1),
        (&open, blob, "Cookie: a=b\r\n", 1),
        (&closed, blob, &*ada, 0),
        (&closed, blob, &*guess, 0),
        (&closed, blob, &*eve, 1),
        (&closed, blob, &*bearer, 1),
        (&closed, "/v2/?x=secret", "", 1),
        (&closed, token, &*ada, 1),
        (&tokens, token, &*ada, 0),
        (&tokens, token, &*eve, 1),
        (&tokens, blob, &*ada, 1),
        (&tokens, blob, &*bearer, 1),
        (&public, token, &*ada, 1),
    ] {
        let registry = Registry::serve_with(Store::new(), auth.clone())?;
        get(&registry, path, header)?;
        let found = registry.take_strays();
        assert_eq!(found.len(), strays, "{auth:?} {path} {header}: {found:?}");
    }
    Ok(())
}

#[test]
#[should_panic(expected = "do not belong there")]
fn a_stray_secret_fails_the_test_that_did_not_look() {
    let registry = Registry::serve(Store::new()).unwrap();
    get(&registry, "/v2/", "Authorization: Basic eDp5\r\n").unwrap();
}

#[test]
fn drips_and_bodies_without_end_are_what_they_say() -> Result<()> {
    let (registry, path, body) = one_blob()?;
    let every = Duration::from_millis(10);
    let at = u64::try_from(body.len())? - 10;
    registry.inject(Fault::on("/blobs/", Action::Drip { at, every }).times(1));
    let start = Instant::now();
    assert!(get(&registry, &path, "")?.body == body);
    assert!(start.elapsed() >= every * 10);
    registry.inject(Fault::on("/blobs/", Action::Endless).times(1));
    let mut stream = request(&registry, &path, "")?;
    stream.read_exact(&mut vec![0; body.len() * 3])?;
    Ok(())
}

#[test]
fn a_redirect_leads_to_the_other_registry() -> Result<()> {
    let (store, _) = store(Flavour::Oci);
    let other = Registry::serve(store.clone())?;
    let registry = Registry::serve(store)?;
    let origin = format!("http://{}", other.addr());
    registry.inject(Fault::on("/blobs/", Action::Redirect(origin)));
    let directory = tempfile::tempdir()?;
    let source = format!("docker://{}/name:latest", registry.addr());
    Copy::new(&source, &format!("oci:{}:x", directory.path().display())).run()?;
    let served = other.requests();
    assert_eq!(served.len(), 3, "{served:?}");
    assert!(
        served
            .iter()
            .all(|request| request.header("authorization").is_none())
    );
    Ok(())
}

#[test]
fn missing_content_is_404_with_the_registrys_code() -> Result<()> {
    let (registry, _, _) = one_blob()?;
    for (path, code) in [
        ("/v2/name/manifests/none", "MANIFEST_UNKNOWN"),
        ("/v2/name/blobs/sha256:00", "BLOB_UNKNOWN"),
        ("/elsewhere", "NOT_FOUND"),
    ] {
        let answer = get(&registry, path, "")?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(
            answer.status == 404 && text.contains(code),
            "{path}: {text}"
        );
    }
    assert!(skopeo::digest(&format!("{}/name:none", registry.addr())).is_err());
    Ok(())
}

fn store(flavour: Flavour) -> (Store, Descriptor) {
    let mut store = Store::new();
    let image = Image::new()
        .flavour(flavour)
        .layer(Layer::new().dir("a").file("a/b", "c"))
        .layer(Layer::new().whiteout("a/b"))
        .add_to(&mut store);
    store.tag("latest", &image);
    (store, image)
}

/// Returns a registry with one blob of 150 000 bytes, its path, and the bytes.
fn one_blob() -> Result<(Registry, String, Vec<u8>)> {
    let body: Vec<u8> = (0..37_500_u32).flat_map(u32::to_be_bytes).collect();
    let mut store = Store::new();
    store.add("application/octet-stream", body.clone());
    let path = format!("/v2/name/blobs/{}", sha256(&body));
    Ok((Registry::serve(store)?, path, body))
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

/// Sends a request by hand, because a real client would hide or repair the faults that this test is about.
fn get(registry: &Registry, path: &str, headers: &str) -> Result<Answer> {
    let mut bytes = Vec::new();
    request(registry, path, headers)?.read_to_end(&mut bytes)?;
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or_else(|| Failure::new("no end of the headers"))?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).unwrap_or_default().parse()?;
    Ok(Answer {
        status,
        head,
        body: bytes.split_off(end + 4),
    })
}

fn request(registry: &Registry, path: &str, headers: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(registry.addr())?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n",
        registry.addr()
    )?;
    Ok(stream)
}
