use super::*;
use crate::tls::ClientCertificate;

fn parse(text: &str) -> Result<Hosts, Error> {
    let path = Path::new("/d/r.io/hosts.toml");
    Hosts::parse(text, path, "r.io", &Options::default())
}

#[test]
fn hosts_keep_their_order_and_their_ways() {
    let hosts = parse(
        r#"
        server = "https://r.io"
        [host."https://z.io"]
          capabilities = ["pull"]
          ca = "z.pem"
          skip_verify = true
          dial_timeout = "1s"
        [host."http://a.io:5000/prefix"]
          client = [["c.pem", "c.key"]]
          [host."http://a.io:5000/prefix".header]
            x-one = "1"
            x-two = ["2", "3"]
        [host."https://m.io/api/own/"]
          override_path = true
          client = "/abs/both.pem"
        [host."https://push.io"]
          capabilities = ["push"]
        [host."localhost:5000"]
        "#,
    )
    .unwrap();
    let seen: Vec<_> = hosts
        .mirrors
        .iter()
        .map(|host| (host.endpoint.base.as_str(), host.resolves))
        .collect();
    assert_eq!(
        seen,
        [
            ("https://z.io/v2/", false),
            ("http://a.io:5000/prefix/v2/", true),
            ("https://m.io/api/own/", true),
            ("http://localhost:5000/v2/", true),
        ]
    );
    assert_eq!(
        hosts.server.as_ref().unwrap().endpoint.base.as_str(),
        "https://r.io/v2/"
    );
    let [z, a, m, _] = &hosts.mirrors[..] else {
        panic!("four");
    };
    assert_eq!(z.endpoint.tls.authorities, [Path::new("/d/r.io/z.pem")]);
    assert!(z.endpoint.tls.skip_verify);
    let pair = ClientCertificate::new("/d/r.io/c.pem", "/d/r.io/c.key");
    assert_eq!(a.endpoint.tls.client, Some(pair));
    assert_eq!(a.endpoint.headers.get_all("x-two").iter().count(), 2);
    assert!(!format!("{:?}", a.endpoint.headers).contains('3'));
    let both = ClientCertificate::new("/abs/both.pem", "/abs/both.pem");
    assert_eq!(m.endpoint.tls.client, Some(both));
}

#[test]
fn damaged_files_are_named_and_not_quoted() {
    for text in [
        "secret",
        "host = 'secret'",
        "server = 1",
        // containerd/containerd#8053
        "server = '*'",
        "server = 'https://docker.i://registry-1.docker.io'",
        "[host.'ftp://secret']",
        "[host.'https://u:secret@h.io']",
        "[host.'u:secret@h.io']",
        "[host.'ftp://u:secret@h.io?secret']",
        "server = 'https://u:secret@h.io'",
        "[host.'https://h.io']\ncapabilities = 'secret'",
        "[host.'https://h.io'.header]\n'x y' = 'secret'",
        "[host.'https://h.io'.header]\nx = \"se\\ncret\"",
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains("/d/r.io/hosts.toml"), "{error}");
        assert!(!error.contains("u:secret"), "{error}");
    }
    let error = parse("[host.'https://u:secret@h.io']")
        .unwrap_err()
        .to_string();
    let says = "https://***@h.io holds credentials; put them into the authfile";
    assert!(error.contains(says), "{error}");
}

