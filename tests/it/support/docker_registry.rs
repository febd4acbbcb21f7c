//! The guard around Debian's registry, and skopeo in front of it.

use std::net::TcpStream;

use serde_json::Value;
use test_support::docker_registry::DockerRegistry;
use test_support::image::{Image, Index, Layer, Store};
use test_support::skopeo::{self, Copy, Format};
use test_support::{Result, image};

#[test]
fn it_is_up_until_dropped_and_two_do_not_meet() -> Result<()> {
    let (first, second) = (DockerRegistry::start()?, DockerRegistry::start()?);
    assert_ne!(first.addr(), second.addr());
    for addr in [first.addr(), second.addr()] {
        TcpStream::connect(addr)?;
    }
    let addr = first.addr();
    drop(first);
    assert!(TcpStream::connect(addr).is_err(), "{addr} still answers");
    TcpStream::connect(second.addr())?;
    Ok(())
}

#[test]
fn skopeo_pushes_a_layout_in_either_format() -> Result<()> {
    let (directory, digest) = layout()?;
    let registry = DockerRegistry::start()?;
    for (format, tag, expected) in [
        (
            Format::Oci,
            "oci",
            "application/vnd.oci.image.manifest.v1+json",
        ),
        (
            Format::Docker,
            "docker",
            "application/vnd.docker.distribution.manifest.v2+json",
        ),
    ] {
        let reference = format!("{}/some/name:{tag}", registry.addr());
        skopeo::push_layout(directory.path(), "latest", &reference, format)?;
        let manifest: Value = serde_json::from_str(&skopeo::raw_manifest(&reference)?)?;
        assert_eq!(manifest["mediaType"], expected);
        let same = skopeo::digest(&reference)? == digest;
        assert_eq!(same, format == Format::Oci, "only Docker's is converted");
    }
    Ok(())
}

#[test]
fn an_index_arrives_whole() -> Result<()> {
    let mut store = Store::new();
    let index = Index::new()
        .image(Image::new().layer(Layer::new().file("arch", "amd64")))
        .image(
            Image::new()
                .platform("linux/arm64")
                .layer(Layer::new().file("arch", "arm64")),
        )
        .add_to(&mut store);
    store.tag("both", &index);
    let directory = tempfile::tempdir()?;
    store.write_layout(directory.path())?;
    let registry = DockerRegistry::start()?;
    let reference = format!("{}/multi:both", registry.addr());
    let source = format!("oci:{}:both", directory.path().display());
    Copy::new(&source, &format!("docker://{reference}"))
        .all()
        .run()?;
    assert_eq!(skopeo::digest(&reference)?, index.digest);
    Ok(())
}

#[test]
fn with_a_user_only_the_password_opens() -> Result<()> {
    let (directory, _) = layout()?;
    let registry = DockerRegistry::start_with_user("ada", "secret")?;
    let source = format!("oci:{}:latest", directory.path().display());
    let push = Copy::new(&source, &format!("docker://{}/private:1", registry.addr()));
    assert!(push.run().is_err());
    assert!(push.clone().destination_user("ada", "wrong").run().is_err());
    push.destination_user("ada", "secret").run()
}

fn layout() -> Result<(tempfile::TempDir, String)> {
    let mut store = Store::new();
    let image: image::Descriptor = Image::new()
        .layer(Layer::new().file("hello", "world"))
        .add_to(&mut store);
    store.tag("latest", &image);
    let directory = tempfile::tempdir()?;
    store.write_layout(directory.path())?;
    Ok((directory, image.digest))
}
