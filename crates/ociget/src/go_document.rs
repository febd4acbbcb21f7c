//! Documents of other programs on this machine and of token servers, as Go's `encoding/json` decodes them.
//!
//! docker, podman and credential helpers write and read their files with it. None of these documents is verified or
//! names content, so a key that occurs twice is no reason to refuse them, as it is for documents of images.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::go_json::{Keys, as_go_reads};
use crate::json;

/// Reads text that is one document, and white space around it.
pub(crate) fn whole(text: &[u8], keys: Keys) -> Result<Value, serde_json::Error> {
    read(text, keys, true)
}

/// Reads the document that text begins with, whatever follows it.
pub(crate) fn first(text: &[u8], keys: Keys) -> Result<Value, serde_json::Error> {
    read(text, keys, false)
}

fn read(text: &[u8], keys: Keys, is_all: bool) -> Result<Value, serde_json::Error> {
    json::check_values(text)?;
    let text = as_go_reads(text, keys);
    let mut deserializer = serde_json::Deserializer::from_slice(&text);
    let value = Go { is_root: true }.deserialize(&mut deserializer)?;
    if is_all {
        deserializer.end()?;
    }
    Ok(value)
}

/// Any value. The last of two members with one key counts.
struct Go {
    is_root: bool,
}

impl Go {
    /// Sets a member that may exist. Go stores `null` in a map or an object alone, and adds the members of a second
    /// object to the map of the first.
    fn set(&self, object: &mut Map<String, Value>, key: String, new: Value) {
        match (object.get_mut(&key), new) {
            (Some(Value::String(_) | Value::Number(_) | Value::Bool(_)), Value::Null) => {}
            (Some(Value::Object(old)), Value::Object(new)) if self.is_root => old.extend(new),
            (_, new) => {
                object.insert(key, new);
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Go {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Go {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(Self { is_root: false })?;
            self.set(&mut object, key, value);
        }
        Ok(object.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(Self { is_root: false })? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: Keys = Keys {
        known: &["auths", "store", "auth"],
        maps: &["store"],
        records: &["auths"],
    };

    /// Outputs of Go's `json.Unmarshal` into a struct with a map of structs.
    #[test]
    fn last_of_equal_keys_counts_and_maps_are_joined() {
        for (text, expected) in [
            (r#"{"store":"a","Store":"b"}"#, r#"{"store":"b"}"#),
            (r#"{"store":"a","store":null}"#, r#"{"store":"a"}"#),
            (r#"{"auths":{"a":{}},"auths":null}"#, r#"{"auths":null}"#),
            (
                r#"{"auths":{"a":{"auth":"1"},"b":{}},"AUTHS":{"a":{"auth":"2"},"c":{}}}"#,
                r#"{"auths":{"a":{"auth":"2"},"b":{},"c":{}}}"#,
            ),
            (
                r#"{"auths":{"a":{"auth":"1"},"a":{"x":"2"}}}"#,
                r#"{"auths":{"a":{"x":"2"}}}"#,
            ),
            ("null", "null"),
            ("[1,-1,1.5,true]", "[1,-1,1.5,true]"),
        ] {
            let found = whole(text.as_bytes(), KEYS).unwrap();
            assert_eq!(found.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn document_of_too_many_values_is_refused() {
        let text = format!("[{}0]", "{\"\":0},".repeat(1 << 16));
        assert!(whole(text.as_bytes(), KEYS).is_err());
    }

    #[test]
    fn text_after_the_document_matters_to_whole_alone() {
        for text in ["{} x", "{}{}", "{}\n]"] {
            assert!(whole(text.as_bytes(), KEYS).is_err(), "{text}");
            assert_eq!(first(text.as_bytes(), KEYS).unwrap().to_string(), "{}");
        }
        for damaged in ["", "{", "x {}", "\u{feff}{}"] {
            assert!(first(damaged.as_bytes(), KEYS).is_err(), "{damaged}");
        }
    }
}