// containerd/containerd#13212, #4904
#[test]
fn fields_at_the_root_are_the_servers_or_the_registrys() {
    let root = r#"
        ca = ["a.pem", "/abs/b.pem"]
        client = ["c.pem"]
        skip_verify = true
        proxy = "http://p:1"
        [header]
          x-one = "1"
        [host."https://m.io"]
    "#;
    for (server, base) in [
        ("server = 'https://s.io/x'", "https://s.io/x/v2/"),
        (
            "server = 'https://s.io/x'\noverride_path = true",
            "https://s.io/x/",
        ),
        ("server = 'docker.io'", "https://registry-1.docker.io/v2/"),
        ("", "https://r.io/v2/"),
    ] {
        let hosts = parse(&format!("{server}\n{root}")).unwrap();
        let endpoint = hosts.server.unwrap().endpoint;
        assert_eq!(endpoint.base.as_str(), base);
        let files = [Path::new("/d/r.io/a.pem"), Path::new("/abs/b.pem")];
        assert_eq!(endpoint.tls.authorities, files);
        assert!(endpoint.tls.skip_verify);
        let both = ClientCertificate::new("/d/r.io/c.pem", "/d/r.io/c.pem");
        assert_eq!(endpoint.tls.client, Some(both));
        assert_eq!(endpoint.headers["x-one"], "1");
        assert!(endpoint.proxies.of(&endpoint.base).unwrap().is_some());
        let mirror = &hosts.mirrors[0].endpoint;
        assert_eq!(mirror.tls, crate::tls::Profile::default());
        assert!(mirror.headers.is_empty());
    }
}

#[test]
fn capabilities_count_in_any_case_and_at_the_root() {
    let hosts = parse(
        r#"
        capabilities = ["Pull"]
        [host."https://a.io"]
          capabilities = ["PULL", "Resolve"]
        [host."https://b.io"]
          capabilities = ["Push"]
        "#,
    )
    .unwrap();
    assert!(hosts.mirrors[0].resolves && hosts.mirrors.len() == 1);
    assert!(!hosts.server.unwrap().resolves);
    let hosts = parse("capabilities = ['push']\n[host.'https://a.io']").unwrap();
    assert!(hosts.server.is_none() && hosts.without_server);
}

/// containerd's config/hosts.go looks at the length of the list.
#[test]
fn empty_list_of_capabilities_is_all_of_them() {
    let hosts = parse("capabilities = []\n[host.'https://a.io']\ncapabilities = []").unwrap();
    assert!(hosts.mirrors[0].resolves && hosts.server.unwrap().resolves);
    assert!(hosts.warnings.is_empty(), "{:?}", hosts.warnings);
}

#[test]
fn unknown_capabilities_are_warned_about_by_name() {
    let hosts = parse(
        "capabilities = ['pull', 'serach']\n[host.'https://a.io']\ncapabilities = ['pull', 'reslove', 'Referrers']",
    )
    .unwrap();
    assert!(!hosts.mirrors[0].resolves);
    let all = hosts.warnings.join("\n");
    for words in [
        "the capability \"reslove\" of the host https://a.io is unknown",
        "the capability \"serach\" is unknown",
    ] {
        assert!(all.contains(words), "{all}");
    }
    assert_eq!(hosts.warnings.len(), 2, "{all}");
    let hosts = parse(
        "[host.'http://m.io:5000']\nskip_verify = true\nca = 'x'\n[host.'https://n.io']\nskip_verify = true\n",
    );
    let all = hosts.unwrap().warnings;
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(
        all.iter()
            .all(|text| text.contains("of http://m.io:5000/v2/ has no effect without TLS"))
    );
}

#[test]
fn unknown_keys_are_warned_about_by_name() {
    let hosts = parse(
        "mirorr = 'secret'\ndial_timeout = '1s'\n[host.'https://a.io']\nCA = 'x'\n\
         [host.'https://a.io'.headers]\nx = 'secret'",
    )
    .unwrap();
    let all = hosts.warnings.join("\n");
    for words in [
        "\"mirorr\" is unknown",
        "\"CA\" of the host https://a.io",
        "\"headers\"",
    ] {
        assert!(all.contains(words), "{all}");
    }
    assert!(
        !all.contains("secret") && !all.contains("dial_timeout"),
        "{all}"
    );
}

