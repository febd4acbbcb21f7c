use super::*;

fn parse(text: &str) -> Result<Hosts, Error> {
    Hosts::parse(text, Path::new("/d/r.io/hosts.toml"), &Options::default())
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
    assert_eq!(hosts.server.unwrap().base.as_str(), "https://r.io/v2/");
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
