//! SIGKILL at every stage of a pull and at any moment of it, with other pulls on the same cache.
//!
//! For stages, strace delivers the signal at a system call of that stage, so that each one is hit as
//! often as is wanted. Moments are chosen by chance. `HPCC_KILLS=25` makes it 25 kills in each of the
//! six stages and 150 at moments, 300 in all, instead of two and twelve.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};

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
    let kills = kills();
    let (_same, reference, digest) = serve(40);
    let (_other, other, _) = serve(41);
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
    let everything = [reference.as_str(), other.as_str()];
    for stage in &stages {
        let (mut killed, mut rounds) = (0, 0);
        while killed < kills {
            assert!(
                rounds < 10 * kills,
                "{}: hit {killed} times only",
                stage.name
            );
            let span = stage.last - stage.first + 1;
            // Spread over the stage, not in order.
            let at = stage.first + (rounds * 7 + 3) % span;
            let victim = start_to_kill(&place, &reference, stage.call, at);
            // Sometimes before the victim has the lock, sometimes while it works.
            std::thread::sleep(Duration::from_millis(u64::from(rounds % 8) * 10));
            let companions = companions(&place, rounds, &everything);
            // Where a companion built it, there was nothing left to do.
            killed += u32::from(was_killed(victim));
            rounds += 1;
            wait_for(companions, stage.name);
            after_a_kill(&place, &everything, stage.name);
        }
        println!("{}: {killed} killed in {rounds} rounds", stage.name);
    }
}

#[test]
fn killed_at_any_moment_nothing_but_whole_artifacts_is_left() {
    let kills = 6 * kills();
    let (_same, reference, digest) = serve(42);
    let (_other, other, _) = serve(43);
    let everything = [reference.as_str(), other.as_str()];
    let place = Place::new();
    cli::program();
    let start_of_one = Instant::now();
    assert_eq!(place.pull(&reference, &[]).status, Some(0));
    let usual = start_of_one.elapsed();
    place.run(["untag", &digest]);

    let seed = std::time::SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap();
    let mut random = seed.as_nanos() & u128::from(u64::MAX) | 1;
    println!("seed {random}");
    let mut moment = || {
        random ^= random << 13 & u128::from(u64::MAX);
        random ^= random >> 7;
        random ^= random << 17 & u128::from(u64::MAX);
        usual.mul_f64((random % 1000) as f64 / 800.0)
    };
    let (mut killed, mut rounds) = (0, 0);
    while killed < kills {
        assert!(rounds < 10 * kills, "hit {killed} times only");
        // Two victims, of the same image and of different ones in turn.
        let second = everything[usize::from(rounds % 2 == 0)];
        let (first, second) = (start(&place, &reference), start(&place, second));
        let companions = companions(&place, rounds, &everything);
        for mut victim in [first, second] {
            std::thread::sleep(moment());
            victim.kill().unwrap();
            killed += u32::from(was_killed(victim));
        }
        rounds += 1;
        wait_for(companions, "a moment");
        after_a_kill(&place, &everything, "a moment");
    }
    println!("moments: {killed} killed in {rounds} rounds");
}

/// Returns how many kills of each kind.
fn kills() -> u32 {
    match std::env::var("HPCC_KILLS") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => 2,
    }
}

/// Pulls of the same image, of another one, of both or none.
fn companions(place: &Place, round: u32, references: &[&str]) -> Vec<Child> {
    let chosen = references.iter().zip([1, 2]);
    chosen
        .filter(|(_, bit)| (round + 1) & bit != 0)
        .map(|(reference, _)| start(place, reference))
        .collect()
}

fn wait_for(companions: Vec<Child>, stage: &str) {
    for companion in companions {
        let output = companion.wait_with_output().unwrap();
        assert!(output.status.success(), "{stage}: {output:?}");
    }
}

/// A fresh process lists only what verifies, the next pulls succeed, and no stray file is left. Then
/// everything is removed for the next round.
fn after_a_kill(place: &Place, references: &[&str], stage: &str) {
    let listed = place.run(["list", "--json"]).json();
    for artifact in listed.as_array().unwrap() {
        assert!(artifact["error"].is_null(), "{stage}: {artifact}");
    }
    assert_eq!(place.run(["verify"]).status, Some(0), "{stage}");
    for reference in references {
        assert_eq!(place.pull(reference, &[]).status, Some(0), "{stage}");
    }
    assert_eq!(place.run(["gc"]).status, Some(0), "{stage}");
    for name in place.cached() {
        assert!(name.ends_with(".sqsh"), "{stage}: {name} is left");
    }
    for reference in references {
        let (_, digest) = reference.split_once('@').unwrap();
        assert_eq!(place.run(["untag", digest]).status, Some(0), "{stage}");
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

/// Returns whether it came to that: strace ends by the signal that its program ended by.
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
