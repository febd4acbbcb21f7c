//! A worker's loop: open the store, list it, prepare each image, pin it while a job runs, collect garbage.
//! `docs/library.md` explains it piece by piece.
//!
//! `cargo run --example worker -- CACHE-DIRECTORY AGENT IMAGE...`

use std::error::Error as _;
use std::process::ExitCode;

use hpcc_rootfs::ociget::Error as ClientError;
use hpcc_rootfs::{Agents, Bounds, Error, Event, Lease, Options, Progress, Store};

/// Largest total size of all artifacts, in bytes.
const STORE_BYTES: u64 = 20 << 30;
/// Number of attempts for the image of one job.
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
            eprintln!("{}", line(&error));
            ExitCode::FAILURE
        }
    }
}

/// Returns an error with its causes. A cause that the text before already ends with is left out.
fn line(error: &Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}

#[expect(clippy::print_stdout, reason = "it is a program")]
fn work(directory: &str, agent: &str, images: &[String]) -> Result<(), Error> {
    let store = open(directory, agent)?;
    for digest in store.existing_images()? {
        println!("ready: {digest}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::from(ClientError::Usage(error.to_string())))?;
    for image in images {
        let lease = runtime.block_on(obtain(&store, image))?;
        // The job runs here: its VM gets this file as its first disk.
        println!("booting {} from {}", lease.digest(), lease.path().display());
        drop(lease);
        println!("{} images evicted", collect(&store)?);
    }
    Ok(())
}

fn options(agent: &str) -> Options {
    let mut options = Options::default();
    options.agents = Agents::default().with(options.platform.architecture(), agent);
    options.progress = Progress::new(report);
    options
}

fn open(directory: &str, agent: &str) -> Result<Store, Error> {
    let store = Store::open(directory, options(agent))?;
    // Whatever would make every pull fail shows before the first job.
    store.check()?;
    store.sweep()?;
    Ok(store)
}

/// Prepares an image and pins it, so that no collection removes it from here on.
async fn obtain(store: &Store, image: &str) -> Result<Lease, Error> {
    let mut tries = 0;
    loop {
        let pulled = match store.pull_image(image, None).await {
            Ok(pulled) => pulled,
            Err(Error::NoSpace { .. }) if tries < TRIES => {
                tries += 1;
                let mut bounds = Bounds::default();
                bounds.max_size = Some(STORE_BYTES / 2);
                store.gc(&bounds)?;
                continue;
            }
            Err(error) if error.is_transient() && tries < TRIES => {
                tries += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        // `None` if it was collected between the two calls: pull it again.
        if let Some(lease) = store.lease(&pulled.digest)? {
            return Ok(lease);
        }
    }
}

/// Removes the least recently used artifacts above the bound, and returns their number.
fn collect(store: &Store) -> Result<usize, Error> {
    let mut bounds = Bounds::default();
    bounds.max_size = Some(STORE_BYTES);
    Ok(store.gc(&bounds)?.removed.len())
}

/// Prints the events that an operator wants to see.
#[expect(clippy::print_stderr, reason = "it is a program")]
fn report(event: &Event<'_>) {
    match event {
        Event::Resolved { image } => eprintln!("resolved {}", image.identity.get()),
        Event::Waiting { digest } => eprintln!("waiting for another build of {digest}"),
        Event::Outdated { digest, because } => eprintln!("rebuilding {digest}: {because}"),
        _ => {}
    }
}
