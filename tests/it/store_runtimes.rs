//! A build belongs to the store and to its waiters, not to the runtime of any of them.

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use hpcc_rootfs::{Agents, Options, Progress, Store};
use test_support::image::Store as Content;
use test_support::image::{Image, Layer};
use test_support::registry::{Action, Fault, Registry};
use tokio::runtime::{Builder, Runtime};

use crate::cli::Place;
use crate::store_damage::serve;

/// Time in which whatever moves at all is over.
const PATIENCE: Duration = Duration::from_secs(60);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn options(place: &Place) -> Options {
    let mut options = Options::default();
    options.agents = Agents::default().with(options.platform.architecture(), place.agent());
    options.store.builds = NonZeroUsize::MIN;
    options
}

/// Returns whether the store pulls, on another thread and another runtime.
fn pulls(store: &Store, reference: &str) -> bool {
    let (store, reference) = (store.clone(), reference.to_owned());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let pulled = runtime().block_on(store.pull_image(&reference, None));
        sender.send(pulled.is_ok()).unwrap();
    });
    receiver.recv_timeout(PATIENCE) == Ok(true)
}

/// Two images, the first of which comes only after its layer was requested once before.
fn stalling() -> (Registry, [String; 2]) {
    let mut content = Content::new();
    for name in ["one", "two"] {
        let layer = Layer::new().file(name, name.repeat(1000));
        let image = Image::new().layer(layer).add_to(&mut content);
        content.tag(name, &image);
    }
    let registry = Registry::serve(content).unwrap();
    let stall = Action::Stall {
        at: 10,
        time: Duration::from_secs(600),
    };
    registry.inject(Fault::on("/blobs/", stall).times(1));
    let images = ["one", "two"].map(|tag| format!("{}/image:{tag}", registry.addr()));
    (registry, images)
}

fn wait_for_blob(registry: &Registry) {
    let asked = || {
        let requests = registry.requests();
        requests
            .iter()
            .any(|request| request.path.contains("/blobs/"))
    };
    let end = Instant::now() + PATIENCE;
    while !asked() {
        assert!(Instant::now() < end);
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn pull_given_up_on_a_resting_runtime_blocks_no_other() {
    let (registry, [one, two]) = stalling();
    let place = Place::new();
    let store = Store::open(place.cache(), options(&place)).unwrap();
    let resting = runtime();
    let given_up = resting.block_on(async {
        let pull = store.pull_image(&one, None);
        tokio::time::timeout(Duration::from_millis(300), pull).await
    });
    assert!(given_up.is_err());
    wait_for_blob(&registry);
    // The turn, the lock in another process, and the image itself.
    assert!(pulls(&store, &two));
    let other = place.pull(&one, &[]);
    assert_eq!(other.status, Some(0), "{other:#?}");
    assert!(pulls(&store, &one));
    drop(resting);
}

#[test]
fn waiter_gets_what_a_resting_runtime_began() {
    let (registry, reference, _) = serve(35);
    registry.inject(Fault::on(
        "/blobs/",
        Action::Delay(Duration::from_millis(500)),
    ));
    let place = Place::new();
    let store = Store::open(place.cache(), options(&place)).unwrap();
    let resting = runtime();
    let mut first = Box::pin(store.pull_image(&reference, None));
    let polled = resting.block_on(async {
        let pending = std::future::poll_fn(|context| Poll::Ready(first.as_mut().poll(context)));
        pending.await.is_pending()
    });
    assert!(polled);
    wait_for_blob(&registry);
    assert!(pulls(&store, &reference));
    // Its result is there for the first one as well.
    assert!(resting.block_on(first).is_ok());
}

#[test]
fn pull_needs_no_driver_and_no_runtime() {
    let (_registry, reference, _) = serve(36);
    let place = Place::new();
    let store = Store::open(place.cache(), options(&place)).unwrap();
    let bare = Builder::new_current_thread().build().unwrap();
    assert!(bare.block_on(store.pull_image(&reference, None)).is_ok());
    let mut pull = pin!(store.pull_image(&reference, None));
    let end = Instant::now() + PATIENCE;
    let pulled = loop {
        match pull.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(pulled) => break pulled,
            Poll::Pending => assert!(Instant::now() < end),
        }
        thread::sleep(Duration::from_millis(1));
    };
    assert!(pulled.unwrap().built.is_none());
    assert!(hpcc_rootfs::wait_for_builds(PATIENCE));
}

#[test]
fn callback_that_panics_fails_its_build_alone() {
    let (_registry, reference, _) = serve(37);
    let place = Place::new();
    for which in ["Resolving", "LayerBytes", "Sealing", "Publishing"] {
        let mut options = options(&place);
        let panicked = AtomicBool::new(false);
        options.progress = Progress::new(move |event| {
            let is_it = format!("{event:?}").starts_with(which);
            assert!(
                !is_it || panicked.swap(true, Ordering::Relaxed),
                "no {which}"
            );
        });
        let store = Store::open(place.path(which), options).unwrap();
        let pull = || runtime().block_on(store.pull_image(&reference, None));
        let error = pull().unwrap_err();
        let expected = format!("the caller's callback panicked: no {which}");
        assert_eq!(error.to_string(), expected);
        assert!(pull().is_ok(), "{which}");
    }
}

#[test]
fn callback_of_the_client_that_panics_is_the_callers() {
    let (_registry, reference, _) = serve(38);
    let place = Place::new();
    for which in ["Answered", "Bytes"] {
        let mut options = options(&place);
        let panicked = AtomicBool::new(false);
        options.network.progress = ociget::Progress::new(move |event| {
            let is_it = format!("{event:?}").starts_with(which);
            assert!(
                !is_it || panicked.swap(true, Ordering::Relaxed),
                "no {which}"
            );
        });
        let store = Store::open(place.path(which), options).unwrap();
        let pull = || runtime().block_on(store.pull_image(&reference, None));
        let error = pull().unwrap_err();
        let expected = format!("the caller's callback panicked: no {which}");
        assert_eq!(error.to_string(), expected);
        assert!(pull().is_ok(), "{which}");
    }
}
