//! The bound on concurrent builds of a store, and what is counted of them.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hpcc_rootfs::{Agents, Event, Options, Progress, Store};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use test_support::image::{Image, Layer, Store as Content};
use test_support::registry::{Action, Fault, Registry};

use crate::cli::Place;

/// Returns a registry with two images, whose layers take a moment to come.
fn two_images() -> (Registry, [String; 2]) {
    let mut content = Content::new();
    let images = ["one", "two"].map(|name| {
        let layer = Layer::new().file(name, name);
        let image = Image::new().layer(layer).add_to(&mut content);
        content.tag(name, &image);
        image.digest
    });
    let registry = Registry::serve(content).unwrap();
    registry.inject(Fault::on(
        "/blobs/",
        Action::Delay(Duration::from_millis(100)),
    ));
    let addr = registry.addr();
    (
        registry,
        images.map(|digest| format!("{addr}/image@{digest}")),
    )
}

fn options(place: &Place) -> Options {
    let mut options = Options::default();
    options.agents = Agents::default().with(options.platform.architecture(), place.agent());
    options
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(work)
}

/// Pulls both images concurrently, and returns the events in their order: `L` a layer is fetched, `P` an artifact is
/// published, `Q` a build waits.
fn events(change: impl FnOnce(&mut Options)) -> String {
    let (_registry, images) = two_images();
    let place = Place::new();
    let log = Arc::new(Mutex::new(String::new()));
    let mut options = options(&place);
    change(&mut options);
    options.progress = Progress::new({
        let log = Arc::clone(&log);
        move |event| {
            let letter = match event {
                Event::LayerStarted { .. } => 'L',
                Event::Publishing { .. } => 'P',
                Event::Queued { ahead, .. } => {
                    assert_eq!(*ahead, 1);
                    'Q'
                }
                _ => return,
            };
            log.lock().unwrap().push(letter);
        }
    });
    let store = Store::open(place.cache(), options).unwrap();
    block_on(async {
        let [one, two] = &images;
        let (one, two) = tokio::join!(store.pull_image(one, None), store.pull_image(two, None));
        assert!(one.unwrap().built.is_some() && two.unwrap().built.is_some());
    });
    let log = log.lock().unwrap();
    log.clone()
}

#[test]
fn builds_beyond_the_bound_wait_for_their_turn() {
    let by_number = events(|options| options.store.builds = NonZeroUsize::MIN);
    let by_memory = events(|options| {
        options.store.builds = NonZeroUsize::new(8).unwrap();
        options.store.memory = options.build_memory() * 2 - 1;
    });
    for log in [by_number, by_memory] {
        assert_eq!(log.replace('Q', ""), "LPLP", "{log}");
        assert_eq!(log.matches('Q').count(), 1, "{log}");
    }
    let both = events(|options| options.store.builds = NonZeroUsize::new(2).unwrap());
    assert!(!both.contains('Q'), "{both}");
}

/// Adds up what is recorded, by name and label.
#[derive(Clone, Debug, Default)]
struct Sums(Arc<Mutex<BTreeMap<String, f64>>>);

#[derive(Debug)]
struct Sum(Sums, String);

impl Sum {
    fn add(&self, value: f64) {
        let mut sums = self.0.0.lock().unwrap();
        *sums.entry(self.1.clone()).or_default() += value;
    }
}

impl CounterFn for Sum {
    fn increment(&self, value: u64) {
        self.add(f64::from(u32::try_from(value).unwrap()));
    }

    fn absolute(&self, _: u64) {}
}

impl HistogramFn for Sum {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

impl Sums {
    fn of(&self, key: &Key) -> Arc<Sum> {
        let labels = key.labels().map(|label| format!(" {}", label.value()));
        let name = format!("{}{}", key.name(), labels.collect::<String>());
        Arc::new(Sum(self.clone(), name))
    }

    fn get(&self, name: &str) -> f64 {
        let sums = self.0.lock().unwrap();
        *sums
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {sums:?}"))
    }
}

impl Recorder for Sums {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.of(key))
    }
}

