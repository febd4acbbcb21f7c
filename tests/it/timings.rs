//! What `--timings` and `--json` say about where the time went.

use test_support::image::{Image, Layer, Store};
use test_support::registry::Registry;

use crate::cli::Place;

const STAGES: [&str; 6] = [
    "download", "inflate", "read", "compress", "write", "publish",
];

#[test]
fn stages_count_bytes_and_never_overlap_on_a_thread() {
    let mut store = Store::new();
    // Nothing that compresses, so that every stage has its megabyte.
    let noise: Vec<u8> = (0..1u32 << 18)
        .flat_map(|at| {
            at.wrapping_mul(0x9E37_79B9)
                .rotate_left(at % 29)
                .to_le_bytes()
        })
        .collect();
    let image = Image::new()
        .layer(Layer::new().file("noise", &noise))
        .add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let place = Place::new();
    let reference = format!("{}/image:latest", registry.addr());
    let pulled = place.pull(&reference, &["--json", "--threads", "1"]).json();
    let built = &pulled["built"];
    let stage = |name: &str, what: &str| built["timings"][name][what].clone();
    for name in STAGES {
        assert!(
            stage(name, "bytes").as_u64() >= Some(1 << 20),
            "{name}: {built:#}"
        );
    }
    assert_eq!(stage("inflate", "bytes"), stage("read", "bytes"));
    assert_eq!(stage("compress", "bytes"), built["image"]["body_bytes"]);
    assert_eq!(stage("write", "bytes"), built["image"]["bytes"]);

    let seconds = |name: &str| {
        let parts = [
            "busy_seconds",
            "waits_for_input_seconds",
            "waits_for_room_seconds",
        ];
        parts
            .map(|part| stage(name, part).as_f64().unwrap())
            .iter()
            .sum::<f64>()
    };
    let total = built["seconds"]["total"].as_f64().unwrap();
    // With one thread all of these are the same thread.
    let reader = seconds("read") + seconds("compress") + seconds("write");
    assert!(reader > 0.0 && reader <= total, "{reader} of {built:#}");
    assert!(seconds("inflate") <= total, "{built:#}");
    assert!(seconds("download") <= total, "{built:#}");
}

#[test]
fn table_is_printed_if_asked_for_and_never_to_stdout() {
    let mut store = Store::new();
    let image = Image::new()
        .layer(Layer::new().dir("etc"))
        .add_to(&mut store);
    store.tag("latest", &image);
    let registry = Registry::serve(store).unwrap();
    let place = Place::new();
    let reference = format!("{}/image:latest", registry.addr());
    let outcome = place.pull(&reference, &["--quiet", "--timings"]);
    let first_words: Vec<_> = outcome
        .stderr
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(first_words, [&["stage"], &STAGES[..], &["total"]].concat());
    assert!(outcome.line().ends_with(".sqsh"));

    let again = place.pull(&reference, &["--quiet", "--timings"]);
    assert_eq!(again.stderr, "already there\n");
}
