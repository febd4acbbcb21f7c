//! Pulls an image to nowhere: `cargo run --release -p ociget --example pull -- SOURCE [PLATFORM]`.
//!
//! Prints what was resolved, and reads and verifies every layer.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::process::ExitCode;
use std::time::Instant;

use ociget::{Client, Options, Platform, SourceSpec};

#[tokio::main]
async fn main() -> ExitCode {
    match pull().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn pull() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let spec: SourceSpec = args.next().ok_or("which image?")?.parse()?;
    let platform = args
        .next()
        .map_or(Ok(Platform::host()), |text| text.parse())?;
    let client = Client::new(Options::default())?;
    let source = spec.open(&client)?;
    let image = ociget::resolve(source.as_ref(), None, &platform).await?;
    println!("identity {}", image.identity.get());
    println!("manifest {} for {}", image.manifest.get(), image.platform);
    for layer in &image.layers {
        let start = Instant::now();
        let blob = source.blob(&layer.descriptor).await?;
        let size = blob.size();
        let proof = blob.finish().await?;
        println!(
            "verified {} {size} bytes in {:?}",
            proof.get(),
            start.elapsed()
        );
    }
    Ok(())
}
