//! Files that the options name: regular ones are read, others are named in an error and not waited for.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ociget::{ClientCertificate, Error, Event, Keychain, Options, Progress};
use rustix::fs::{CWD, FileType, Mode};

use crate::support::{Content, Reply, Server, pull, quick};

fn fifo(path: &Path) {
    let made = rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
    assert_eq!(made, Ok(()));
}

/// A registry that wants credentials, and gets any.
async fn registry() -> Server {
    let (content, _) = Content::image(b"layer");
    Server::start(&content, |seen| {
        let open = seen.header("authorization").is_some();
        (!open).then(|| Reply::new(401, "").with("www-authenticate", "Basic realm=r"))
    })
    .await
}

#[tokio::test]
async fn named_pipe_in_place_of_a_file_is_an_error() {
    let server = registry().await;
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    fifo(&pipe);
    let host = dir.path().join(&server.host);
    std::fs::create_dir(&host).unwrap();
    fifo(&host.join("hosts.toml"));
    let over_tls = |change: fn(&mut Options, PathBuf)| {
        let mut options = quick();
        options.plain_http_on_loopback = false;
        change(&mut options, pipe.clone());
        options
    };
    let mut authfile = quick();
    authfile.credentials = Arc::new(Keychain::from_file(&pipe));
    let mut hosts = quick();
    hosts.hosts_dir = Some(dir.path().to_owned());
    for (what, options, path) in [
        ("authfile", authfile, pipe.clone()),
        ("hosts.toml", hosts, host.join("hosts.toml")),
        (
            "authority",
            over_tls(|options, pipe| options.ca_files = vec![pipe]),
            pipe.clone(),
        ),
        (
            "certificate",
            over_tls(|options, pipe| {
                options.client_certificate = Some(ClientCertificate::new(&pipe, &pipe));
            }),
            pipe.clone(),
        ),
    ] {
        let source = server.source(options);
        // A bound on a wait that would not end, not a measurement.
        let outcome = tokio::time::timeout(Duration::from_secs(30), pull(&*source)).await;
        let error = outcome.expect(what).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{what}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()), "{what}: {text}");
        assert!(text.contains("a named pipe (FIFO)"), "{what}: {text}");
    }
}

#[tokio::test]
async fn an_authfile_that_others_can_read_gets_a_warning() {
    let server = registry().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth.json");
    for (mode, key, warned) in [
        (0o600, server.host.as_str(), false),
        (0o644, server.host.as_str(), true),
        // What it holds is not for this registry.
        (0o644, "else.example", false),
    ] {
        // user:secret
        let text = format!(r#"{{"auths":{{"{key}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let warnings = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&warnings);
        let mut options = quick();
        options.credentials = Arc::new(Keychain::from_file(&file));
        options.progress = Progress::new(move |event| {
            if let Event::Warning { text } = event {
                heard.lock().unwrap().push((*text).to_owned());
            }
        });
        drop(pull(&*server.source(options)).await);
        let warnings = warnings.lock().unwrap();
        assert_eq!(warnings.len(), usize::from(warned), "{mode:o} {key}");
        for text in warnings.iter() {
            assert!(text.contains(&file.display().to_string()), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
