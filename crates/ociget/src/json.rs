//! JSON whose objects have no key twice.
//!
//! Parsers differ in which of two equal keys they believe, so a document that has them can be one
//! image to a checker and another to a runtime. This crate refuses such a document.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use crate::go_json::{Keys, as_go_reads};

/// Parses `bytes`, after a look through the whole document for duplicate keys.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice::<NoDuplicates>(bytes)?;
    serde_json::from_slice(bytes)
}

/// Parses a document of an image, whose `keys` may have any case, as Go reads it.
pub(crate) fn parse_as_go<T: DeserializeOwned>(
    bytes: &[u8],
    keys: Keys,
) -> Result<T, serde_json::Error> {
    parse(&as_go_reads(bytes, keys))
}

/// A list of words, which Docker also takes as one string; an empty string is an empty list.
pub(crate) fn one_or_many<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    struct Words;

    impl<'de> Visitor<'de> for Words {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence of strings or a string")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_str<E>(self, word: &str) -> Result<Self::Value, E> {
            let word = Some(word).filter(|word| !word.is_empty());
            Ok(word.map(str::to_owned).into_iter().collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut words = Vec::new();
            while let Some(word) = seq.next_element::<Option<String>>()? {
                words.push(word.unwrap_or_default());
            }
            Ok(words)
        }
    }

    deserializer.deserialize_any(Words)
}

/// A list of words, which may be `null` and have elements that are: Go reads those as empty text.
pub(crate) fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let words: Vec<Option<String>> = null_is_empty(deserializer)?;
    Ok(words.into_iter().map(Option::unwrap_or_default).collect())
}

/// A map whose values may be `null`, which Go reads as empty text.
pub(crate) fn texts<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let texts: BTreeMap<String, Option<String>> = null_is_empty(deserializer)?;
    let texts = texts.into_iter();
    Ok(texts
        .map(|(key, text)| (key, text.unwrap_or_default()))
        .collect())
}

/// A value that nothing rests on: the default if it is not what it should be. An image that was usable without it stays so.
pub(crate) fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// A whole number, in whichever form JSON has for it; 0 if it is anything else, as [`lenient`].
pub(crate) fn lenient_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(integer(&value).unwrap_or_default())
}

/// Returns a value as a whole number. `30.0` and `3e1` are such numbers.
pub(crate) fn integer(value: &serde_json::Value) -> Option<i64> {
    let whole = || value.as_f64().filter(|number| number.fract() == 0.0);
    value
        .as_i64()
        .or_else(|| format!("{:.0}", whole()?).parse().ok())
}

/// The type of a value, and of an object its members in `T`. Nothing else is kept of what a registry wrote.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Outline<T = IgnoredAny> {
    /// Also a member that is missing.
    #[default]
    Null,
    Text,
    /// A number that [`integer`] takes.
    Integer,
    /// A list of texts and nulls.
    Words,
    Object(T),
    Other,
}

impl<T> Outline<T> {
    /// Whether it is text or null.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self, Self::Null | Self::Text)
    }

    /// Whether it is a whole number or null.
    pub(crate) fn is_integer(&self) -> bool {
        matches!(self, Self::Null | Self::Integer)
    }

    /// Whether it is an object or null.
    pub(crate) fn is_object(&self) -> bool {
        matches!(self, Self::Null | Self::Object(_))
    }

    fn of_number(number: impl Into<serde_json::Value>) -> Self {
        match integer(&number.into()) {
            Some(_) => Self::Integer,
            None => Self::Other,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Outline<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OutlineVisitor(PhantomData))
    }
}

struct OutlineVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OutlineVisitor<T> {
    type Value = Outline<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Outline::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut are_words = true;
        while let Some(element) = seq.next_element::<Outline>()? {
            are_words &= element.is_text();
        }
        Ok(match are_words {
            true => Outline::Words,
            false => Outline::Other,
        })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Outline::Other)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Outline::of_number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Outline::of_number(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Outline::of_number(number))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Outline::Text)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Outline::Null)
    }
}

/// The keys of an object whose values say nothing, as Go spells a set; as [`lenient`], sorted.
pub(crate) fn set<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let set: BTreeMap<String, IgnoredAny> = lenient(deserializer)?;
    Ok(set.into_keys().collect())
}

/// Go writes `null` for a map or a list that is empty.
pub(crate) fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A field that exists, `null` or not. Combined with `default`, a missing one is `None`.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// Anything, nothing of which is kept.
struct NoDuplicates;

impl<'de> Deserialize<'de> for NoDuplicates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for NoDuplicates {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let _: Self = map.next_value()?;
            if let Some(key) = seen.replace(key) {
                return Err(A::Error::custom(format_args!(
                    "the key {key:?} occurs twice"
                )));
            }
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
