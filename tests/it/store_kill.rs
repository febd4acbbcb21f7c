//! SIGKILL at every stage of a pull, with other pulls on the same cache.
//!
//! strace delivers the signal at a system call of that stage, so that each one is hit as often as is
//! wanted. `HPCC_KILLS=50` makes it 50 kills a stage instead of two.

use std::process::{Child, Stdio};
use std::time::Duration;

use crate::cli::{self, Place};
use crate::store_damage::serve;

/// A stage, and the system call and its counts at which it is hit.
struct Stage {
    name: &'static str,
    call: &'static str,
    first: u32,
    last: u32,
}

#[test]
fn killed_anywhere_nothing_but_whole_artifacts_is_left() {
    let kills: u32 = match std::env::var("HPCC_KILLS") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => 2,
    };
    let (_same, reference, digest) = serve(40);
    let (_other, other, other_digest) = serve(41);
    let place = Place::new();
    let (writes, reads) = count_calls(&place, &reference);
    place.run(["untag", &digest]);

    // strace counts by thread. One thread writes the artifact, and the record last; one more write
    // is the note's. The first fsync is the file's, the second the directory's.
    let record = writes - 1;
    let stage = |name, call, first, last| Stage {
        name,
        call,
        first,
        last,
    };
    let stages = [
        stage("download", "recvfrom", 2, reads),
        stage("write", "pwrite64", 1, record - 1),
        stage("record", "pwrite64", record, record),
        stage("sync", "fsync", 1, 2),
        stage("link", "linkat", 1, 1),
        stage("rename", "renameat", 1, 1),
    ];
    for stage in &stages {
        let mut killed = 0;
        for round in 0..kills {
            let span = stage.last - stage.first + 1;
            // Spread over the stage, not in order.
            let at = stage.first + (round * 7 + 3) % span;
            let victim = start_to_kill(&place, &reference, stage.call, at);
            // Sometimes before the victim has the lock, sometimes while it works.
            std::thread::sleep(Duration::from_millis(u64::from(round % 8) * 10));
            let companion = match round % 3 {
                0 => Some(start(&place, &reference)),
                1 => Some(start(&place, &other)),
                _ => None,
            };
            killed += u32::from(was_killed(victim));
            if let Some(companion) = companion {
                let output = companion.wait_with_output().unwrap();
                assert!(output.status.success(), "{}: {output:?}", stage.name);
            }
            after_a_kill(&place, &reference, stage.name);
            for digest in [&digest, &other_digest] {
                assert_eq!(place.run(["untag", digest]).status, Some(0));
            }
        }
        println!("{}: {killed} of {kills} killed", stage.name);
        // Where the companion built it, there was nothing left to do; some rounds have none.
        assert!(killed > 0 || kills < 3, "{}: none was hit", stage.name);
    }
}

/// A fresh process lists only what verifies, the next pull succeeds, and no stray file is left.
fn after_a_kill(place: &Place, reference: &str, stage: &str) {
    let listed = place.run(["list", "--json"]).json();
    for artifact in listed.as_array().unwrap() {
        assert!(artifact["error"].is_null(), "{stage}: {artifact}");
    }
    assert_eq!(place.run(["verify"]).status, Some(0), "{stage}");
    assert_eq!(place.pull(reference, &[]).status, Some(0), "{stage}");
    assert_eq!(place.run(["gc"]).status, Some(0), "{stage}");
    for name in place.cached() {
        assert!(name.ends_with(".sqsh"), "{stage}: {name} is left");
    }
}

fn start(place: &Place, reference: &str) -> Child {
    let mut command = place.command(cli::program());
    command
        .args(["pull", reference, "--agent", "agent"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Starts a pull that is killed when one of its threads makes this call for the `at`th time.
fn start_to_kill(place: &Place, reference: &str, call: &str, at: u32) -> Child {
    let mut command = place.command("strace");
    command
        .args(["-f", "-qq", "-e", &format!("trace={call}"), "-e"])
        .arg(format!("inject={call}:signal=KILL:when={at}"))
        .args(["-e", "signal=none", "-o", "/dev/null"])
        .arg(cli::program())
        .args(["pull", reference, "--agent", "agent", "--threads", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Whether it came to that: strace ends by the signal that its program ended by.
fn was_killed(victim: Child) -> bool {
    let output = victim.wait_with_output().unwrap();
    output.status.code().is_none()
}

/// How often a whole pull writes at an offset and reads from a socket.
fn count_calls(place: &Place, reference: &str) -> (u32, u32) {
    let log = place.path("calls");
    let mut command = place.command("strace");
    command
        .args(["-f", "-qq", "-e", "trace=pwrite64,recvfrom", "-o"])
        .arg(&log)
        .arg(cli::program())
        .args(["pull", reference, "--agent", "agent", "--threads", "1"]);
    assert_eq!(cli::outcome(&mut command).status, Some(0));
    let log = std::fs::read_to_string(log).unwrap();
    let count = |call: &str| u32::try_from(log.matches(call).count()).unwrap();
    (count("pwrite64("), count("recvfrom("))
}
