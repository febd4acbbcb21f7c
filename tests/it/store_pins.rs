//! A pin holds: the artifact that a pull returns has the digest that the caller named, whatever the
//! source is and whatever the store holds.

use std::fs;
use std::path::Path;

use hpcc_rootfs::{Agents, Error, ErrorKind, Options, Store};
use ociget::{Algorithm, Digest};
use test_support::image::{Compression, Image, Layer, Store as Images};
use test_support::registry::{Action, Fault, Registry};

use crate::cli::Place;

/// Two images, A and B, in every kind of source.
struct Sources {
    registry: Registry,
    place: Place,
    a: Digest,
    b: Digest,
}

impl Sources {
    fn new() -> Self {
        let mut images = Images::new();
        let mut add = |tag: &str| -> Digest {
            let layer = Layer::new().compressed(Compression::None);
            let image = Image::new()
                .layer(layer.file("which", tag))
                .add_to(&mut images);
            images.tag(tag, &image);
            image.digest.parse().unwrap()
        };
        let (a, b) = (add("a"), add("b"));
        let place = Place::new();
        let layout = place.path("layout");
        images.write_layout(&layout).unwrap();
        let mut archive = tar::Builder::new(fs::File::create(place.path("oci.tar")).unwrap());
        archive.append_dir_all(".", &layout).unwrap();
        archive.finish().unwrap();
        docker_archive(&layout, &a, &place.path("docker.tar"));
        Self {
            registry: Registry::serve(images).unwrap(),
            place,
            a,
            b,
        }
    }

    fn by_tag(&self) -> String {
        format!("{}/image:a", self.registry.addr())
    }

    fn pinned(&self, digest: &Digest) -> String {
        format!("{}/image@{digest}", self.registry.addr())
    }

    fn options(&self) -> Options {
        let mut options = Options::default();
        let architecture = options.platform.architecture();
        options.agents = Agents::default().with(architecture, self.place.agent());
        options
    }

    /// Returns a store that holds these images.
    async fn store(&self, name: &str, holds: &[&Digest]) -> Store {
        let store = Store::open(self.place.path(name), self.options()).unwrap();
        for digest in holds {
            let pulled = store.pull_image(&self.pinned(digest), None).await.unwrap();
            assert_eq!(pulled.digest, **digest);
        }
        store
    }
}

/// What `docker save` would write of an image of a layout.
fn docker_archive(layout: &Path, image: &Digest, file: &Path) {
    let blob = |digest: &str| {
        let hex = digest.trim_start_matches("sha256:");
        fs::read(layout.join("blobs/sha256").join(hex)).unwrap()
    };
    let manifest: serde_json::Value = serde_json::from_slice(&blob(&image.to_string())).unwrap();
    let digest = |value: &serde_json::Value| value["digest"].as_str().unwrap().to_owned();
    let config = blob(&digest(&manifest["config"]));
    let layer = blob(&digest(&manifest["layers"][0]));
    let list = serde_json::json!([
        {"Config": "config.json", "RepoTags": ["image:a"], "Layers": ["layer.tar"]}
    ]);
    let mut archive = tar::Builder::new(fs::File::create(file).unwrap());
    for (name, bytes) in [
        ("manifest.json", list.to_string().into_bytes()),
        ("config.json", config),
        ("layer.tar", layer),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &*bytes).unwrap();
    }
    archive.finish().unwrap();
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(work)
}

/// Returns the SHA-512 of some bytes.
fn sha512(bytes: &[u8]) -> Digest {
    let mut hasher = Algorithm::Sha512.hasher();
    hasher.update(bytes);
    hasher.finish()
}

#[test]
fn pull_returns_pinned_image_or_error_from_every_source() {
    let sources = Sources::new();
    let (a, b) = (&sources.a, &sources.b);
    let file = |kind: &str, name: &str, tag: &str| {
        format!("{kind}:{}:{tag}", sources.place.path(name).display())
    };
    let texts = [
        (sources.by_tag(), None),
        (sources.pinned(a), Some(a)),
        (sources.pinned(b), Some(b)),
        (file("oci", "layout", "a"), None),
        (file("oci-archive", "oci.tar", "a"), None),
        (file("docker-archive", "docker.tar", "image:a"), None),
    ];
    let (mut agreed, mut usage) = (0, 0);
    block_on(async {
        for (state, holds) in [
            ("none", &[][..]),
            ("a", &[a]),
            ("b", &[b]),
            ("both", &[a, b]),
        ] {
            for (at, (text, own)) in texts.iter().enumerate() {
                for (nth, expected) in [None, Some(a), Some(b)].into_iter().enumerate() {
                    let case = format!("{text}, {expected:?}, the store holds {state}");
                    let store = sources.store(&format!("{state}{at}{nth}"), holds).await;
                    sources.registry.clear_requests();
                    let outcome = store.pull_image(text, expected).await;
                    match (own, expected) {
                        (Some(own), Some(expected)) if *own != expected => {
                            assert!(outcome.unwrap_err().is_usage(), "{case}");
                            assert!(sources.registry.requests().is_empty(), "{case}");
                            usage += 1;
                        }
                        (own, expected) => match outcome {
                            Ok(pulled) => {
                                let pin = own.or(expected).unwrap_or(&pulled.digest);
                                assert_eq!(pulled.digest, *pin, "{case}");
                                assert_eq!(pulled.path, store.path_for(pin), "{case}");
                                assert_eq!(pulled.record.key.identity, *pin, "{case}");
                                agreed += 1;
                            }
                            // Its manifest is made from its config and layers: neither A nor B.
                            Err(error) => {
                                assert!(text.starts_with("docker-archive"), "{case}: {error}");
                                let pin = expected.expect("only a pin can be absent");
                                assert!(error.to_string().contains(&pin.to_string()), "{error}");
                                assert!(!holds.contains(&pin), "{case}");
                            }
                        },
                    }
                }
            }
        }
    });
    assert_eq!(usage, 4 * 2);
    assert_eq!(agreed, 4 * (3 + 2 + 2 + 3 + 3) + 1 + 2 + 2 + 3);
}

