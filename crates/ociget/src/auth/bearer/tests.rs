//! Requests to token servers, and the scopes and the life of tokens.

use super::*;

fn server(header: &str, before: Option<&TokenServer>) -> Result<TokenServer, Error> {
    let home = Endpoint::origin("reg.example", &crate::options::Options::default()).unwrap();
    let challenge = &Challenge::parse(header)[0];
    TokenServer::from_challenge(challenge, &home, "repository:app:pull", before)
}

#[test]
fn requests_to_a_token_server() {
    for (header, expected) in [
        (
            r#"Bearer realm="https://a.io/t",service="s s""#,
            "https://a.io/t?service=s+s&scope=repository%3Aapp%3Apull",
        ),
        (
            r#"Bearer realm="https://a.io/t?x=1",scope="repository:b:push,pull""#,
            "https://a.io/t?x=1&scope=repository%3Ab%3Apull%2Cpush",
        ),
    ] {
        assert_eq!(server(header, None).unwrap().url().as_str(), expected);
    }
    let first = server(
        r#"Bearer realm="https://a.io/t",scope="repository:b:pull""#,
        None,
    )
    .unwrap();
    let second = server(
        r#"Bearer realm="https://a.io/t",scope="repository:b:push registry:catalog:*""#,
        Some(&first),
    )
    .unwrap();
    let scopes: Vec<String> = second.scopes.lines().collect();
    assert_eq!(scopes, ["registry:catalog:*", "repository:b:pull,push"]);
}

/// go-gitea/gitea#36907, oras-project/oras-go#650, cloudflare/serverless-registry#149: the first token has the scope of
/// the challenge alone, because a further one makes some registries refuse (containerd/containerd#9648).
#[test]
fn scope_that_does_not_suffice_gets_the_needed_one() {
    for named in ["*", "registry:catalog:*", "repository:user/image:pull"] {
        let header = format!(r#"Bearer realm="https://a.io/t",scope="{named}""#);
        let first = server(&header, None).unwrap();
        let second = server(&header, Some(&first)).unwrap();
        let lines = |server: &TokenServer| server.scopes.lines().collect::<Vec<_>>();
        assert_eq!(lines(&first), [named]);
        assert!(!first.includes("repository:app:pull"));
        assert!(second.includes("repository:app:pull"));
        let mut both = vec![named, "repository:app:pull"];
        both.sort_unstable();
        assert_eq!(lines(&second), both);
        assert_eq!(server(&header, Some(&second)).unwrap(), second);
    }
}

// RFC 6750, 3.1: each refusal may name another scope.
#[test]
fn scopes_of_a_thousand_challenges_stay_bounded() {
    let mut before = None;
    for round in 0..1000 {
        let long = "x".repeat(round * 15);
        for scope in [
            format!("repository:r{round}:pull"),
            format!("repository:r:pull,{long}{round}"),
            format!("{long}{round}:pull"),
        ] {
            let header = format!(r#"Bearer realm="https://a.io/t",scope="{scope}""#);
            let next = server(&header, before.as_ref()).unwrap();
            assert!(next.scopes.0.len() <= MAX_RESOURCES + 1);
            // An encoded byte has three.
            for length in [next.url().as_str().len(), next.form("").len()] {
                assert!(length < 3 * MAX_SCOPE + 2000, "{round}: {length}");
            }
            let resource = scope.rsplit_once(':').unwrap().0;
            assert!(next.scopes.0.contains_key(resource), "{round}");
            before = Some(next);
        }
    }
    // Of the scopes that were dropped, the wanted one is requested again.
    let wanted = &before.as_ref().unwrap().scopes.0["repository:app"];
    assert!(wanted.contains("pull"));
    let many: Vec<_> = (0..=MAX_RESOURCES).map(|n| format!("r{n}:pull")).collect();
    let actions: Vec<_> = (0..4000).map(|n| format!("{n}")).collect();
    for scope in [
        many.join(" "),
        "x".repeat(MAX_SCOPE),
        format!("r:{}", actions.join(",")),
    ] {
        let header = format!(r#"Bearer realm="https://a.io/t",scope="{scope}""#);
        let error = server(&header, before.as_ref()).unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error}");
    }
}

#[test]
fn realm_at_a_forbidden_host_is_refused() {
    for header in [
        "Bearer",
        r#"Bearer realm="token""#,
        r#"Bearer realm="http://a.io/t""#,
        r#"Bearer realm="https://127.0.0.1/t""#,
        r#"Bearer realm="https://169.254.169.254/t""#,
        r#"Bearer realm="https://localhost/t""#,
    ] {
        assert!(server(header, None).is_err(), "{header}");
    }
}

#[test]
fn tokens_come_in_several_shapes() {
    let asked = Instant::now();
    for (body, expected) in [
        (r#"{"token":"a"}"#, Some(("Bearer a", 54))),
        (
            r#"{"access_token":"b","expires_in":300}"#,
            Some(("Bearer b", 270)),
        ),
        (
            r#"{"token":"","access_token":"c","expires_in":0}"#,
            Some(("Bearer c", 54)),
        ),
        (
            r#"{"token":"d","access_token":"e","expires_in":-5}"#,
            Some(("Bearer d", 54)),
        ),
        (
            r#"{"token":"f","expires_in":1e300}"#,
            Some(("Bearer f", 77760)),
        ),
        (
            r#"{"token":"g","expires_in":100,"issued_at":"2001-01-01T00:00:00Z"}"#,
            Some(("Bearer g", 90)),
        ),
        (
            r#"{"token":"h","expires_in":100,"issued_at":"2901-01-01T00:00:00Z"}"#,
            Some(("Bearer h", 90)),
        ),
        // distribution/distribution#1746, moby/moby#20970
        (
            r#"{"token":"i","expires_in":"300","issued_at":7}"#,
            Some(("Bearer i", 270)),
        ),
        (
            r#"{"token":"j","expires_in":null,"issued_at":null}"#,
            Some(("Bearer j", 54)),
        ),
        (
            r#"{"token":7,"access_token":"k","expires_in":"soon"}"#,
            Some(("Bearer k", 54)),
        ),
        (r#"{"token":"l","expires_in":[]}"#, Some(("Bearer l", 54))),
        (
            r#"{"token":"m","expires_in":"NaN"}"#,
            Some(("Bearer m", 54)),
        ),
        // golang/go#14750
        (r#"{"Token":"n","Expires_In":300}"#, Some(("Bearer n", 270))),
        (
            r#"{"ACCESS_TOKEN":"o","token":null}"#,
            Some(("Bearer o", 54)),
        ),
        (r#"{"token":"","token":"p"}"#, Some(("Bearer p", 54))),
        (r#"{"token":"q"} {}"#, None),
        ("null", None),
        (r#"["r",null,null,null]"#, None),
        (r#"{"token":""}"#, None),
        (r#"{"token":"a\nb"}"#, None),
        ("{}", None),
        ("", None),
    ] {
        let token = parse_token(body.as_bytes(), asked);
        let found = token.as_ref().map(|token| {
            let life = (token.expires - asked).as_secs_f32().round();
            (token.header.to_str().unwrap(), life)
        });
        assert_eq!(
            found,
            expected.map(|(header, life)| (header, life as f32)),
            "{body}"
        );
    }
}
