use super::*;

#[test]
fn values_are_counted_outside_of_strings() {
    for (text, count) in [
        ("7", 1),
        (r#""a,[{\",""#, 1),
        ("[]", 2),
        ("[0,0]", 3),
        (r#"{"a":[1,{}],"b\\":2}"#, 6),
    ] {
        assert_eq!(values(text.as_bytes()), count, "{text}");
    }
}

#[test]
fn document_of_too_many_values_is_refused_unparsed() {
    let list = |count: usize| format!("[{}0]", "0,".repeat(count - 2));
    assert!(parse::<Vec<u8>>(list(VALUES_MAX).as_bytes()).is_ok());
    let outcome = parse::<Vec<u8>>(list(VALUES_MAX + 1).as_bytes()).map(drop);
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("131073 values"), "{error}");
}

#[test]
fn object_in_an_object_takes_no_more_than_is_reserved() {
    let member = size_of::<String>() + size_of::<serde_json::Value>();
    // The parent and the number of members are in the node as well, and the allocator rounds up.
    assert!(11 * member + 16 + 16 <= VALUE, "{member}");
    assert_eq!(values(br#"{"":{"":{"":0}}}"#), 4);
}

#[test]
fn words_for_people_have_few_values() {
    let objects = |count: usize| format!("[{}0]", "{\"\":0},".repeat(count));
    assert!(brief(objects(BRIEF_VALUES_MAX / 2 - 1).as_bytes()).is_ok());
    assert!(brief(objects(BRIEF_VALUES_MAX / 2).as_bytes()).is_err());
}

#[test]
fn a_key_may_occur_once_an_object() {
    for (text, holds) in [
        (r#"{"a":1,"b":{"a":null},"c":[{"a":1.5},{"a":"x"}]}"#, true),
        (r#"{"a":1,"a":1}"#, false),
        (r#"{"a":1,"\u0061":2}"#, false),
        (r#"{"x":{"y":[{"a":1,"a":2}]}}"#, false),
        (r#"{"a":1} trailing"#, false),
        (&"[".repeat(100_000), false),
    ] {
        let outcome = parse::<serde_json::Value>(text.as_bytes());
        assert_eq!(outcome.is_ok(), holds, "{:.60}", text);
    }
}

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Outer {
    inner: Inner,
    #[serde(default, deserialize_with = "lenient")]
    loose: Option<Inner>,
    #[serde(default)]
    list: Vec<Inner>,
    #[serde(default, deserialize_with = "null_is_empty")]
    map: BTreeMap<String, Option<Inner>>,
}

#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
struct Inner {
    number: u64,
    text: String,
}

#[test]
fn struct_is_read_from_an_object_alone_at_every_depth() {
    for (text, says) in [
        ("[{}]", "invalid type: sequence, expected an object"),
        (r#"{"inner":[7,"x"]}"#, "inner: invalid type: sequence"),
        (r#"{"inner":{},"list":[{},[7]]}"#, "list[1]: invalid type"),
        (r#"{"inner":{},"map":{"a":[7]}}"#, "map.a: invalid type"),
        (
            r#"{"inner":{"text":7}}"#,
            "inner.text: invalid type: integer `7`, expected a string",
        ),
        (
            r#"{"inner":{"number":-7}}"#,
            "inner.number: invalid value: integer `-7`, expected a whole number",
        ),
        ("{}", "missing field `inner`"),
    ] {
        for error in [
            parse::<Outer>(text.as_bytes()).unwrap_err(),
            from_value::<Outer>(text.parse().unwrap()).unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(
                error.starts_with(says) && !error.contains("line"),
                "{text}\n{error}"
            );
        }
    }
    let loose = parse::<Outer>(br#"{"inner":{"number":1,"text":"x"},"loose":[7]}"#).unwrap();
    assert_eq!((loose.inner.number, loose.loose), (1, None));
    let list = parse::<Outer>(br#"{"inner":{},"list":[{"number":2}],"map":{"a":null}}"#);
    assert_eq!(list.unwrap().list[0].number, 2);
}

#[test]
fn error_shows_the_beginning_of_a_long_path() {
    let text = format!(r#"{{"inner":{{}},"map":{{"{}":7}}}}"#, "é".repeat(5000));
    let error = parse::<Outer>(text.as_bytes()).unwrap_err().to_string();
    assert!(
        error.contains("...: invalid type: integer `7`, expected an object"),
        "{error}"
    );
    assert!(error.len() < 1000, "{error}");
}

#[test]
fn a_list_of_words_may_be_one_word_or_nothing() {
    #[derive(serde::Deserialize)]
    struct Command(#[serde(deserialize_with = "one_or_many")] Vec<String>);

    for (text, expected) in [
        (r#"["a","b"]"#, &["a", "b"][..]),
        (r#""/bin/sh -c""#, &["/bin/sh -c"]),
        (r#""""#, &[]),
        ("[]", &[]),
        ("null", &[]),
    ] {
        let found: Command = parse(text.as_bytes()).unwrap();
        assert_eq!(found.0, expected, "{text}");
    }
    let error = parse::<Command>(b"5").err().unwrap().to_string();
    assert!(
        error.contains("a sequence of strings or a string"),
        "{error}"
    );
}

#[test]
fn outline_tells_types_apart() {
    for (text, expected) in [
        ("null", Outline::Null),
        (r#""""#, Outline::Text),
        ("1", Outline::Integer),
        ("-1", Outline::Integer),
        ("1.5", Outline::Other),
        ("-1.5", Outline::Other),
        ("true", Outline::Other),
        (r#"["a",null]"#, Outline::Words),
        ("[1]", Outline::Other),
    ] {
        let found: Outline = serde_json::from_str(text).unwrap();
        assert_eq!(found, expected, "{text}");
    }
}
