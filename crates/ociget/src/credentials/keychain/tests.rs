use super::*;

fn who(config: &str, registry: &str, repository: &str) -> Option<String> {
    let config = ConfigFile::parse(config.as_bytes(), "f").unwrap();
    match config.login(registry, repository, "f").unwrap()?.secret {
        Secret::None => None,
        Secret::Password { user, password } => Some(format!("{user}:{password}")),
        Secret::Identity(token) => Some(format!("identity {token}")),
        Secret::Registry(token) => Some(format!("registry {token}")),
    }
}

#[test]
fn the_most_specific_entry_counts() {
    let config = r#"{"auths":{
        "https://index.docker.io/v1/":{"auth":"aHViOnB3"},
        "reg.io":{"auth":"aG9zdDpwdw=="},
        "reg.io/team":{"username":"team","password":"a:b"},
        "reg.io/team/app":{"auth":"YXBwOnB3AAA="},
        "https://old.io/v2/":{"identitytoken":"i"},
        "http://reg.io:5000":{"registrytoken":"t"},
        "empty.io":{}}}"#;
    for (registry, repository, expected) in [
        ("docker.io", "library/alpine", Some("hub:pw")),
        ("reg.io", "other", Some("host:pw")),
        ("reg.io", "team/other", Some("team:a:b")),
        ("reg.io", "team/app", Some("app:pw")),
        ("reg.io", "team/app/deep", Some("app:pw")),
        ("reg.io", "teamapp", Some("host:pw")),
        ("old.io", "x", Some("identity i")),
        ("reg.io:5000", "x", Some("registry t")),
        ("empty.io", "x", None),
        ("else.io", "x", None),
        ("io", "x", None),
    ] {
        assert_eq!(
            who(config, registry, repository).as_deref(),
            expected,
            "{registry}/{repository}"
        );
    }
}

#[test]
fn broken_files_are_errors_that_quote_no_secret() {
    for text in [
        "{",
        r#"{"auths":{"r.io":{"auth":"c2VjcmV0"}}}"#,
        r#"{"auths":{"r.io":{"auth":"!!secret!!"}}}"#,
        r#"{"auths":{"r.io":"secret"}}"#,
    ] {
        let error = ConfigFile::parse(text.as_bytes(), "f")
            .and_then(|config| config.login("r.io", "x", "f"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("cannot take credentials from f"),
            "{error}"
        );
        assert!(
            !error.contains("secret") && !error.contains("c2Vj"),
            "{error}"
        );
    }
    assert!(ConfigFile::parse(b" \n", "f").is_ok());
    assert!(ConfigFile::parse(br#"{"auths":null,"credsStore":null}"#, "f").is_ok());
}

#[test]
fn no_output_shows_a_secret() {
    let login = Login::password("u", "hunter2", "a test");
    assert!(!format!("{login} {login:?}").contains("hunter2"));
}

#[test]
fn what_a_file_decides() {
    let text =
        br#"{"credHelpers":{"gcr.io":"gcloud","https://index.docker.io/v1/":"hub","no.io":""},
        "auths":{"gcr.io":{"auth":"aG9zdDpwdw=="},"reg.io":{"auth":"aG9zdDpwdw=="},"no.io":{}},
        "credsStore":"desktop"}"#;
    let config = ConfigFile::parse(text, "f").unwrap();
    for (registry, expected) in [
        ("gcr.io", "helper gcloud"),
        ("docker.io", "helper hub"),
        ("reg.io", "the credentials from f for reg.io"),
        ("else.io", "helper desktop"),
    ] {
        let found = match config.settle(registry, "x", "f").unwrap().unwrap() {
            Settled::Login(login) => login.to_string(),
            Settled::Helper(name) => format!("helper {name}"),
        };
        assert_eq!(found, expected, "{registry}");
    }
    assert!(config.settle("no.io", "x", "f").unwrap().is_none());
    let empty = ConfigFile::default();
    assert!(empty.settle("gcr.io", "x", "f").unwrap().is_none());
    assert!(
        Keychain::login_in(text, "else.io", "x", "f")
            .unwrap()
            .is_none()
    );
}

#[test]
fn the_environment_chooses_the_files() {
    for (variables, expected) in [
        (
            vec![("REGISTRY_AUTH_FILE", "/r"), ("HOME", "/h")],
            vec!["/r"],
        ),
        (
            vec![
                ("HOME", "/h"),
                ("XDG_RUNTIME_DIR", "/x"),
                ("DOCKER_CONFIG", ""),
            ],
            vec![
                "/x/containers/auth.json",
                "/h/.config/containers/auth.json",
                "/h/.docker/config.json",
            ],
        ),
        (vec![("DOCKER_CONFIG", "/d")], vec!["/d/config.json"]),
        (vec![], vec![]),
    ] {
        let keychain = Keychain::from_lookup(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| PathBuf::from(value))
        });
        let files: Vec<_> = keychain
            .files
            .iter()
            .map(|p| p.display().to_string())
            .collect();
        assert_eq!(files, expected);
    }
}
