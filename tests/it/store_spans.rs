//! Traces of a worker have the digest on each call to the store, and on the build of that call.

use std::fmt::{Debug, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hpcc_rootfs::{Agents, ImageStore, Options, Store};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::cli::Place;
use crate::store_damage::serve;

/// Names and fields of all spans, in the order in which they were made.
#[derive(Clone, Default)]
struct Spans {
    texts: Arc<Mutex<Vec<String>>>,
    count: Arc<AtomicU64>,
}

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("hpcc_rootfs")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = span.metadata().name().to_owned();
        span.record(&mut Text(&mut text));
        self.texts.lock().unwrap().push(text);
        Id::from_u64(self.count.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let at = usize::try_from(span.into_u64() - 1).unwrap();
        values.record(&mut Text(&mut self.texts.lock().unwrap()[at]));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn every_call_has_a_span_with_the_digest() {
    let (_registry, reference, digest) = serve(70);
    let place = Place::new();
    let mut options = Options::default();
    options.agents = Agents::default().with(options.platform.architecture(), place.agent());
    let store = Store::open(place.cache(), options).unwrap();
    let spans = Spans::default();
    // For all threads, the blocking ones too.
    tracing::subscriber::set_global_default(spans.clone()).unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let pull = |reference: &str| {
        let store: &dyn ImageStore = &store;
        runtime.block_on(store.pull_image(reference, None)).unwrap()
    };
    pull(&reference);
    // By a tag: the digest is known only when the registry has said it.
    pull(&reference.replace(&format!("@{digest}"), ":latest"));
    let output = place.path("out.sqsh");
    let built = hpcc_rootfs::build(&reference, None, &output, store.options());
    runtime.block_on(built).unwrap();
    let parsed = digest.parse().unwrap();
    store.existing_images().unwrap();
    assert!(store.path_for(&parsed).exists());
    store.untag_image(&parsed).unwrap();

    let texts = spans.texts.lock().unwrap();
    let with_digest = |name: &str| {
        let (start, field) = (format!("{name} "), format!(" digest={digest}"));
        let found = texts.iter().filter(|text| text.starts_with(&start));
        found.filter(|text| text.contains(&field)).count()
    };
    assert_eq!(with_digest("pull_image"), 2, "{texts:#?}");
    assert_eq!(with_digest("build"), 3, "{texts:#?}");
    assert!(with_digest("path_for") > 0, "{texts:#?}");
    assert_eq!(with_digest("untag_image"), 1, "{texts:#?}");
    assert!(texts.iter().any(|text| text == "existing_images"));
}