#[test]
fn dial_timeout_is_for_its_host_alone() {
    let second = Some(std::time::Duration::from_secs(1));
    let hosts = parse(
        "server = 'https://b.io'\n[host.'https://a.io']\ndial_timeout = '1s'\n\
         [host.'https://c.io']\ndial_timeout = '0s'",
    )
    .unwrap();
    let of = |host: &Host| host.endpoint.connect_timeout;
    assert_eq!(
        hosts.mirrors.iter().map(of).collect::<Vec<_>>(),
        [second, None]
    );
    assert_eq!(of(&hosts.server.unwrap()), None);
    let hosts = parse("dial_timeout = '1s'").unwrap();
    assert_eq!(of(&hosts.server.unwrap()), second);
    for damaged in ["'soon'", "'-1s'", "1"] {
        let error = parse(&format!("dial_timeout = {damaged}")).unwrap_err();
        assert!(
            error.to_string().contains("dial_timeout of its root"),
            "{error}"
        );
    }
}

// The examples of containerd's docs/hosts.md.
#[test]
fn examples_of_containerds_documentation_are_read() {
    for (text, expected) in [
        (
            "server = \"https://docker.io\"\n[host.\"https://registry-1.docker.io\"]\n  capabilities = [\"pull\", \"resolve\"]",
            &[
                "https://registry-1.docker.io/v2/",
                "https://registry-1.docker.io/v2/",
            ][..],
        ),
        (
            "server = \"https://registry-1.docker.io\"    # Exclude this to not use upstream\n[host.\"https://public-mirror.example.com\"]\n  capabilities = [\"pull\"]\n[host.\"https://docker-mirror.internal\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = \"docker-mirror.crt\"",
            &[
                "https://public-mirror.example.com/v2/",
                "https://docker-mirror.internal/v2/",
                "https://registry-1.docker.io/v2/",
            ],
        ),
        (
            "server = \"https://docker.io\"\nca = \"/etc/path/default\"\n[host.\"https://mirror.registry\"]\n  ca = [\"/etc/certs/test-1-ca.pem\", \"/etc/certs/special.pem\"]\n  client = [[\"/etc/certs/client.cert\", \"/etc/certs/client.key\"],[\"/etc/certs/client.pem\", \"\"]]\n[host.\"https://mirror-bak.registry/us\"]\n  skip_verify = true\n[host.\"http://mirror.registry\"]\n  capabilities = [\"pull\"]",
            &[
                "https://mirror.registry/v2/",
                "https://mirror-bak.registry/us/v2/",
                "http://mirror.registry/v2/",
                "https://registry-1.docker.io/v2/",
            ],
        ),
        (
            "server = \"https://registry-1.docker.io/v2/\"\n[host.\"https://custom.example/v2/path\"]\n  override_path = true\n  [host.\"https://custom.example/v2/path\".header]\n    x-custom-1 = [\"value 1\", \"value 2\"]\n    x-custom-2 = \"v\"",
            &[
                "https://custom.example/v2/path/",
                "https://registry-1.docker.io/v2/",
            ],
        ),
    ] {
        let hosts = parse(text).unwrap();
        assert!(hosts.warnings.is_empty(), "{:?}", hosts.warnings);
        let all = hosts.mirrors.iter().chain(&hosts.server);
        let bases: Vec<_> = all.map(|host| host.endpoint.base.as_str()).collect();
        assert_eq!(bases, expected, "{text}");
    }
}