#[test]
fn store_reports_pulls_bytes_and_evictions_to_the_recorder() {
    let (registry, [one, two]) = two_images();
    let place = Place::new();
    let store = Store::open(place.cache(), options(&place)).unwrap();
    let sums = Sums::default();
    metrics::with_local_recorder(&sums, || {
        block_on(async {
            // Three calls, one build.
            let (a, b) = tokio::join!(store.pull_image(&one, None), store.pull_image(&one, None));
            assert!(a.is_ok() && b.is_ok());
            store.pull_image(&one, None).await.unwrap();
            let missing = two.replace("/image@sha256:", "/image:no-such-tag-");
            store.pull_image(&missing, None).await.unwrap_err();
        });
        let mut bounds = hpcc_rootfs::Bounds::default();
        bounds.max_size = Some(0);
        assert_eq!(store.gc(&bounds).unwrap().removed.len(), 1);
    });
    drop(registry);
    assert!((sums.get("hpcc_rootfs_pulls built") - 2.0).abs() < 0.1);
    assert!((sums.get("hpcc_rootfs_pulls existing") - 1.0).abs() < 0.1);
    assert!((sums.get("hpcc_rootfs_pulls failed") - 1.0).abs() < 0.1);
    assert!((sums.get("hpcc_rootfs_failures not-found") - 1.0).abs() < 0.1);
    let network = sums.get("hpcc_rootfs_bytes network");
    assert!(
        (50.0..500.0).contains(&network),
        "one small layer, once: {network}"
    );
    assert!(sums.get("hpcc_rootfs_stage_seconds publish") > 0.0);
    assert!((sums.get("hpcc_rootfs_evictions") - 1.0).abs() < 0.1);
    assert!(sums.get("hpcc_rootfs_evicted_bytes") > 4000.0);
}

/// Reads the samples of a file in the text form of Prometheus, and checks its form.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut family = String::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(matches!(kind, "counter" | "gauge"), "{line}");
            name.clone_into(&mut family);
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(series.split('{').next(), Some(family.as_str()), "{line}");
            let earlier = samples.insert(series.to_owned(), value.parse().unwrap());
            assert!(earlier.is_none(), "{line} occurs twice");
        }
    }
    samples
}

#[test]
fn metrics_file_adds_up_over_concurrent_runs() {
    let (registry, [one, two]) = two_images();
    let place = Place::new();
    let file = place.path("hpcc.prom");
    let option = ["--metrics-file", file.to_str().unwrap()];
    std::thread::scope(|scope| {
        for image in [&one, &one, &two] {
            let (place, option) = (&place, &option);
            scope.spawn(move || assert_eq!(place.pull(image, option).status, Some(0)));
        }
    });
    drop(registry);
    let gc = ["gc", "--max-size", "0", option[0], option[1]];
    assert_eq!(place.run(gc).status, Some(0));
    let failed = place.pull(&two, &["--retries", "0", option[0], option[1]]);
    assert_ne!(failed.status, Some(0));
    let samples = samples(&std::fs::read_to_string(&file).unwrap());
    let get = |name: &str| {
        samples
            .get(name)
            .copied()
            .unwrap_or_else(|| panic!("{name}: {samples:?}"))
    };
    let pulls: f64 = samples
        .iter()
        .filter(|(series, _)| series.starts_with("hpcc_rootfs_pulls_total"))
        .map(|(_, value)| value)
        .sum();
    assert!((pulls - 4.0).abs() < 0.1, "{samples:?}");
    assert!((get("hpcc_rootfs_pulls_total{outcome=\"failed\"}") - 1.0).abs() < 0.1);
    assert!((get("hpcc_rootfs_failures_total{kind=\"network\"}") - 1.0).abs() < 0.1);
    assert!((get("hpcc_rootfs_evictions_total") - 2.0).abs() < 0.1);
    assert!(get("hpcc_rootfs_bytes_total{source=\"network\"}") > 0.0);
    assert!(get("hpcc_rootfs_last_success_timestamp_seconds") > 1.7e9);
}
