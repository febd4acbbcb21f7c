//! The book: `docs/` as HTML.

use std::process::Command;

use anyhow::{Result, bail};

use crate::tally::Tally;
use crate::{command, workspace};

/// Builds the book into `target/book` if mdBook is installed. Its pages are tested in any case, by `tests/it/docs.rs`.
pub(crate) fn build() -> Result<Tally> {
    if !command::succeeds(Command::new("mdbook").arg("--version")) {
        println!("NOT built: mdbook is missing; install it with: cargo install mdbook --locked");
        return Ok(Tally::default());
    }
    let mut mdbook = Command::new("mdbook");
    mdbook
        .current_dir(workspace::root())
        .args(["build", "docs"]);
    let shown = command::show(&mut mdbook)?;
    // A page that cannot be read is a warning or an error in its output, not always in its exit status.
    if !shown.success || shown.output.contains("[ERROR]") || shown.output.contains("[WARN]") {
        return Ok(Tally::failed(&shown.output));
    }
    if !workspace::target("book")?.join("quick-start.html").exists() {
        bail!("mdbook wrote no target/book/quick-start.html");
    }
    Ok(Tally::default())
}
