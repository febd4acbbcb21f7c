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

// Each URL key is before the exact key in order.
#[test]
fn exact_key_counts_before_a_url_of_the_same_host() {
    for url in [
        "https://r.io:5000",
        "https://r.io:5000/v1/",
        "http://r.io:5000/v2/",
        "R.IO:5000",
    ] {
        let config = format!(
            r#"{{"auths":{{"{url}":{{"auth":"!"}},"r.io:5000":{{"username":"new","password":"p"}}}},
            "credHelpers":{{"{}":"old","s.io":"new"}}}}"#,
            url.replace("r.io:5000", "s.io")
                .replace("R.IO:5000", "S.io")
        );
        let new = who(&config, "r.io:5000", "x");
        assert_eq!(new.as_deref(), Some("new:p"), "{url}");
        let config = ConfigFile::parse(config.as_bytes(), "f").unwrap();
        let helper = config.settle("s.io", "x", "f").unwrap();
        assert!(matches!(helper, Some(Settled::Helper("new"))), "{url}");
    }
}

// docker/cli#2753, docker/cli#7184, carvel-dev/imgpkg#795
#[test]
fn key_with_capitals_in_its_host_is_found_after_others() {
    let config = r#"{"auths":{
        "Localhost:5000":{"username":"upper","password":"p"},
        "https://INDEX.docker.io/v1/":{"username":"hub","password":"p"},
        "R.io/team":{"username":"team","password":"p"},
        "R.IO":{"username":"first","password":"p"},
        "R.Io":{"username":"second","password":"p"},
        "S.io":{"username":"upper","password":"p"},
        "https://s.io":{"username":"url","password":"p"}},
        "credHelpers":{"H.io":"helper"}}"#;
    for (registry, repository, expected) in [
        ("localhost:5000", "x", Some("upper:p")),
        ("docker.io", "library/x", Some("hub:p")),
        ("r.io", "team/x", Some("team:p")),
        ("r.io", "Team/x", Some("first:p")),
        ("s.io", "x", Some("url:p")),
        ("t.io", "x", None),
    ] {
        let found = who(config, registry, repository);
        assert_eq!(found.as_deref(), expected, "{registry}/{repository}");
    }
    let config = ConfigFile::parse(config.as_bytes(), "f").unwrap();
    let helper = config.settle("h.io", "x", "f").unwrap();
    assert!(matches!(helper, Some(Settled::Helper("helper"))));
}

#[test]
fn helper_of_a_host_in_other_case_counts_after_logins() {
    let config = r#"{"auths":{"r.io":{"username":"u","password":"p"}},
        "credHelpers":{"R.io":"other","S.io":"other","T.io":""},"credsStore":"all"}"#;
    assert_eq!(who(config, "r.io", "x").as_deref(), Some("u:p"));
    let config = ConfigFile::parse(config.as_bytes(), "f").unwrap();
    let settle = |registry| config.settle(registry, "x", "f").unwrap();
    assert!(matches!(settle("r.io"), Some(Settled::Login(_))));
    assert!(matches!(settle("s.io"), Some(Settled::Helper("other"))));
    assert!(settle("t.io").is_none());
    assert!(matches!(settle("u.io"), Some(Settled::Helper("all"))));
}

#[test]
fn broken_files_are_errors_that_quote_no_secret() {
    for text in [
        "{",
        r#"{"auths":{"r.io":{"auth":"c2VjcmV0"}}}"#,
        r#"{"auths":{"r.io":{"auth":"!!secret!!"}}}"#,
        r#"{"auths":{"r.io":"secret"}}"#,
        r#"{"auths":{"r.io":{"auth":["secret"]}}}"#,
        r#"{"auths":{"r.io":["","secret","secret","",""]}}"#,
        r#"{"credsStore":{"secret":1}}"#,
        r#"{"auths":{}} secret"#,
        r#"["secret"]"#,
        r#""secret""#,
        "\u{feff}{}",
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
fn password_that_is_not_utf8_is_named_as_that() {
    // base64 of ada:p and the byte 0xe9
    let text = r#"{"auths":{"r.io":{"auth":"YWRhOnDp"}}}"#;
    let error = ConfigFile::parse(text.as_bytes(), "f").and_then(|c| c.login("r.io", "x", "f"));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("the auth of r.io holds a user or password that is not UTF-8"),
        "{error}"
    );
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
        // containers/skopeo#823
        (
            vec![("DOCKER_CONFIG", "/d")],
            vec!["/run/containers/7/auth.json", "/d/config.json"],
        ),
        (vec![], vec!["/run/containers/7/auth.json"]),
    ] {
        let keychain = Keychain::from_lookup(7, |name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        });
        let files: Vec<_> = keychain
            .files
            .iter()
            .map(|p| p.display().to_string())
            .collect();
        assert_eq!(files, expected);
    }
}

