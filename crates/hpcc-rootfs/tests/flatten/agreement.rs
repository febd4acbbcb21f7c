//! Thousands of generated layer stacks against the model.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::archive::{layer, tar};
use crate::corpus::seeds;
use crate::fuzzed;
use crate::listing::listing;
use crate::repair::repair;
use crate::run::{chain, flatten_blobs, flatten_items};
use crate::stacks::{stacks, waiting_stacks};

#[test]
fn generated_stacks_become_what_the_model_says() {
    let config = Config {
        cases: 4000,
        failure_persistence: None,
        ..Config::default()
    };
    let again = Cell::new(0);
    let skipped = Cell::new(0);
    TestRunner::new(config)
        .run(&stacks(), |mut layers| {
            let model = repair(&mut layers).map_err(TestCaseError::fail)?;
            let blobs: Vec<_> = layers.iter().map(|items| tar(items)).collect();
            let count = blobs.len();
            let (result, source, bodies) = flatten_blobs(blobs, &Default::default());
            let flattened = result.map_err(|error| TestCaseError::fail(chain(&error)))?;
            prop_assert_eq!(listing(&flattened), model.listing());

            // Every layer is read once, newest first, and some once more.
            let first: Vec<usize> = (0..count).rev().collect();
            prop_assert_eq!(&source.opened[..count], &first);
            prop_assert_eq!(&source.opened[count..], &flattened.report.layers_read_again);
            let live: u64 = flattened
                .tree
                .nodes()
                .filter_map(|(_, node)| match node.kind() {
                    sqfs_writer::Kind::File(body) => Some(body.len() as u64),
                    _ => None,
                })
                .sum();
            prop_assert_eq!(bodies.written, live + flattened.report.dead_bytes);
            again.set(again.get() + flattened.report.layers_read_again.len());
            skipped.set(skipped.get() + usize::from(flattened.report.skipped_bytes > 0));
            Ok(())
        })
        .unwrap();
    // Otherwise the hard half of the code was never run.
    let (again, skipped) = (again.get(), skipped.get());
    assert!(again > 20 && skipped > 400, "{again} {skipped}");
}

#[test]
fn generated_links_that_wait_become_what_the_model_says() {
    let config = Config {
        cases: 6000,
        failure_persistence: None,
        ..Config::default()
    };
    let made = Cell::new(0);
    TestRunner::new(config)
        .run(&waiting_stacks(), |mut layers| {
            let model = repair(&mut layers).map_err(TestCaseError::fail)?;
            let flattened = flatten_items(&layers).map_err(|e| TestCaseError::fail(chain(&e)))?;
            prop_assert_eq!(listing(&flattened), model.listing());
            made.set(made.get() + usize::from(model.oddities.link_waited));
            Ok(())
        })
        .unwrap();
    // Otherwise hardly any link that waits is left after the repairs.
    assert!(made.get() > 1000, "{}", made.get());
}

#[test]
fn every_seed_of_the_fuzzer_becomes_what_the_model_says() {
    for (name, seed) in seeds("flatten_model") {
        eprintln!("{name}");
        fuzzed::check(&seed);
    }
}

/// Shapes in which a marker could go wrong that random layers seldom have.
#[test]
fn markers_near_a_layer_border_follow_the_model() {
    for layers in [
        // The emptied directory is the newest thing of the older layer, and holds a second name of an older file.
        &["f d/ d/l==f", "d/.wh..wh..opq"][..],
        &["f d/ d/l==f", "d/g d/.wh..wh..opq"],
        // The removed directory holds something of its own layer, two levels down.
        &["a/b/ x", "a/b/f .wh.a"],
        &["a/b/c/ a/x", "a/b/c/f .wh.a"],
        &["a/ a/x", "a/b/f .wh.a"],
        // Emptied twice, with something new in between.
        &["d/ d/old", "d/.wh..wh..opq d/new d/.wh..wh..opq .wh.d"],
    ] {
        let mut items: Vec<_> = layers.iter().map(|text| layer(text)).collect();
        let model = repair(&mut items).unwrap();
        let flattened = flatten_items(&items).unwrap();
        assert_eq!(listing(&flattened), model.listing(), "{layers:?}");
    }
}
