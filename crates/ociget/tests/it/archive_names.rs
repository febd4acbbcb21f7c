//! Names of members and of images in archives, and lengths that are refused.

use std::fs;

use ociget::DockerArchiveSource;

use crate::archive::{Place, config, file, list, tar};
use crate::support::pull;

/// buildpacks/pack#925, containers/podman#8132
#[tokio::test]
async fn names_that_begin_with_a_slash_are_read() {
    let config = config(&[b"l"]);
    for (member, named) in [
        ("/l.tar", "/l.tar"),
        ("l.tar", "/l.tar"),
        ("/l.tar", "l.tar"),
    ] {
        let list = list("c.json", &[named]);
        let source = Place::new();
        let source = source.docker(&[
            file("c.json", &config),
            file(member, b"l"),
            file("manifest.json", &list),
        ]);
        assert_eq!(pull(&source).await.unwrap(), [b"l"], "{member} {named}");
    }
    let list = list("c.json", &["l.tar"]);
    let place = Place::new();
    let source = place.docker(&[
        file("c.json", &config),
        file("/l.tar", b"l"),
        file("l.tar", b"x"),
        file("manifest.json", &list),
    ]);
    let error = pull(&source).await.unwrap_err().to_string();
    assert!(error.contains("a name that was there before"), "{error}");
}

#[tokio::test]
async fn tag_of_two_images_is_a_question() {
    let place = Place::new();
    let configs = [config(&[b"0"]), config(&[b"1"])];
    let list = |layer: usize| {
        format!(
            r#"[{{"Config":"0.json","RepoTags":["x:1"],"Layers":["0.tar"]}},
            {{"Config":"{layer}.json","RepoTags":["docker.io/library/x:1"],"Layers":["{layer}.tar"]}}]"#
        )
    };
    let open = |layer: usize| {
        let list = list(layer).into_bytes();
        let path = place.write(&tar(&[
            file("0.json", &configs[0]),
            file("1.json", &configs[1]),
            file("0.tar", b"0"),
            file("1.tar", b"1"),
            file("manifest.json", &list),
        ]));
        DockerArchiveSource::new(path, Some("x:1".to_owned()))
    };
    assert_eq!(pull(&open(0)).await.unwrap(), [b"0"]);
    let error = pull(&open(1)).await.unwrap_err().to_string();
    assert!(
        error.contains("several images with the tag x:1") && error.contains(":@N"),
        "{error}"
    );
}

#[tokio::test]
async fn root_file_system_of_holes_is_refused_unread() {
    let place = Place::new();
    let path = place.write(&tar(&[file("x", b"x")]));
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(4 << 40)
        .unwrap();
    let spec: ociget::SourceSpec = format!("tar:{}", path.display()).parse().unwrap();
    let client = ociget::Client::new(ociget::Options::default()).unwrap();
    let error = pull(&*spec.open(&client).unwrap())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("4398046511104 bytes") && error.contains("Options::max_tar"),
        "{error}"
    );
}
