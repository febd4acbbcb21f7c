//! A validator of JSON Schema: python3-jsonschema.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::command::run;

/// Fails, with what is wrong, unless the documents in all files are as the schema says.
pub fn validate(schema: &Path, documents: &[PathBuf]) -> Result<()> {
    let mut command = Command::new("jsonschema");
    for document in documents {
        command.arg("--instance").arg(document);
    }
    run(command.arg(schema)).map(drop)
}
