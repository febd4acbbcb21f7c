//! The image config: what it runs on, what its layers hash to unpacked, and how to start it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use crate::digest::{DiffId, Digest};
use crate::go_json::{Keys, as_go_reads};
use crate::json::{
    Outline, lenient, lenient_integer, null_is_empty, one_or_many, set, texts, words,
};
use crate::manifest::ManifestError;
use crate::platform::{HalfPlatform, Platform, RawPlatform};

/// An image config: the fields that a root file system needs, and all bytes for callers that need more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageConfig {
    /// The platform of the image. `None` if the config leaves system or architecture out, as some old tools did.
    pub platform: Option<Platform>,
    /// System and architecture where the config has one of them alone.
    pub(crate) half: HalfPlatform,
    /// One for each layer, oldest first.
    pub diff_ids: Vec<DiffId>,
    /// Time of its creation, as its author wrote it; empty if the config has no such text.
    pub created: String,
    /// The command, environment and user with which it starts.
    pub runtime: RuntimeConfig,
    /// Members that have another type than in the specification, such as `config.Volumes`. Their fields here are empty.
    pub mistyped: Vec<&'static str>,
    /// The document as it was hashed.
    pub raw: Bytes,
}

/// The `config` object of an image config: defaults for starting a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[non_exhaustive]
pub struct RuntimeConfig {
    /// `NAME=value`.
    #[serde(deserialize_with = "words")]
    pub env: Vec<String>,
    /// The program and its first arguments; empty if the image has none.
    #[serde(deserialize_with = "one_or_many")]
    pub entrypoint: Vec<String>,
    /// Arguments after the entrypoint, or the command where there is no entrypoint.
    #[serde(deserialize_with = "one_or_many")]
    pub cmd: Vec<String>,
    /// Empty means `/`.
    #[serde(deserialize_with = "null_is_empty")]
    pub working_dir: String,
    /// `user`, `uid`, `user:group`, …; empty means root.
    #[serde(deserialize_with = "null_is_empty")]
    pub user: String,
    /// Anything.
    #[serde(deserialize_with = "texts")]
    pub labels: BTreeMap<String, String>,
    /// Name or number of the signal that asks the program to end; empty means `SIGTERM`.
    #[serde(deserialize_with = "lenient")]
    pub stop_signal: String,
    /// Directories for data that outlives a container, sorted.
    #[serde(deserialize_with = "set")]
    pub volumes: Vec<String>,
    /// `port`, `port/tcp` or `port/udp`, sorted.
    #[serde(deserialize_with = "set")]
    pub exposed_ports: Vec<String>,
    /// Command that checks whether the program works; `None` if the image has none.
    #[serde(deserialize_with = "lenient")]
    pub healthcheck: Option<Healthcheck>,
}

/// The check by which a runtime finds out whether the program of an image works. Times are in nanoseconds, and 0 means
/// the runtime's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[non_exhaustive]
pub struct Healthcheck {
    /// `NONE`, or `CMD` or `CMD-SHELL` and the words after it; empty if the image leaves it out, and there is nothing
    /// to run then.
    #[serde(deserialize_with = "words")]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(deserialize_with = "lenient_integer")]
    pub interval: i64,
    /// Time that one check may take.
    #[serde(deserialize_with = "lenient_integer")]
    pub timeout: i64,
    /// Time from the start in which failures do not count.
    #[serde(deserialize_with = "lenient_integer")]
    pub start_period: i64,
    /// Time between two checks during the start period.
    #[serde(deserialize_with = "lenient_integer")]
    pub start_interval: i64,
    /// Number of failures in a row that make the program unhealthy.
    #[serde(deserialize_with = "lenient_integer")]
    pub retries: i64,
}

impl ImageConfig {
    /// Reads a config.
    ///
    /// # Errors
    /// [`ManifestError`] if it is not JSON, has a key twice, has no list of layers, or one of
    /// them is not a digest.
    pub fn parse(raw: Bytes) -> Result<Self, ManifestError> {
        let invalid = |error: serde_json::Error| ManifestError::Config(error.to_string());
        let text = as_go_reads(&raw, KEYS);
        let RawConfig {
            created,
            config,
            rootfs,
        } = crate::json::parse(&text).map_err(invalid)?;
        let platform: RawPlatform = crate::json::read(&text).map_err(invalid)?;
        // Readers in Go do not look at the type, so that tools forgot to write it.
        if !matches!(&*rootfs.kind, "layers" | "") {
            return Err(ManifestError::Config(format!(
                "rootfs.type is {:?}, not \"layers\"",
                rootfs.kind
            )));
        }
        let diff_id = |text: String| match text.parse::<Digest>() {
            Ok(digest) => Ok(DiffId(digest)),
            Err(reason) => Err(ManifestError::Digest {
                field: "rootfs.diff_ids",
                reason,
            }),
        };
        Ok(Self {
            platform: platform.config()?,
            half: platform.half()?,
            diff_ids: rootfs
                .diff_ids
                .into_iter()
                .map(diff_id)
                .collect::<Result<_, _>>()?,
            created,
            runtime: config,
            mistyped: mistyped(&crate::json::read(&text).map_err(invalid)?),
            raw,
        })
    }
}

