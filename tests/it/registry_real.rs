//! Debian's registry with a token server that counts, and with what other tools put into it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ociget::{Error, Keychain, Options, Platform};
use test_support::buildah;
use test_support::docker_registry::{DockerRegistry, Setup};
use test_support::image::{Flavour, Image, Index, Layer, Store};
use test_support::registry::Registry;
use test_support::skopeo::{self, Copy, Format};
use test_support::token_server::TokenServer;

use crate::cli::Place;
use crate::registry_pull::{noise, open, options, pull, pull_from, store};

/// Returns a registry that takes the tokens of a server, with `team/app:v1` in it.
fn with_tokens(server: &TokenServer) -> (DockerRegistry, String) {
    let registry = Setup::default().tokens_of(server).start().unwrap();
    let seed = Registry::serve(store(200_000)).unwrap();
    let reference = format!("{}/team/app:v1", registry.addr());
    Copy::new(
        &format!("docker://{}/seed:latest", seed.addr()),
        &format!("docker://{reference}"),
    )
    .destination_user("ada", "hunter2")
    .run()
    .unwrap();
    (registry, reference)
}

/// Options of ada, by a file as podman keeps it.
fn ada(directory: &Path, registry: &DockerRegistry, password: &str) -> Options {
    use base64::Engine as _;
    let file = directory.join(format!("{password}.json"));
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("ada:{password}"));
    let config = format!(
        r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#,
        registry.addr()
    );
    fs::write(&file, config).unwrap();
    let mut options = options();
    options.credentials = Arc::new(Keychain::from_file(file));
    options
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

#[test]
fn one_token_is_enough_for_a_whole_pull() {
    let server = TokenServer::start(Some(("ada", "hunter2"))).unwrap();
    let (registry, reference) = with_tokens(&server);
    let directory = tempfile::tempdir().unwrap();
    let before = server.requests().len();
    let good = ada(directory.path(), &registry, "hunter2");
    assert!(pull(&reference, good).unwrap() > 200_000);
    let asked = server.requests().split_off(before);
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(
        asked[0]
            .path
            .contains("scope=repository%3Ateam%2Fapp%3Apull")
    );
    assert!(
        asked[0]
            .authorization
            .as_ref()
            .unwrap()
            .starts_with("Basic ")
    );

    // The registry refuses a client without a token, or with a token for no user.
    for (options, says) in [
        (options(), "an anonymous client"),
        (
            ada(directory.path(), &registry, "letmein"),
            "incorrect username or password",
        ),
    ] {
        let error = pull(&reference, options).unwrap_err();
        assert!(matches!(error, Error::Unauthorized(_)), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(says) && !text.contains("letmein\""), "{text}");
    }
}

#[test]
fn expired_token_is_replaced_by_one_new_one() {
    let server = TokenServer::start(Some(("ada", "hunter2"))).unwrap();
    let (registry, reference) = with_tokens(&server);
    let directory = tempfile::tempdir().unwrap();
    let options = ada(directory.path(), &registry, "hunter2");
    server.expire_after(Duration::from_secs(6));
    let before = server.requests().len();
    block_on(async {
        let source = open(&reference, options);
        let platform: Platform = "linux/amd64".parse().unwrap();
        let image = ociget::resolve(&*source, None, &platform).await.unwrap();
        assert_eq!(server.requests().len(), before + 1);
        // The token says that it is good for five minutes. The registry will not think so.
        tokio::time::sleep(Duration::from_secs(7)).await;
        let layer = &image.layers[0].descriptor;
        let blob = source.blob(layer).await.unwrap();
        assert_eq!(blob.finish().await.unwrap().get(), &layer.digest);
        assert_eq!(server.requests().len(), before + 2);
    });
}

#[test]
fn a_token_server_that_gives_to_everybody_gets_no_password() {
    let server = TokenServer::start(None).unwrap();
    let (_registry, reference) = with_tokens(&server);
    let before = server.requests().len();
    assert!(pull(&reference, options()).unwrap() > 200_000);
    let asked = server.requests().split_off(before);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].authorization, None);
}

