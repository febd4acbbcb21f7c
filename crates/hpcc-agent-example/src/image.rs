//! The parts of `/.hpcc/image.json` that a command needs. `docs/image.schema.json` describes all of it.

use std::ffi::OsStr;

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Image {
    version: u32,
    /// Digest of the image manifest.
    #[serde(default)]
    pub(crate) manifest: String,
    pub(crate) config: Config,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Config {
    pub(crate) env: Vec<String>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) cmd: Vec<String>,
    pub(crate) working_dir: String,
    pub(crate) user: String,
    /// Empty if the image has none.
    #[serde(default)]
    pub(crate) stop_signal: String,
}

impl Image {
    pub(crate) fn read() -> Result<Self, String> {
        let failed =
            |error: &dyn std::fmt::Display| format!("cannot read /.hpcc/image.json: {error}");
        let text = std::fs::read("/.hpcc/image.json").map_err(|error| failed(&error))?;
        let image: Self = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
        if image.version != 1 {
            return Err(format!(
                "/.hpcc/image.json has version {}, and this agent reads version 1",
                image.version
            ));
        }
        Ok(image)
    }

    /// Returns the directory in which the command starts.
    pub(crate) fn directory(&self) -> &OsStr {
        match self.config.working_dir.as_str() {
            "" => "/".as_ref(),
            directory => directory.as_ref(),
        }
    }
}
