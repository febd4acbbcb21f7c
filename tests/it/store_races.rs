//! Many callers, one build; a caller that ends does not end the others.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hpcc_rootfs::{Agents, Options, Store};
use rustix::process::{Pid, Signal, kill_process};
use test_support::registry::{Action, Fault, Registry};

use crate::cli::{self, Place};
use crate::store_damage::serve;

/// Returns how many times a path with this text was asked for.
fn asked(registry: &Registry, text: &str) -> usize {
    let requests = registry.requests();
    requests.iter().filter(|r| r.path.contains(text)).count()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(work)
}

fn store(place: &Place) -> Store {
    let mut options = Options::default();
    options.agents = Agents::default().with(options.platform.architecture(), place.agent());
    Store::open(place.cache(), options).unwrap()
}

const CHILD: &str = "HPCC_TEST_PULL";

/// One of the processes of the test below: pulls eight times at once, and prints what it got.
#[test]
#[ignore = "is run by the test below, as a process of its own"]
fn eight_pulls() {
    let Some(reference) = std::env::var_os(CHILD) else {
        return;
    };
    let reference = reference.into_string().unwrap();
    let directory = std::env::var_os("HPCC_CACHE_DIR").unwrap();
    let agent = std::env::current_dir().unwrap().join("agent");
    let mut options = Options::default();
    options.agents = Agents::default().with(options.platform.architecture(), agent);
    let store = Store::open(directory, options).unwrap();
    block_on(async {
        let pulls: Vec<_> = (0..8)
            .map(|_| {
                let (store, reference) = (store.clone(), reference.clone());
                tokio::spawn(async move { store.pull_image(&reference, None).await })
            })
            .collect();
        for pull in pulls {
            println!("pulled {}", pull.await.unwrap().unwrap().path.display());
        }
    });
}

#[test]
fn thirty_two_pulls_in_four_processes_are_one_build() {
    let (registry, reference, digest) = serve(30);
    let place = Place::new();
    let start = || -> Child {
        let mut command: Command = place.command(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "store_races::eight_pulls",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD, &reference)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let children: Vec<_> = (0..4).map(|_| start()).collect();
    let mut answers = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        answers += said.matches(place.cache().to_str().unwrap()).count();
    }
    assert_eq!(answers, 32);
    assert_eq!(asked(&registry, "/manifests/"), 1);
    // The config and two layers.
    assert_eq!(asked(&registry, "/blobs/"), 3);
    assert_eq!(
        place.cached(),
        [format!("{}.sqsh", digest.replace(':', "-"))]
    );
}