#[test]
fn tag_whose_image_is_in_the_store_costs_one_head() {
    let registry = Registry::serve(store(10_000)).unwrap();
    let reference = format!("{}/app:latest", registry.addr());
    let place = Place::new();
    let first = place.pull(&reference, &["--platform", "linux/amd64"]);
    registry.clear_requests();
    let second = place.pull(&reference, &["--platform", "linux/amd64"]);
    assert_eq!(first.line(), second.line());
    let asked: Vec<_> = registry
        .requests()
        .into_iter()
        .map(|request| (request.method, request.path))
        .collect();
    let head = ("HEAD".to_owned(), "/v2/app/manifests/latest".to_owned());
    assert_eq!(asked, [head]);
}

#[test]
fn images_of_buildah_and_skopeo_are_read_in_both_formats() {
    let registry = DockerRegistry::start().unwrap();
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("hello"), noise(100_000)).unwrap();
    let seed = Registry::serve(store(100_000)).unwrap();
    let source = format!("docker://{}/seed:latest", seed.addr());
    for (format, tag, media_type) in [
        (Format::Oci, "oci", "vnd.oci.image.manifest.v1+json"),
        (
            Format::Docker,
            "docker",
            "vnd.docker.distribution.manifest.v2+json",
        ),
    ] {
        let built = format!("{}/buildah:{tag}", registry.addr());
        buildah::push(files.path(), &built, format).unwrap();
        let copied = format!("{}/skopeo:{tag}", registry.addr());
        let copy = Copy::new(&source, &format!("docker://{copied}"));
        copy.format(format).run().unwrap();
        for reference in [built, copied] {
            let manifest = skopeo::raw_manifest(&reference).unwrap();
            assert!(manifest.contains(media_type), "{manifest}");
            assert!(
                pull(&reference, options()).unwrap() >= 100_000,
                "{reference}"
            );
            block_on(async {
                let source = open(&reference, options());
                let identity = source.identity().await.unwrap().unwrap();
                assert_eq!(identity.to_string(), skopeo::digest(&reference).unwrap());
                let platform = "linux/amd64".parse().unwrap();
                let image = ociget::resolve(&*source, None, &platform).await.unwrap();
                assert_eq!(image.identity.get(), &identity);
            });
        }
    }
}

#[test]
fn index_with_attestations_gives_the_image_and_never_an_attestation() {
    for flavour in [Flavour::Oci, Flavour::Docker] {
        let mut store = Store::new();
        let one = |platform: &str, length| {
            Image::new()
                .flavour(flavour)
                .platform(platform)
                .layer(Layer::new().file(platform, noise(length)))
        };
        // As docker buildx writes it: after each image a manifest about it, for unknown/unknown.
        let index = Index::new()
            .flavour(flavour)
            .image(one("linux/amd64", 10_000))
            .attestation()
            .image(one("linux/arm64", 20_000))
            .attestation()
            .add_to(&mut store);
        store.tag("latest", &index);
        let seed = Registry::serve(store).unwrap();
        let registry = DockerRegistry::start().unwrap();
        let reference = format!("{}/multi:v1", registry.addr());
        let source = format!("docker://{}/seed:latest", seed.addr());
        Copy::new(&source, &format!("docker://{reference}"))
            .all()
            .run()
            .unwrap();
        assert!(
            skopeo::raw_manifest(&reference)
                .unwrap()
                .contains("unknown")
        );
        block_on(async {
            let source = open(&reference, options());
            for platform in ["linux/amd64", "linux/arm64"] {
                let wanted: Platform = platform.parse().unwrap();
                let image = ociget::resolve(&*source, None, &wanted).await.unwrap();
                assert_eq!(image.platform.architecture(), wanted.architecture());
                assert_eq!(image.identity.get().to_string(), index.digest);
                assert_ne!(image.manifest.get(), image.identity.get());
            }
            assert!(pull_from(&*source).await.unwrap() >= 10_000);
            let missing: Platform = "linux/riscv64".parse().unwrap();
            let error = ociget::resolve(&*source, None, &missing).await.unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains("linux/arm64") && !text.contains("unknown"),
                "{text}"
            );
        });
    }
}