// docker/cli#6008
#[tokio::test]
async fn docker_auth_config_counts_first_and_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth.json");
    std::fs::write(&file, r#"{"auths":{"b.io":{"auth":"YjpwdzI="}}}"#).unwrap();
    let keychain = |content: &str| {
        Keychain::from_lookup(7, |name| match name {
            "DOCKER_AUTH_CONFIG" => Some(content.into()),
            "REGISTRY_AUTH_FILE" => Some(file.clone().into()),
            _ => None,
        })
    };
    let both = keychain(r#"{"auths":{"a.io":{"auth":"YTpodW50ZXIy"}}}"#);
    assert!(!format!("{both:?}").contains("aHVu") && !format!("{both:?}").contains("YTpo"));
    for (registry, from) in [
        ("a.io", "the credentials from DOCKER_AUTH_CONFIG for a.io"),
        ("b.io", "auth.json for b.io"),
        ("c.io", "no entry for c.io in DOCKER_AUTH_CONFIG; no entry"),
    ] {
        let login = both.find(registry, "x").await.unwrap().to_string();
        assert!(login.contains(from), "{login}");
    }
    for damaged in [r#"{"auths":{"a.io":"hunter2"}}"#, "hunter2"] {
        let error = keychain(damaged).find("a.io", "x").await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("DOCKER_AUTH_CONFIG") && !text.contains("hunter2"),
            "{text}"
        );
    }
}