#[test]
fn a_waiter_goes_on_when_the_building_process_dies() {
    let (registry, reference, _) = serve(31);
    let stall = Action::Stall {
        at: 10,
        time: Duration::from_secs(600),
    };
    registry.inject(Fault::on("/blobs/", stall).times(1));
    let place = Place::new();
    let pull = || {
        let mut command = place.command(cli::program());
        command
            .args(["pull", &reference, "--agent", "agent"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut builder = pull();
    wait_until(|| asked(&registry, "/blobs/") > 0);
    let mut waiter = pull();
    let mut says = BufReader::new(waiter.stderr.take().unwrap()).lines();
    let waits = says.find(|line| line.as_ref().unwrap().contains("waiting for another"));
    assert!(waits.is_some(), "it never waited");
    kill_process(
        Pid::from_raw(builder.id().try_into().unwrap()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    builder.wait().unwrap();
    let rest: Vec<_> = says.map(Result::unwrap).collect();
    assert!(waiter.wait().unwrap().success(), "{rest:?}");
    assert_eq!(place.cached().len(), 1);
}

/// It counts threads and open files, and other tests of this process have their own.
#[test]
fn cancelling_one_leaves_the_others_and_cancelling_all_leaves_nothing() {
    let place = Place::new();
    let mut command = place.command(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "store_races::cancelled_pulls",
        "--ignored",
        "--nocapture",
    ]);
    let outcome = cli::outcome(command.env(CHILD, "alone"));
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    assert!(outcome.stdout.contains("1 passed"), "{outcome:#?}");
}

#[test]
#[ignore = "is run by the test above, as a process of its own"]
fn cancelled_pulls() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let (registry, reference, _) = serve(32);
    let place = Place::new();
    let store = store(&place);
    block_on(async {
        let stall = Action::Stall {
            at: 10,
            time: Duration::from_millis(500),
        };
        registry.inject(Fault::on("/blobs/", stall).times(1));
        let pull = || {
            let (store, reference) = (store.clone(), reference.clone());
            tokio::spawn(async move { store.pull_image(&reference, None).await })
        };
        let (first, second) = (pull(), pull());
        while asked(&registry, "/blobs/") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        first.abort();
        assert!(second.await.unwrap().is_ok());
        assert_eq!(asked(&registry, "/manifests/"), 1);
    });

    let (registry, reference, digest) = serve(33);
    let (threads_before, mut cancelled) = (threads(), Instant::now());
    let inherited = inheritable();
    block_on(async {
        let stall = Action::Stall {
            at: 1000,
            time: Duration::from_secs(600),
        };
        registry.inject(Fault::on("/blobs/", stall));
        let pull = || {
            let (store, reference) = (store.clone(), reference.clone());
            tokio::spawn(async move { store.pull_image(&reference, None).await })
        };
        let pulls = [pull(), pull()];
        // The config, and the big layer, which stops. The small one is copied from the first image. A third request
        // would be that of the next attempt, a minute later.
        while asked(&registry, "/blobs/") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // A VM that is started meanwhile inherits nothing of it.
        assert!(open_in(&place) > 0);
        assert_eq!(inheritable(), inherited);
        for pull in &pulls {
            pull.abort();
        }
        // The open files of this process say when the last of the build is gone.
        cancelled = Instant::now();
        while open_in(&place) > 0 {
            assert!(cancelled.elapsed() < Duration::from_secs(1), "still open");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    // And the runtime, which waits for its blocking threads, has ended.
    assert!(
        cancelled.elapsed() < Duration::from_secs(1),
        "threads go on"
    );
    let left = Duration::from_secs(1).saturating_sub(cancelled.elapsed());
    assert!(hpcc_rootfs::wait_for_builds(left), "work goes on");
    // A thread that has been joined is still listed for a moment, which is part of the second.
    loop {
        let mut left = threads();
        left.retain(|thread, _| !threads_before.contains_key(thread));
        if left.is_empty() {
            break;
        }
        let elapsed = cancelled.elapsed();
        assert!(
            elapsed < Duration::from_secs(1),
            "threads are left: {left:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let left = std::fs::read_dir(place.cache()).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with(".staged-")
    });
    assert_eq!(left.count(), 0);
    assert_eq!(store.existing_images().unwrap().len(), 1);
    assert!(!store.path_for(&digest.parse().unwrap()).exists());
}

/// Threads of this process with their names, without those for work that may block: one without work waits 10 s for
/// more.
fn threads() -> BTreeMap<OsString, String> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let named = threads.map(Result::unwrap).filter_map(|entry| {
        let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        Some((entry.file_name(), name.trim_end().to_owned()))
    });
    named.filter(|(_, name)| name != "background").collect()
}

/// Where the descriptors lead that a program started now would get.
fn inheritable() -> Vec<String> {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = descriptors.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found = Vec::new();
    for number in numbers {
        let Ok(target) = std::fs::read_link(format!("/proc/self/fd/{number}")) else {
            continue;
        };
        let Ok(info) = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")) else {
            continue;
        };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
        if flags & CLOSE_ON_EXEC == 0 {
            found.push(target.display().to_string());
        }
    }
    found.sort();
    found
}

/// Returns how many descriptors of this process are files in the cache.
pub(crate) fn open_in(place: &Place) -> usize {
    let cache = place.cache();
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    descriptors
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.starts_with(&cache))
        .count()
}

fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "never came to be"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