#[test]
fn callers_with_different_pins_do_not_share_a_build() {
    let sources = Sources::new();
    let (a, b) = (&sources.a, &sources.b);
    block_on(async {
        let store = sources.store("cache", &[]).await;
        let (tag, pinned) = (sources.by_tag(), sources.pinned(a));
        let (first, second, third, wrong) = tokio::join!(
            store.pull_image(&tag, Some(a)),
            store.pull_image(&tag, Some(b)),
            store.pull_image(&pinned, Some(a)),
            store.pull_image(&pinned, Some(b)),
        );
        assert_eq!(first.unwrap().digest, *a);
        assert_eq!(second.unwrap().digest, *b);
        assert_eq!(third.unwrap().digest, *a);
        assert!(wrong.unwrap_err().is_usage());
    });
}

#[test]
fn build_with_two_digests_fails_and_writes_nothing() {
    let sources = Sources::new();
    let output = sources.place.path("out.sqsh");
    let built = |text: &str, expected: &Digest| {
        block_on(hpcc_rootfs::build(
            text,
            Some(expected),
            &output,
            &sources.options(),
        ))
    };
    let error = built(&sources.pinned(&sources.a), &sources.b).unwrap_err();
    assert!(error.is_usage(), "{error}");
    assert!(!output.exists());
    let layout = format!("oci:{}:a", sources.place.path("layout").display());
    assert_eq!(built(&layout, &sources.b).unwrap().digest, sources.b);
    let error = built(&layout, &sha512(b"neither")).unwrap_err();
    assert!(matches!(error, Error::Source(_)), "{error}");
}

#[test]
fn command_with_two_digests_exits_2_before_reading_anything() {
    let sources = Sources::new();
    let (a, b) = (sources.a.to_string(), sources.b.to_string());
    let pinned = sources.pinned(&sources.a);
    sources.place.pull(&pinned, &[]).line();
    let file = sources.place.path("file");
    fs::write(&file, "no directory").unwrap();
    let file = file.to_str().unwrap();
    let other = sha512(b"a document").to_string();
    for digest in [&b, &other] {
        for more in [
            &["--digest", digest][..],
            &["--digest", digest, "--verify"],
            &["--digest", digest, "--cache-dir", file],
            &["--digest", digest, "--agent-amd64", "/nonexistent"],
        ] {
            let agent = sources.place.agent();
            let mut arguments = vec!["pull", &pinned];
            arguments.extend(more);
            if !more.contains(&"--agent-amd64") {
                arguments.extend(["--agent", agent.to_str().unwrap()]);
            }
            let outcome = sources.place.run(&arguments);
            assert_eq!(outcome.status, Some(2), "{arguments:?} {outcome:#?}");
            assert_eq!(outcome.stdout, "", "{arguments:?}");
            assert!(outcome.stderr.contains(&a), "{outcome:#?}");
            assert!(outcome.stderr.contains(digest.as_str()), "{outcome:#?}");
        }
        let output = sources.place.path("out.sqsh");
        let output = output.to_str().unwrap();
        let build = ["build", &pinned, "-o", output, "--digest", digest];
        assert_eq!(sources.place.run(build).status, Some(2));
    }
    let same = sources.place.pull(&pinned, &["--digest", &a]);
    assert!(same.line().contains(a.trim_start_matches("sha256:")));
}

