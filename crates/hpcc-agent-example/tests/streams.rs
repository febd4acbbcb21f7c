//! What the runtime of Rust does where the standard streams are closed, as `docs/guest.md` says: it opens `/dev/null`,
//! whatever that is, or aborts. The program's own code runs after that.
//!
//! Each start is in a mount namespace of its own, whose `/dev` is empty at first. That needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};

const SIGABRT: i32 = 6;

/// Starts the agent, which is not process 1, after `prepare`. Its streams are closed.
fn start(place: &Path, prepare: &str) -> ExitStatus {
    let script =
        format!("ulimit -c 0; mount -t tmpfs none /dev && {prepare} && exec \"$0\" <&- >&- 2>&-");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &script])
        .arg(env!("CARGO_BIN_EXE_hpcc-agent-example"))
        .current_dir(place);
    command.status().unwrap()
}

#[test]
fn agent_with_closed_streams_aborts_unless_dev_null_exists() {
    // rust-lang/rust#75295, libkrun/libkrun#749
    let place = tempfile::tempdir().unwrap();
    let said = place.path().join("said");
    std::fs::write(&said, "").unwrap();
    assert_eq!(start(place.path(), "true").signal(), Some(SIGABRT));
    let device = start(place.path(), "mknod /dev/null c 1 3");
    assert_eq!(device.code(), Some(1));
    // The node of an image is opened as well.
    let file = start(
        place.path(),
        "touch /dev/null && mount --bind said /dev/null",
    );
    assert_eq!(file.code(), Some(1));
    let text = std::fs::read_to_string(&said).unwrap();
    assert!(text.starts_with("hpcc-agent: runs as PID 1"), "{text}");
}