// containerd/containerd#7118
#[tokio::test]
async fn first_directory_decides_and_may_hold_certificates_alone() {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("_default/hosts.toml", "[host.'https://m.io']");
    write("r.io:5000/ca.crt", "");
    write("r.io:5000/client.cert", "");
    write("r.io:5000/client.key", "");
    write("r.io:5000/other.key", "");
    write("b.io_5000_/hosts.toml", "[host.'https://under.io']");
    write("b.io:5000/hosts.toml", "[host.'https://colon.io']");
    let options = Options::default();
    let find = |registry: &'static str| Hosts::find(root.path(), registry, &options);

    let hosts = find("r.io:5000").await.unwrap();
    assert!(hosts.mirrors.is_empty());
    let tls = &hosts.server.as_ref().unwrap().endpoint.tls;
    let dir = root.path().join("r.io:5000");
    assert_eq!(tls.authorities, [dir.join("ca.crt")]);
    let client = ClientCertificate::new(dir.join("client.cert"), dir.join("client.key"));
    assert_eq!(tls.client, Some(client));
    assert!(hosts.warnings.iter().any(|text| text.contains("other.key")));

    let base = |hosts: Hosts| hosts.mirrors[0].endpoint.base.to_string();
    assert_eq!(
        base(find("b.io:5000").await.unwrap()),
        "https://under.io/v2/"
    );
    assert_eq!(base(find("else.io").await.unwrap()), "https://m.io/v2/");
}

// docker/cli#2753: a reference has its host in lower case.
#[tokio::test]
async fn directory_with_capitals_counts_before_the_default() {
    let root = tempfile::tempdir().unwrap();
    for (name, host) in [
        ("_default", "default.io"),
        ("Localhost:5000", "upper.io"),
        ("R.IO", "first.io"),
        ("R.io", "second.io"),
        ("S.io", "upper.io"),
        ("s.io", "exact.io"),
        ("T.io:5000", "colon.io"),
        ("T.io_5000_", "under.io"),
    ] {
        let dir = root.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("hosts.toml"), format!("[host.'https://{host}']")).unwrap();
    }
    for (registry, host) in [
        ("localhost:5000", "upper.io"),
        ("r.io", "first.io"),
        ("s.io", "exact.io"),
        ("t.io:5000", "under.io"),
        ("localhost:5001", "default.io"),
    ] {
        let found = Hosts::find(root.path(), registry, &Options::default()).await;
        let base = found.unwrap().mirrors[0].endpoint.base.to_string();
        assert_eq!(base, format!("https://{host}/v2/"), "{registry}");
    }
    // A file in place of the whole directory is an error.
    let file = root.path().join("_default/hosts.toml");
    assert!(
        Hosts::find(&file, "r.io", &Options::default())
            .await
            .is_err()
    );
    // A file with a host's name decides nothing.
    std::fs::write(root.path().join("U.io"), "").unwrap();
    std::fs::write(root.path().join("v.io"), "").unwrap();
    for registry in ["u.io", "v.io"] {
        let found = Hosts::find(root.path(), registry, &Options::default()).await;
        let base = found.unwrap().mirrors[0].endpoint.base.to_string();
        assert_eq!(base, "https://default.io/v2/", "{registry}");
    }
}

#[test]
fn bases_of_a_file_are_named_in_the_order_tried() {
    let bases = |text: &str| {
        let path = Path::new("/d/r.io/hosts.toml");
        Options::default().hosts_in(text, path)
    };
    let mirrors = "[host.'https://b.io']\n[host.'https://a.io']\n";
    assert_eq!(
        bases(mirrors).unwrap(),
        ["https://b.io/v2/", "https://a.io/v2/"]
    );
    assert_eq!(
        bases(&format!("server = 'https://s.io'\n{mirrors}")).unwrap(),
        ["https://b.io/v2/", "https://a.io/v2/", "https://s.io/v2/"]
    );
    assert!(bases("server = 1").is_err());
}

#[test]
fn host_that_is_no_url_and_no_secret_is_damage() {
    for (text, says) in [
        ("[host.'ftp://h.io']", "is not as it should be"),
        ("[host.'ftp://u@h.io']", "holds credentials"),
        ("[host.'ftp://u%40h.io']", "holds credentials"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_not_passed_over() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("r.io/hosts.toml")).unwrap();
    let found = Hosts::find(root.path(), "r.io", &Options::default()).await;
    let error = found.map(drop).unwrap_err().to_string();
    assert!(error.contains("r.io/hosts.toml"), "{error}");
}