/// With a tag and a digest, the tag is not used (docker/cli#4545, moby/moby#22112).
#[test]
fn pull_with_digest_leaves_the_tag_where_it_was() {
    let sources = Sources::new();
    let (a, b) = (sources.a.to_string(), sources.b.to_string());
    let layout = format!("oci:{}:a", sources.place.path("layout").display());
    let place = &sources.place;
    for (case, tag) in [sources.by_tag(), layout].iter().enumerate() {
        let other = match tag.starts_with("oci:") {
            true => tag.replace(":a", ":b"),
            false => sources.pinned(&sources.b),
        };
        for (order, pulls) in [
            ("tag first", &[(tag, None), (tag, Some(&b))][..]),
            ("pin first", &[(tag, Some(&b)), (tag, None)]),
            ("there", &[(&other, None), (tag, None), (tag, Some(&b))]),
            ("pin alone", &[(tag, Some(&b))]),
        ] {
            let cache = place.path(&format!("{case}{order}"));
            let store = ["--cache-dir", cache.to_str().unwrap()];
            for (reference, digest) in pulls {
                let pin = digest.map(|digest| ["--digest", digest]);
                let pin = pin.iter().flatten().copied();
                let more: Vec<_> = store.into_iter().chain(pin).collect();
                place.pull(reference, &more).line();
            }
            let named = |command: &str| place.run([&[command, tag][..], &store].concat());
            let is_name = order != "pin alone";
            let path = named("path");
            assert_eq!(path.stdout.contains(&a[7..]), is_name, "{order} {path:#?}");
            assert!(!path.stdout.contains(&b[7..]), "{order} {path:#?}");
            if case == 0 {
                let offline = place.pull(tag, &[&store[..], &["--offline"]].concat());
                assert_eq!(offline.stdout, path.stdout, "{order} {offline:#?}");
            }
            let removed = named("rm");
            let said = removed.stdout.contains(&a) || removed.stderr.contains(&a);
            assert_eq!(removed.status == Some(0), is_name, "{order} {removed:#?}");
            assert!(said || !is_name, "{order} {removed:#?}");
            let left = fs::exists(cache.join(format!("sha256-{}.sqsh", &b[7..])));
            assert!(left.unwrap(), "{order} {removed:#?}");
        }
    }
}

/// Notes without times have a tag from the time of their artifact, which a build changes.
#[test]
fn rebuild_by_digest_keeps_times_of_older_notes() {
    let sources = Sources::new();
    let (place, tag) = (&sources.place, sources.by_tag());
    for (seconds, digest) in [(1, &sources.a), (2, &sources.b)] {
        let path = place.pull(&sources.pinned(digest), &[]).line().to_owned();
        let file = fs::File::options().append(true).open(path).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_modified(time).unwrap();
        let note = format!(".note-{}", digest.to_string().replace(':', "-"));
        fs::write(
            place.cache().join(note),
            serde_json::json!({ "source": tag }).to_string(),
        )
        .unwrap();
    }
    let newer = place.run(["path", &tag]).line().to_owned();
    assert!(newer.contains(&sources.b.to_string()[7..]));
    for digest in [&sources.a, &sources.b] {
        place
            .pull(&sources.pinned(digest), &["--block-size", "4K"])
            .line();
        assert_eq!(place.run(["path", &tag]).line(), newer);
    }
}

/// Lets `sources` answer every `HEAD` of a tag with a digest that no host has.
fn forget(sources: &Sources) -> Digest {
    let gone = Digest::of(b"gone");
    let action = Action::Status {
        status: 200,
        headers: vec![("docker-content-digest".to_owned(), gone.to_string())],
        body: String::new(),
    };
    let fault = Fault::on("/manifests/a", action).method("HEAD");
    sources.registry.inject(fault);
    gone
}

// enix/kube-image-keeper#626
#[tokio::test]
async fn missing_digest_of_a_tag_gives_way_to_its_manifest() {
    let (origin, mirror) = (Sources::new(), Sources::new());
    let addr = origin.registry.addr();
    let hosts = origin.place.path("hosts").join(addr.to_string());
    fs::create_dir_all(&hosts).unwrap();
    let lines = format!("[host.\"http://{}\"]\n", mirror.registry.addr());
    fs::write(hosts.join("hosts.toml"), lines).unwrap();
    let mut options = origin.options();
    options.network.hosts_dir = Some(origin.place.path("hosts"));
    forget(&mirror);
    let by_mirror = Store::open(origin.place.path("by mirror"), options.clone()).unwrap();
    options.network.hosts_dir = None;
    let directly = Store::open(origin.place.path("directly"), options.clone()).unwrap();
    let by_tag_alone = Store::open(origin.place.path("by tag alone"), options).unwrap();

    let pulled = by_mirror.pull_image(&origin.by_tag(), None).await.unwrap();
    assert_eq!(pulled.digest, origin.a);
    assert_eq!(pulled.path, by_mirror.path_for(&origin.a));
    let again = by_mirror.pull_image(&origin.by_tag(), None).await.unwrap();
    assert!(again.digest == origin.a && again.built.is_none());

    let gone = forget(&origin);
    let pulled = directly.pull_image(&origin.by_tag(), None).await.unwrap();
    assert_eq!(pulled.digest, origin.a);
    for (image, pin) in [
        (origin.by_tag(), Some(&gone)),
        (origin.pinned(&gone), None),
        (format!("{}@{gone}", origin.by_tag()), None),
    ] {
        let error = directly.pull_image(&image, pin).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{image}: {error}");
    }
    assert!(!directly.path_for(&gone).exists());

    // The digest is right here, and the host has no requests by digest.
    origin.registry.clear_faults();
    let by_digest = Fault::status("/manifests/sha256:", 404);
    origin.registry.inject(by_digest);
    let pulled = by_tag_alone.pull_image(&origin.by_tag(), None).await;
    assert_eq!(pulled.unwrap().digest, origin.a);
}
