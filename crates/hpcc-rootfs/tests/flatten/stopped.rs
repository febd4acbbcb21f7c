//! Flattening ends soon after its source reports that the result is no longer needed.

use std::cell::Cell;

use hpcc_rootfs::flatten::{Error, LayerSource, LayerSpec, Layers, Options, flatten};
use hpcc_rootfs::layer::{self, Stream};

use crate::archive::{layer, tar};
use crate::run::{Blobs, Collector, spec};

/// Answers a number of checks before it requests a stop.
struct Impatient {
    blobs: Blobs,
    checks: Cell<u64>,
    stop_at: u64,
}

impl LayerSource for Impatient {
    fn open(&mut self, layer: usize, layers: Layers<'_>) -> Result<Stream<'_>, layer::Error> {
        self.blobs.open(layer, layers)
    }

    fn check(&self) -> Result<(), layer::Error> {
        self.checks.set(self.checks.get() + 1);
        match self.checks.get() > self.stop_at {
            true => Err(layer::Error::Source(std::io::Error::other("stop"))),
            false => Ok(()),
        }
    }
}

fn check_until(blobs: &[Vec<u8>], stop_at: u64) -> (Result<(), Error>, u64) {
    let blobs = blobs.to_vec();
    let specs: Vec<LayerSpec> = blobs.iter().map(|blob| spec(blob)).collect();
    let opened = Vec::new();
    let mut source = Impatient {
        blobs: Blobs { blobs, opened },
        checks: Cell::new(0),
        stop_at,
    };
    let mut bodies = Collector { written: 0 };
    let result = flatten(&specs, &mut source, &mut bodies, &Options::default());
    (result.map(drop), source.checks.get())
}

#[test]
fn every_stage_of_flattening_checks_whether_to_stop() {
    let many = |entry: &dyn Fn(usize) -> String| {
        let entries: Vec<_> = (0..3000).map(entry).collect();
        entries.join(" ")
    };
    let deep = vec!["p"; 500].join("/");
    let stages = [
        ("names", vec![many(&|k| format!("f{k}=x"))]),
        ("names that newer layers replace", {
            let names = many(&|k| format!("f{k}=x"));
            vec![names.clone(), names]
        }),
        ("bodies that are read again", {
            let links = many(&|k| format!("n{k}==f{k}"));
            vec![
                many(&|k| format!("f{k}=x")),
                links,
                many(&|k| format!("f{k}=y")),
            ]
        }),
        (
            "whiteouts",
            vec![many(&|k| format!("f{k}=x")), many(&|k| format!(".wh.f{k}"))],
        ),
        (
            "an opaque directory",
            vec![many(&|k| format!("d/f{k}=x")), "d/.wh..wh..opq".into()],
        ),
        (
            "deep parents",
            vec![format!("{deep}/a {deep}/b q/{deep}/c r/{deep}/d")],
        ),
        (
            "links that wait",
            vec![many(&|k| format!("a{k}==a{}", k + 1)) + " a3000"],
        ),
    ];
    for (name, layers) in stages {
        let blobs: Vec<_> = layers.iter().map(|text| tar(&layer(text))).collect();
        let (result, checks) = check_until(&blobs, u64::MAX);
        result.unwrap();
        assert!(checks > 2 + layers.len() as u64, "{name}: {checks}");
        for stop_at in (0..checks).step_by(2) {
            let (result, seen) = check_until(&blobs, stop_at);
            assert!(
                matches!(result, Err(Error::Stopped(_))),
                "{name}: {stop_at}"
            );
            // The first answer counts.
            assert_eq!(seen, stop_at + 1, "{name}");
        }
    }
}
