//! A worker's loop: start, say what there is, make sure that an image is there, pin it while a job
//! runs, make room.
//!
//! `cargo run --example worker -- CACHE-DIRECTORY AGENT IMAGE...`

use std::error::Error as _;
use std::process::ExitCode;

use hpcc_rootfs::{Agents, Bounds, Error, Lease, Options, Store};

/// What the artifacts of this worker may take.
const ROOM: u64 = 20 << 30;
/// How often a job's image is tried.
const TRIES: u32 = 3;

#[expect(clippy::print_stderr, reason = "it is a program")]
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(agent)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: worker CACHE-DIRECTORY AGENT IMAGE...");
        return ExitCode::from(2);
    };
    let images: Vec<_> = arguments.collect();
    match work(&directory, &agent, &images) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}"));
            eprintln!("{error}{}", cause.unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "it is a program")]
fn work(directory: &str, agent: &str, images: &[String]) -> Result<(), Error> {
    let mut options = Options::default();
    options.agents = Agents::default().with(options.platform.architecture(), agent);
    let store = Store::open(directory, options)?;

    // Everything that would keep every pull from succeeding is known before the first job.
    store.check()?;
    store.sweep()?;
    for digest in store.existing_images()? {
        println!("ready: {digest}");
    }

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::from(ociget::Error::Usage(error.to_string())))?;
    for image in images {
        let lease = runtime.block_on(obtain(&store, image))?;
        // The job runs here: its VM gets this file as its first disk.
        println!("booting {} from {}", lease.digest(), lease.path().display());
        drop(lease);
        let bounds = bounds();
        let collected = store.gc(&bounds)?;
        println!("{} images evicted", collected.removed.len());
    }
    Ok(())
}

/// The image, pinned: from here on no collection takes it away.
async fn obtain(store: &Store, image: &str) -> Result<Lease, Error> {
    let mut tries = 0;
    loop {
        let pulled = match store.pull_image(image, None).await {
            Ok(pulled) => pulled,
            Err(Error::NoSpace { .. }) if tries < TRIES => {
                tries += 1;
                let mut bounds = Bounds::default();
                bounds.max_size = Some(ROOM / 2);
                store.gc(&bounds)?;
                continue;
            }
            Err(error) if error.is_transient() && tries < TRIES => {
                tries += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        // Collected between the two: pull it again.
        if let Some(lease) = store.lease(&pulled.digest)? {
            return Ok(lease);
        }
    }
}

fn bounds() -> Bounds {
    let mut bounds = Bounds::default();
    bounds.max_size = Some(ROOM);
    bounds
}
