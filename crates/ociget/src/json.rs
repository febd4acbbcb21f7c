//! JSON whose objects have no key twice, and whose structs are objects.
//!
//! Parsers differ in which of two equal keys they believe, so a document that has them can be one
//! image to a checker and another to a runtime. This crate refuses such a document.

mod objects;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use crate::go_json::{Keys, as_go_reads};
use crate::json::objects::Objects;

/// Characters of a path that an error shows. A key may be as long as the document.
const PATH_MAX: usize = 200;

/// Values that a document has at most, members and elements together. An index of 16 000 images has fewer. A value of two
/// bytes takes up to [`VALUE`] bytes of memory, so the length of a document bounds nothing.
const VALUES_MAX: usize = 1 << 17;

/// Values of a text for people at most, such as of a refusal.
const BRIEF_VALUES_MAX: usize = 1000;

/// Bytes of memory that a value takes at most, apart from its text: those of an object with one member, whose node has
/// room for 11.
const VALUE: usize = 704;

/// Returns an upper bound of the number of values in `text`.
fn values(text: &[u8]) -> usize {
    let (mut count, mut is_string, mut is_escaped) = (1, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_string,
            b'"' => is_string = !is_string,
            b',' | b'[' | b'{' if !is_string => count += 1,
            _ => {}
        }
    }
    count
}

/// Takes the memory that parsing `text` takes at most, and gives it back.
///
/// # Errors
/// Returns an error of the kind `OutOfMemory` without that memory. The parser would end the process.
pub(crate) fn reserve(text: &[u8]) -> io::Result<()> {
    let values = values(text).min(VALUES_MAX);
    let mut memory: Vec<u8> = Vec::new();
    memory.try_reserve_exact(values * VALUE + text.len().saturating_mul(4))?;
    // An allocation that is not used would be left out.
    std::hint::black_box(memory);
    Ok(())
}

/// Parses `bytes`, after a look through the whole document for duplicate keys.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    check(bytes, VALUES_MAX)?;
    serde_json::from_slice::<NoDuplicates>(bytes)?;
    read(bytes)
}

/// Checks that `bytes` have at most as many values as a document, which [`reserve`] counts on.
pub(crate) fn check_values(bytes: &[u8]) -> Result<(), serde_json::Error> {
    check(bytes, VALUES_MAX)
}

fn check(bytes: &[u8], most: usize) -> Result<(), serde_json::Error> {
    let values = values(bytes);
    if values <= most {
        return Ok(());
    }
    Err(Error::custom(format_args!(
        "it has {values} values in objects and lists; {most} are the most"
    )))
}

/// Returns whether [`brief`] parses `bytes`, if they are JSON.
pub(crate) fn is_brief(bytes: &[u8]) -> bool {
    values(bytes) <= BRIEF_VALUES_MAX
}

/// Parses words for people that no digest vouches for. They have so few values that no memory is reserved for them.
pub(crate) fn brief(bytes: &[u8]) -> Result<serde_json::Value, serde_json::Error> {
    check(bytes, BRIEF_VALUES_MAX)?;
    read(bytes)
}

/// Parses `bytes` that no digest vouches for. The last of two equal keys counts, or they are an error.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(Objects(&mut deserializer)).map_err(located)?;
    deserializer.end()?;
    Ok(value)
}

/// Reads a value that was parsed before.
pub(crate) fn from_value<T: DeserializeOwned>(
    value: serde_json::Value,
) -> Result<T, serde_json::Error> {
    serde_path_to_error::deserialize(Objects(value)).map_err(located)
}

/// Returns the error with the path of the member. Lines and columns count in the text as Go reads it, which no user sees.
fn located(error: serde_path_to_error::Error<serde_json::Error>) -> serde_json::Error {
    let path = error.path().to_string();
    let error = error.into_inner();
    if !error.is_data() {
        return error;
    }
    let said = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let said = said.strip_suffix(&position).unwrap_or(&said);
    match path.char_indices().nth(PATH_MAX) {
        _ if path == "." => Error::custom(said),
        Some((end, _)) => {
            let shown = path.get(..end).unwrap_or_default();
            Error::custom(format_args!("{shown}...: {said}"))
        }
        None => Error::custom(format_args!("{path}: {said}")),
    }
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
    Ok(from_value(value).unwrap_or_default())
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
mod tests;
