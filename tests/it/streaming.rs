//! One pass, one file, one process, seen from outside with strace.

use std::collections::BTreeMap;

use test_support::docker_registry::DockerRegistry;
use test_support::real_image::{self, RealImage};
use test_support::skopeo::{self, Format};

use crate::cli::{self, Place};

/// What a traced pull did.
struct Trace {
    /// Programs that were executed, the traced one first.
    executed: Vec<String>,
    /// Files opened for writing, or made.
    opened: Vec<String>,
    /// Bytes written to regular files, by descriptor.
    written: u64,
}

fn pull_traced(place: &Place, reference: &str) -> (String, Trace) {
    let log = place.path("trace");
    let mut command = place.command("strace");
    command
        .args(["-f", "-qq", "-y", "-s", "0", "-e", "signal=none", "-e"])
        .arg("trace=execve,execveat,open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,copy_file_range,sendfile")
        .arg("-o")
        .arg(&log)
        .arg(cli::program())
        .args(["pull", reference, "--agent"])
        .arg(place.agent());
    let outcome = cli::outcome(&mut command);
    let path = outcome.line().to_owned();
    (path, Trace::read(&std::fs::read_to_string(log).unwrap()))
}

impl Trace {
    fn read(log: &str) -> Self {
        let mut trace = Self {
            executed: Vec::new(),
            opened: Vec::new(),
            written: 0,
        };
        // A call that another thread interrupted stands on two lines; the first has the arguments,
        // the second the result.
        let mut unfinished = BTreeMap::new();
        for line in log.lines() {
            let (thread, call) = line.split_once(' ').unwrap();
            let call = call.trim_start();
            if let Some(start) = call.strip_suffix(" <unfinished ...>") {
                unfinished.insert(thread, start);
            } else if let Some((_, end)) = call.split_once(" resumed>") {
                let start = unfinished.remove(thread).unwrap();
                trace.call(&format!("{start}{end}"));
            } else {
                trace.call(call);
            }
        }
        trace
    }

    fn call(&mut self, call: &str) {
        let Some((name, arguments)) = call.split_once('(') else {
            return;
        };
        let result = arguments.rsplit(" = ").next().unwrap();
        if result.starts_with('-') {
            return;
        }
        match name {
            "execve" | "execveat" => self.executed.push(arguments.to_owned()),
            "open" | "openat" | "creat" => {
                let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TMPFILE"];
                let null = result.contains("</dev/null");
                if writes.iter().any(|flag| arguments.contains(flag)) && !null {
                    self.opened.push(result.to_owned());
                }
            }
            _ => {
                // With -y a descriptor is `7</path>`, a socket `7<TCP:[…]>`, stderr a pipe.
                let file = arguments.split(',').next().unwrap();
                if file.contains("</") && !file.contains("</dev/") {
                    let bytes = result.split_whitespace().next().unwrap();
                    self.written += bytes.parse::<u64>().unwrap();
                }
            }
        }
    }
}

#[test]
fn a_big_image_streams_into_one_file() {
    let Some(image) = real_image::big().unwrap() else {
        return;
    };
    let registry = DockerRegistry::start().unwrap();
    let reference = format!("{}/real/big:latest", registry.addr());
    skopeo::push_layout(image.layout(), RealImage::TAG, &reference, Format::Oci).unwrap();
    let before = registry.log().unwrap().len();

    let place = Place::new();
    let (path, trace) = pull_traced(&place, &reference);

    assert_eq!(
        trace.executed.len(),
        1,
        "a child process: {:?}",
        trace.executed
    );
    // The locks of build and leases, the artifact, what its build leaves for later ones, and the note with its lock, twice, because it gets its
    // reference once the artifact is there; nothing that holds a layer.
    assert_eq!(
        trace.opened.len(),
        8,
        "files opened for writing: {:?}",
        trace.opened
    );
    let cache = place.cache();
    for opened in &trace.opened {
        assert!(opened.contains(cache.to_str().unwrap()), "{opened}");
    }
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(
        trace.written >= size && trace.written * 100 <= size * 102,
        "{} bytes written for an artifact of {size}",
        trace.written
    );

    let log = registry.log().unwrap();
    let blobs = blobs_asked_for(&log[before..]);
    let layers = layers_of(&image);
    assert_eq!(blobs.len(), layers + 1, "layers and config: {blobs:?}");
    assert!(blobs.values().all(|count| *count == 1), "{blobs:?}");
}

fn layers_of(image: &RealImage) -> usize {
    let store = image.store().unwrap();
    let manifest = image.manifest().unwrap();
    let (_, content) = store.get(&manifest.digest).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&content.bytes().unwrap()).unwrap();
    manifest["layers"].as_array().unwrap().len()
}

/// How often each blob was asked for, by the registry's own access log.
fn blobs_asked_for(log: &str) -> BTreeMap<&str, usize> {
    let mut blobs = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("\"GET /v2/")) {
        if let Some((_, rest)) = line.split_once("/blobs/") {
            *blobs
                .entry(rest.split([' ', '"']).next().unwrap())
                .or_default() += 1;
        }
    }
    blobs
}

#[test]
fn memory_does_not_grow_with_the_image() {
    const MOST: u64 = 128 << 20;
    let Some(image) = real_image::big().unwrap() else {
        return;
    };
    let place = Place::new();
    let source = format!("oci:{}:{}", image.layout().display(), RealImage::TAG);
    let (outcome, peak) = place.run_measured(&["build", &source, "-o", "out.sqsh"]);
    assert_eq!(outcome.status, Some(0), "{outcome:#?}");
    assert!(peak <= MOST, "peak of {peak} bytes");
}

#[test]
fn the_bytes_do_not_depend_on_the_surroundings() {
    let Some(image) = real_image::small().unwrap() else {
        return;
    };
    let registry = DockerRegistry::start().unwrap();
    let reference = format!("{}/real/small:latest", registry.addr());
    skopeo::push_layout(image.layout(), RealImage::TAG, &reference, Format::Oci).unwrap();

    let here = Place::new();
    let one = here.pull(&reference, &["--threads", "1", "--parallel-layers", "1"]);

    let there = Place::new();
    let cache = there.path("some/other/cache");
    let agent = there.agent();
    // umask, user and time zone of another user.
    let script = format!(
        "umask 077; exec setpriv --reuid 65534 --regid 65534 --clear-groups \
         {} pull {reference} --agent {} --cache-dir {} --threads 3 --parallel-layers 9",
        cli::program().display(),
        agent.display(),
        cache.display(),
    );
    for path in [there.path(""), agent] {
        let mut mode = std::fs::metadata(&path).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o1777);
        std::fs::set_permissions(&path, mode).unwrap();
    }
    let mut command = there.command("sh");
    command.args(["-c", &script]).env("TZ", "Pacific/Chatham");
    if !test_support::oracle::may_be_root("changing the user") {
        return;
    }
    let two = cli::outcome(&mut command);
    assert!(std::fs::read(one.line()).unwrap() == std::fs::read(two.line()).unwrap());
}
