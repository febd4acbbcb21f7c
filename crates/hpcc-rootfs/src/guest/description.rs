//! `/.hpcc/image.json`: what a guest needs to know about its image to run a command as the image's author intended.

use std::collections::BTreeMap;
use std::sync::Arc;

use ociget::{Healthcheck, Image};
use serde::Serialize;

use crate::error::Error;

/// The members of the document.
// `docs/image.schema.json` describes them.
#[derive(Debug, Serialize)]
pub(super) struct Description<'a> {
    /// Version of this file's layout.
    version: u32,
    identity: String,
    manifest: String,
    platform: String,
    created: &'a str,
    layers: Vec<LayerDescription>,
    config: Config<'a>,
}

/// How the image's author intended it to be run, in the terms of the OCI image configuration.
#[derive(Debug, Serialize)]
struct Config<'a> {
    env: &'a [String],
    entrypoint: &'a [String],
    cmd: &'a [String],
    working_dir: &'a str,
    user: &'a str,
    labels: &'a BTreeMap<String, String>,
    stop_signal: &'a str,
    volumes: &'a [String],
    exposed_ports: &'a [String],
    healthcheck: Option<Check<'a>>,
}

/// A health check. Times are in nanoseconds.
#[derive(Debug, Serialize)]
struct Check<'a> {
    test: &'a [String],
    interval: i64,
    timeout: i64,
    start_period: i64,
    start_interval: i64,
    retries: i64,
}

#[derive(Debug, Serialize)]
struct LayerDescription {
    digest: String,
    diff_id: String,
}

impl<'a> Config<'a> {
    fn of(runtime: &'a ociget::RuntimeConfig) -> Self {
        Self {
            env: &runtime.env,
            entrypoint: &runtime.entrypoint,
            cmd: &runtime.cmd,
            working_dir: &runtime.working_dir,
            user: &runtime.user,
            labels: &runtime.labels,
            stop_signal: &runtime.stop_signal,
            volumes: &runtime.volumes,
            exposed_ports: &runtime.exposed_ports,
            healthcheck: runtime.healthcheck.as_ref().map(Check::of),
        }
    }
}

impl<'a> Check<'a> {
    fn of(check: &'a Healthcheck) -> Self {
        Self {
            test: &check.test,
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }
    }
}

impl<'a> Description<'a> {
    pub(super) fn of(image: &'a Image) -> Self {
        Self {
            version: 1,
            identity: image.identity.get().to_string(),
            manifest: image.manifest.get().to_string(),
            platform: image.platform.to_string(),
            created: &image.config.created,
            layers: image
                .layers
                .iter()
                .map(|layer| LayerDescription {
                    digest: layer.descriptor.digest.to_string(),
                    diff_id: layer.diff_id.to_string(),
                })
                .collect(),
            config: Config::of(&image.config.runtime),
        }
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>, Error> {
        let mut json = serde_json::to_vec_pretty(self).map_err(|error| Error::Internal {
            what: "image.json",
            source: Arc::new(error.into()),
        })?;
        json.push(b'\n');
        Ok(json)
    }
}
