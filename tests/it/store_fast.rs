//! `pull` of an existing artifact, traced from outside with strace.

use std::time::{Duration, Instant};

use crate::cli::{self, Place};
use crate::store_damage::serve;

/// Calls that would be network, or a change of a file other than its times.
const NOT_NEEDED: &str =
    "socket,connect,sendto,pwrite64,ftruncate,fsync,linkat,renameat,unlinkat,unlink,mkdir,flock";

#[test]
fn existing_artifact_takes_one_utimens_no_network_no_hashing() {
    let (registry, reference, _) = serve(50);
    let place = Place::new();
    std::fs::write(place.agent(), vec![b'#'; 20 << 20]).unwrap();
    std::fs::write(place.path("tools"), vec![b'+'; 20 << 20]).unwrap();
    let inject = ["--inject", "tools:/.hpcc/tools"];
    let path = place.pull(&reference, &inject).line().to_owned();
    drop(registry);
    // A file that has just been written is not remembered. It is once it has settled.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(place.pull(&reference, &inject).line(), path);

    let mut times: Vec<_> = (0..21)
        .map(|_| {
            let start = Instant::now();
            let [option, value] = inject;
            let pulled = place.pull(&reference, &[option, value, "--quiet"]);
            assert_eq!(pulled.line(), path);
            start.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "whole process: median {:?}, fastest {:?}",
        times[10], times[0]
    );

    let log = place.path("calls");
    let mut command = place.command("strace");
    command
        .args(["-f", "-qq", "-y", "-e"])
        .arg(format!("trace=utimensat,openat,read,pread64,{NOT_NEEDED}"))
        .arg("-o")
        .arg(&log)
        .arg(cli::program())
        .args(["pull", &reference, "--agent", "agent"])
        .args(inject);
    assert_eq!(cli::outcome(&mut command).line(), path);
    let log = std::fs::read_to_string(log).unwrap();
    let calls = |name: &str| -> Vec<&str> {
        let start = format!(" {name}(");
        log.lines().filter(|line| line.contains(&start)).collect()
    };
    assert_eq!(calls("utimensat").len(), 1, "{log}");
    // Before anything else a runtime makes a pair of sockets for its signals: no network.
    for name in NOT_NEEDED.split(',') {
        assert!(calls(name).is_empty(), "{name}: {log}");
    }
    let opened = calls("openat");
    assert!(!opened.is_empty());
    for writes in ["O_WRONLY", "O_RDWR", "O_CREAT"] {
        let found = opened.iter().find(|line| line.contains(writes));
        assert_eq!(found, None, "opened for writing");
    }
    // Of the agent only its head is read, which says for which machine it is.
    for (file, reads) in [(place.agent(), 2), (place.path("tools"), 0)] {
        let file = format!("<{}>", file.display());
        let of_file = [calls("read"), calls("pread64")].concat();
        let of_file = of_file.into_iter().filter(|line| line.contains(&file));
        assert!(of_file.count() <= reads, "{file}: {log}");
    }
}