/// The members that [`RuntimeConfig`] leaves empty if their type is wrong.
#[derive(Default, Deserialize)]
#[serde(default)]
struct DocumentOutline {
    created: Outline,
    config: Outline<ConfigOutline>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ConfigOutline {
    stop_signal: Outline,
    volumes: Outline,
    exposed_ports: Outline,
    healthcheck: Outline<CheckOutline>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CheckOutline {
    test: Outline,
    interval: Outline,
    timeout: Outline,
    start_period: Outline,
    start_interval: Outline,
    retries: Outline,
}

/// Returns the members of a config that [`RuntimeConfig`] leaves empty because of their type. Anything else of a wrong
/// type is an error.
fn mistyped(document: &Outline<DocumentOutline>) -> Vec<&'static str> {
    let Outline::Object(DocumentOutline { created, config }) = document else {
        return Vec::new();
    };
    let mut members = vec![("created", created.is_text())];
    if let Outline::Object(config) = config {
        let check = &config.healthcheck;
        members.extend([
            ("config.StopSignal", config.stop_signal.is_text()),
            ("config.Volumes", config.volumes.is_object()),
            ("config.ExposedPorts", config.exposed_ports.is_object()),
            ("config.Healthcheck", is_check(check)),
        ]);
        if let Outline::Object(check) = check {
            members.extend([
                ("config.Healthcheck.Interval", check.interval.is_integer()),
                ("config.Healthcheck.Timeout", check.timeout.is_integer()),
                (
                    "config.Healthcheck.StartPeriod",
                    check.start_period.is_integer(),
                ),
                (
                    "config.Healthcheck.StartInterval",
                    check.start_interval.is_integer(),
                ),
                ("config.Healthcheck.Retries", check.retries.is_integer()),
            ]);
        }
    }
    let wrong = members.into_iter().filter(|(_, is_valid)| !is_valid);
    wrong.map(|(path, _)| path).collect()
}

/// Returns whether a check has words, without which it is none.
fn is_check(check: &Outline<CheckOutline>) -> bool {
    match check {
        Outline::Null => true,
        Outline::Object(check) => matches!(check.test, Outline::Null | Outline::Words),
        _ => false,
    }
}

/// The fields that are read, and those beside them that hold keys of others.
const KEYS: Keys = Keys {
    known: &[
        "created",
        "config",
        "rootfs",
        "type",
        "diff_ids",
        "os",
        "architecture",
        "variant",
        "os.version",
        "os.features",
        "Env",
        "Entrypoint",
        "Cmd",
        "WorkingDir",
        "User",
        "Labels",
        "Volumes",
        "ExposedPorts",
        "Healthcheck",
        "Test",
        "Interval",
        "Timeout",
        "StartPeriod",
        "StartInterval",
        "Retries",
        "StopSignal",
        "history",
        "container_config",
    ],
    maps: &[
        "Labels",
        "Volumes",
        "ExposedPorts",
        "history",
        "container_config",
    ],
    records: &[],
};

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default, deserialize_with = "lenient")]
    created: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    config: RuntimeConfig,
    rootfs: RawRootfs,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(default, rename = "type", deserialize_with = "null_is_empty")]
    kind: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    diff_ids: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str) -> Result<ImageConfig, ManifestError> {
        ImageConfig::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn what_a_rootfs_needs_is_read_and_the_rest_kept() {
        let text = format!(
            r#"{{"os":"linux","architecture":"arm64","variant":"v8","history":[],"x":{{}},
            "config":{{"Env":["A=b"],"Entrypoint":["/init"],"Cmd":null,"WorkingDir":"/w","User":"7:8",
            "Labels":{{"k":"v"}},"ExposedPorts":{{}}}},
            "rootfs":{{"type":"layers","diff_ids":["{D}"]}}}}"#
        );
        let config = parse(&text).unwrap();
        assert_eq!(config.platform.unwrap().to_string(), "linux/arm64/v8");
        assert_eq!(config.diff_ids, [DiffId(Digest::of(b""))]);
        assert_eq!(config.runtime.env, ["A=b"]);
        assert_eq!(config.runtime.entrypoint, ["/init"]);
        assert!(config.runtime.cmd.is_empty());
        assert_eq!(config.runtime.working_dir, "/w");
        assert_eq!(config.runtime.user, "7:8");
        assert_eq!(config.runtime.labels["k"], "v");
        assert_eq!(config.raw, text.as_bytes());
    }

    #[test]
    fn stop_signal_volumes_ports_and_healthcheck_are_read() {
        let text = r#"{"Created":"2024-01-02T03:04:05Z","rootfs":{"type":"layers"},"config":{
            "stopsignal":"SIGQUIT","Volumes":{"/b":{},"/a":{}},"ExposedPorts":{"80/tcp":{}},
            "Healthcheck":{"Test":["CMD","x"],"Interval":30000000000,"Retries":3}}}"#;
        let config = parse(text).unwrap();
        assert_eq!(config.created, "2024-01-02T03:04:05Z");
        assert_eq!(config.runtime.stop_signal, "SIGQUIT");
        assert_eq!(config.runtime.volumes, ["/a", "/b"]);
        assert_eq!(config.runtime.exposed_ports, ["80/tcp"]);
        let healthcheck = config.runtime.healthcheck.unwrap();
        assert_eq!(healthcheck.test, ["CMD", "x"]);
        assert_eq!(healthcheck.interval, 30_000_000_000);
        assert_eq!((healthcheck.retries, healthcheck.timeout), (3, 0));
    }

    #[test]
    fn healthcheck_fields_are_read_in_any_case_and_as_null() {
        let check = |text: &str| {
            let text =
                format!(r#"{{"rootfs":{{"type":"layers"}},"config":{{"Healthcheck":{text}}}}}"#);
            parse(&text).unwrap().runtime.healthcheck
        };
        let expected = Healthcheck {
            test: vec!["CMD".to_owned(), "x".to_owned()],
            interval: 1,
            timeout: 2,
            start_period: 3,
            start_interval: 4,
            retries: 5,
        };
        for text in [
            r#"{"Test":["CMD","x"],"Interval":1,"Timeout":2,"StartPeriod":3,"StartInterval":4,"Retries":5}"#,
            r#"{"test":["CMD","x"],"interval":1,"timeout":2,"startPeriod":3,"startinterval":4,"retries":5}"#,
            r#"{"TEST":["CMD","x"],"INTERVAL":1,"TIMEOUT":2,"STARTPERIOD":3,"STARTINTERVAL":4,"RETRIES":5,"x":{"Test":1}}"#,
        ] {
            assert_eq!(check(text), Some(expected.clone()), "{text}");
        }
        let nothing = r#"{"Test":null,"Interval":null,"Timeout":null,"StartPeriod":null,"StartInterval":null,"Retries":null}"#;
        assert_eq!(check(nothing), Some(Healthcheck::default()));
        let one = r#"{"test":["NONE",null],"interval":null}"#;
        assert_eq!(check(one).unwrap().test, ["NONE", ""]);
        assert_eq!(check("null"), None);
    }

    #[test]
    fn null_stands_for_nothing_in_every_field() {
        let text = r#"{"created":null,"os":null,"architecture":null,"variant":null,"rootfs":{"type":null,"diff_ids":null},
            "config":{"Env":null,"Entrypoint":null,"Cmd":null,"WorkingDir":null,"User":null,"Labels":null,"Volumes":null,
            "ExposedPorts":null,"Healthcheck":null,"StopSignal":null}}"#;
        let config = parse(text).unwrap();
        assert_eq!((config.platform, config.created.as_str()), (None, ""));
        assert_eq!(config.runtime, RuntimeConfig::default());
        // Of a list or a map, null is empty text.
        let text = r#"{"rootfs":{"type":"layers"},"config":{"env":["A=b",null],"ENTRYPOINT":[null,"x"],"cmd":[null],
            "labels":{"k":null},"volumes":{"/v":null},"exposedPorts":{"1/tcp":null}}}"#;
        let runtime = parse(text).unwrap().runtime;
        assert_eq!(runtime.env, ["A=b", ""]);
        assert_eq!(runtime.entrypoint, ["", "x"]);
        assert_eq!(runtime.cmd, [""]);
        assert_eq!(runtime.labels["k"], "");
        assert_eq!(runtime.volumes, ["/v"]);
        assert_eq!(runtime.exposed_ports, ["1/tcp"]);
    }

    #[test]
    fn nonsense_in_fields_that_nothing_rests_on_is_empty() {
        let text = r#"{"created":7,"rootfs":{"type":"layers"},"config":{"StopSignal":15,
            "Volumes":["/a"],"ExposedPorts":null,"Healthcheck":{"Test":"x"}}}"#;
        let config = parse(text).unwrap();
        assert_eq!(config.created, "");
        assert_eq!(config.runtime, RuntimeConfig::default());
        let named = [
            "created",
            "config.StopSignal",
            "config.Volumes",
            "config.Healthcheck",
        ];
        assert_eq!(config.mistyped, named);
    }

    #[test]
    fn types_are_judged_where_they_are_looked_for() {
        for (members, named) in [
            (r#""config":{"x":[["A=b"]]}"#, &[][..]),
            (
                r#""x":{"created":7},"config":{"x":[{"Volumes":7}],"Volumes":true}"#,
                &["config.Volumes"],
            ),
            (r#""created":{"x":[1.5,{"y":null}]}"#, &["created"]),
            (
                r#""config":{"Healthcheck":{"Test":["CMD",{"Test":"x"}],"Retries":18446744073709551615}}"#,
                &["config.Healthcheck", "config.Healthcheck.Retries"],
            ),
            (
                r#""config":{"Healthcheck":[["CMD","x"],1,2,3,4,5]}"#,
                &["config.Healthcheck"],
            ),
        ] {
            let text = format!(r#"{{"rootfs":{{"type":"layers"}},{members}}}"#);
            let config = parse(&text).unwrap();
            assert_eq!(config.mistyped, named, "{text}");
            assert_eq!(config.runtime.healthcheck, None, "{text}");
        }
    }

    #[test]
    fn healthcheck_with_an_odd_number_keeps_its_words() {
        let check = |numbers: &str| {
            let text = format!(
                r#"{{"rootfs":{{"type":"layers"}},"config":{{"healthcheck":{{"Test":["CMD","x"],{numbers}}}}}}}"#
            );
            let config = parse(&text).unwrap();
            let check = config.runtime.healthcheck.unwrap();
            assert_eq!(check.test, ["CMD", "x"]);
            (check.interval, check.retries, config.mistyped)
        };
        for (numbers, interval, retries) in [
            (
                r#""Interval":30000000000.0,"Retries":3e0"#,
                30_000_000_000,
                3,
            ),
            (r#""Interval":3e10,"Retries":-1"#, 30_000_000_000, -1),
            (r#""Interval":null"#, 0, 0),
        ] {
            assert_eq!(check(numbers), (interval, retries, vec![]), "{numbers}");
        }
        for odd in ["\"30s\"", "9223372036854775808", "1.5", "1e300", "[]"] {
            let named = vec!["config.Healthcheck.Interval"];
            let found = check(&format!(r#""Interval":{odd},"Retries":3"#));
            assert_eq!(found, (0, 3, named), "{odd}");
        }
    }

    #[test]
    fn little_is_needed_and_nonsense_refused() {
        let bare = parse(r#"{"rootfs":{"type":"layers","diff_ids":null},"config":null}"#).unwrap();
        assert_eq!(bare.platform, None);
        assert_eq!(bare.runtime, RuntimeConfig::default());
        for (text, says) in [
            ("{}", "rootfs"),
            (r#"{"rootfs":{"type":"tree"}}"#, "tree"),
            (
                r#"{"rootfs":{"type":"layers","diff_ids":["x"]}}"#,
                "diff_ids",
            ),
            (
                r#"{"os":"linux","os":"plan9","rootfs":{"type":"layers"}}"#,
                "twice",
            ),
            (
                r#"{"os":"linux","architecture":"amd64","variant":"\u001b[31m","rootfs":{"type":"layers"}}"#,
                "variant is \"\\u{1b}[31m\"",
            ),
            (
                r#"{"config":{"Env":"A=b"},"rootfs":{"type":"layers"}}"#,
                "config.Env: invalid type: string \"A=b\", expected a sequence",
            ),
            (
                r#"{"config":{"user":1000},"rootfs":{"type":"layers"}}"#,
                "config.User: invalid type: integer `1000`, expected a string",
            ),
            (
                r#"{"config":{"Labels":{"k":1}},"rootfs":{"type":"layers"}}"#,
                "config.Labels.k: invalid type: integer `1`",
            ),
            (
                r#"{"config":[["A=1"],["/entry"],["/cmd"],"/wd","1000"],"rootfs":{"type":"layers"}}"#,
                "config: invalid type: sequence, expected an object",
            ),
            (
                r#"{"rootfs":["layers",[]]}"#,
                "rootfs: invalid type: sequence, expected an object",
            ),
            (
                r#"["",{},{"type":"layers"}]"#,
                "config: invalid type: sequence",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}\n{error}");
        }
    }
}