// connaisseur#546, action-kaniko#20, docker-registry-proxy#34
#[test]
fn forms_of_entries_that_tools_write_are_read() {
    for (config, expected) in [
        (
            "{\"auths\":{\"r.io\":{\"auth\":\"aG9z\\ndDpw\\r\\ndw==\\n\"}}}",
            Some("host:pw"),
        ),
        (
            "{\"auths\":{\"r.io\":{\"auth\":\" aG9zdDpwdw \"}}}",
            Some("host:pw"),
        ),
        // Go, Python and coreutils drop bits that no byte is made of.
        (r#"{"auths":{"r.io":{"auth":"dTpwcB=="}}}"#, Some("u:pp")),
        (r#"{"auths":{"r.io":{"auth":"dTpwcB"}}}"#, Some("u:pp")),
        (r#"{"auths":{"r.io":null}}"#, None),
        (
            r#"{"auths":{"o.io":null,"r.io":{"auth":"aG9zdDpwdw=="}}}"#,
            Some("host:pw"),
        ),
        (
            r#"{"auths":{"r.io":{"auth":null,"username":"u","password":"p"}}}"#,
            Some("u:p"),
        ),
        (
            r#"{"auths":{"r.io":{"auth":"aG9zdDpwdw==","email":null,"identitytoken":null}}}"#,
            Some("host:pw"),
        ),
        (
            r#"{"auths":{"r.io":{"auth":"aG9zdDpwdw=="}},"credHelpers":{"r.io":null}}"#,
            Some("host:pw"),
        ),
        (r#"{"auths":{"r.io":{"auth":"   "}}}"#, None),
        // docker/cli#3022, google/containerregistry#144
        (
            r#"{"auths":{"":{},"r.io":{"auth":"aG9zdDpwdw=="}}}"#,
            Some("host:pw"),
        ),
        (
            r#"{"credSstore":"x","auths":{"https://r.io/v1/":{}}}"#,
            Some("x"),
        ),
        // golang/go#14750: encoding/json takes keys in any case.
        (
            r#"{"Auths":{"r.io":{"Auth":"aG9zdDpwdw=="}}}"#,
            Some("host:pw"),
        ),
        (
            r#"{"AUTHS":{"r.io":{"Username":"u","passWord":"p"}},"CredsStore":"x"}"#,
            Some("u:p"),
        ),
        (
            r#"{"CredHelpers":{"r.io":"own"},"credsstore":"x"}"#,
            Some("own"),
        ),
        (
            r#"{"auths":{"r.io":{"username":"v"},"r.io":{"username":"u","password":"p"}}}"#,
            Some("u:p"),
        ),
        (
            r#"{"auths":{"r.io":{"username":"u","password":"p"}},"Auths":{"o.io":{}}}"#,
            Some("u:p"),
        ),
        (r#"{"auths":{"R.IO":{},"auth":{"auth":"!"}}}"#, None),
        ("null", None),
        // awslabs/amazon-ecr-credential-helper#214: names have no wildcards, as with docker.
        (
            r#"{"credHelpers":{"*.io":"ecr-login"},"credsStore":"pass"}"#,
            Some("pass"),
        ),
    ] {
        let found = ConfigFile::parse(config.as_bytes(), "f").and_then(|config| {
            config.settle("r.io", "x", "f").map(|s| {
                s.map(|s| match s {
                    Settled::Login(login) => match login.secret {
                        Secret::Password { user, password } => format!("{user}:{password}"),
                        _ => "another secret".to_owned(),
                    },
                    Settled::Helper(name) => name.to_owned(),
                })
            })
        });
        assert_eq!(found.unwrap().as_deref(), expected, "{config}");
    }
}

// moby/moby#14669
#[tokio::test]
async fn odd_default_file_warns_and_odd_named_file_fails() {
    let dir = tempfile::tempdir().unwrap();
    // What docker makes of a file that it is to mount and that does not exist.
    std::fs::create_dir(dir.path().join("config.json")).unwrap();
    let usual = Keychain::from_lookup(7, |name| {
        (name == "DOCKER_CONFIG").then(|| dir.path().into())
    });
    let login = usual.find("r.io", "x").await.unwrap();
    assert!(matches!(login.secret, Secret::None));
    assert!(
        login.warnings[0].contains("config.json"),
        "{:?}",
        login.warnings
    );
    let named = Keychain::from_file(dir.path().join("config.json"));
    assert!(matches!(
        named.find("r.io", "x").await,
        Err(Error::Io { .. })
    ));
}

#[test]
fn content_of_a_file_gives_its_login_without_helpers() {
    let find = |text: &str| Keychain::login_in(text.as_bytes(), "r.io", "app", "the file");
    let login = find(r#"{"auths":{"r.io":{"username":"bob","password":"pw"}}}"#);
    let login = login.unwrap().unwrap();
    assert!(matches!(&login.secret, Secret::Password { user, password }
        if user == "bob" && password == "pw"));
    assert!(login.origin.contains("the file"), "{}", login.origin);
    for text in [
        "{}",
        r#"{"auths":{"else.io":{"username":"bob","password":"pw"}}}"#,
        r#"{"credHelpers":{"r.io":"never-started"}}"#,
    ] {
        assert!(find(text).unwrap().is_none(), "{text}");
    }
    assert!(find("{").is_err());
}

/// Whatever the environment of the tests is, there is a first place to look at.
#[test]
fn keychain_of_the_environment_names_a_file() {
    assert!(!Keychain::from_env().files.is_empty());
}

#[tokio::test]
async fn helper_without_a_login_leaves_it_to_the_next_file() {
    let directory = tempfile::tempdir().unwrap();
    let files = [
        r#"{"credHelpers":{"r.io":"surely-missing"}}"#,
        r#"{"auths":{"r.io":{"auth":"aG9zdDpwdw=="}}}"#,
    ];
    let mut keychain = Keychain::default();
    for (number, text) in files.iter().enumerate() {
        let path = directory.path().join(number.to_string());
        std::fs::write(&path, text).unwrap();
        keychain.files.push(path);
    }
    let login = keychain.login("r.io", "x").await.unwrap();
    assert!(matches!(login.secret, Secret::Password { user, .. } if user == "host"));
    // Without a second file, the pull is anonymous and the failure of the helper is kept.
    keychain.files.pop();
    let login = keychain.login("r.io", "x").await.unwrap();
    assert!(matches!(login.secret, Secret::None));
    assert_eq!(login.failures.len(), 1);
}

#[tokio::test]
async fn login_file_that_others_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.json");
    std::fs::write(&path, r#"{"auths":{"r.io":{"auth":"aG9zdDpwdw=="}}}"#).unwrap();
    let keychain = Keychain::from_file(&path);
    for (mode, warnings) in [(0o600, 0), (0o640, 1), (0o604, 1)] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let login = keychain.login("r.io", "x").await.unwrap();
        assert_eq!(login.warnings.len(), warnings, "{mode:o}");
    }
}
