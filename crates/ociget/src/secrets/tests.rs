use super::*;
use crate::auth::{basic, bearer};

#[test]
fn secrets_of_requests_are_hidden_in_every_encoding() {
    let secrets = Secrets::default();
    secrets.note_authorization(&basic::header("ada", "p<w> \"q\"/é&7").unwrap());
    for (text, expected) in [
        ("bad login ada:p<w> \"q\"/é&7.", "bad login ada:***."),
        ("P<W> \"Q\"/é&7", "***"),
        ("p%3Cw%3e%20%22q%22%2F%C3%A9%267", "***"),
        ("a=p%3Cw%3E+%22q%22%2f%c3%a9%267&b=1", "a=***&b=1"),
        (r#"{"x":"p<w> \"q\"\/\u00e9&7"}"#, r#"{"x":"***"}"#),
        ("p&lt;w&gt; &quot;q&#34;/&#xe9;&amp;7", "***"),
        (
            "you sent Basic YWRhOnA8dz4gInEiL8OpJjc=",
            "you sent Basic ***",
        ),
        ("p<w> another", "p<w> another"),
    ] {
        assert_eq!(secrets.hide(text), expected, "{text}");
    }
    let alone = STANDARD.encode("p<w> \"q\"/é&7");
    assert!(!secrets.hide(&alone).contains("cDx3"), "{alone}");
}

#[test]
fn long_secret_that_a_server_cut_is_hidden() {
    let secrets = Secrets::default();
    let token = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.c2VjcmV0";
    secrets.note_authorization(&bearer::header(token).unwrap());
    let text = format!("invalid token '{}...'", &token[..24]);
    assert_eq!(secrets.hide(&text), "invalid token '***...'");
}

#[test]
fn short_secret_is_hidden_as_a_word_alone() {
    let secrets = Secrets::default();
    secrets.note_authorization(&bearer::header("T1").unwrap());
    assert_eq!(secrets.hide("bad \"T1\" in T12"), "bad \"***\" in T12");
}

#[test]
fn secrets_with_one_beginning_are_compared_together() {
    let secrets = Secrets::default();
    for number in 0..MOST {
        secrets.note(&format!("{}{number:03}", "a".repeat(27)), Origin::Server);
    }
    let mut known = secrets.0.lock().unwrap();
    for unit in ["a", "&#97;", "%61", "\\u0061", "&amp;"] {
        let mut compared = 0;
        let text = unit.repeat((512 << 10) / unit.len());
        let shown = known.hide(&text, &mut || compared += 1);
        assert_eq!(shown.len(), LONGEST + CUT.len());
        assert!(compared < 80 * LONGEST, "{unit}: {compared}");
    }
}

#[test]
fn secret_at_the_end_of_a_cut_text_is_hidden() {
    let (secrets, password) = (Secrets::default(), "hunter2-secret");
    secrets.note_own(password);
    for shown_of_it in 1..password.len() {
        let start = "-".repeat(LONGEST - shown_of_it);
        let text = format!("{start}{password} and more");
        assert_eq!(secrets.hide(&text), format!("{start}{HIDDEN}{CUT}"));
    }
}

#[test]
fn tokens_of_any_length_are_kept_in_bounded_memory() {
    let secrets = Secrets::default();
    for number in 0..MOST {
        let token = format!("{number:03}{}", "t".repeat(1 << 20));
        secrets.note(&token, Origin::Server);
    }
    let newest = format!("{}{}", MOST - 1, "t".repeat(1 << 20));
    assert_eq!(secrets.hide(&newest), format!("{HIDDEN}{CUT}"));
    let known = secrets.0.lock().unwrap();
    let forms = known.forms.as_ref().unwrap();
    let all = known.tokens.secrets.iter();
    let bytes: usize = all
        .chain(&forms.short)
        .chain(&forms.long)
        .map(String::len)
        .sum();
    assert!(bytes < 4 * MOST_BYTES, "{bytes}");
}

#[test]
fn tokens_of_servers_push_no_password_out() {
    let secrets = Secrets::default();
    let tokens = |first: usize| {
        for number in first..first + MOST {
            secrets.note(&format!("token-{number}"), Origin::Server);
        }
    };
    secrets.note_authorization(&basic::header("ada", "hunter2").unwrap());
    tokens(0);
    assert_eq!(secrets.hide("hunter2 token-0"), "*** ***");
    // One that is sent again is the newest.
    secrets.note("token-0", Origin::Server);
    secrets.note("one more", Origin::Server);
    assert_eq!(secrets.hide("hunter2 token-0 token-1 "), "*** *** token-1 ");
}

#[test]
fn tokens_of_forms_and_bodies_are_noted() {
    let secrets = Secrets::default();
    secrets.note_form("grant_type=refresh_token&service=s&refresh_token=re%2Ffresh1");
    assert!(
        secrets.note_body(br#"{"data":[{"Access_Token":"secret-two"}],"token_type":"bearer"}"#)
    );
    assert!(!secrets.note_body(br#"{"details":"no such user"}"#));
    assert_eq!(
        secrets.hide("refresh_token re/fresh1, re%2ffresh1, secret-two, bearer"),
        "refresh_token ***, ***, ***, bearer"
    );
    assert_eq!(format!("{secrets:?}"), "Secrets");
}
