//! Writes a blob to standard output: `cargo run -p ociget --example blob -- REF DIGEST`.
//!
//! The bytes are verified when the program exits with 0, and not before.
#![expect(clippy::print_stderr, reason = "it is a program")]

use std::io::Write as _;
use std::process::ExitCode;

use ociget::{Client, Digest, Error, ErrorKind, Options, SourceSpec};

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [reference, digest] = args.as_slice() else {
        eprintln!("usage: blob REF DIGEST");
        return ExitCode::from(2);
    };
    match write(reference, digest).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(if error.kind() == ErrorKind::Usage {
                2
            } else {
                1
            })
        }
    }
}

async fn write(reference: &str, digest: &str) -> Result<(), Error> {
    let SourceSpec::Registry(reference) = reference.parse()? else {
        return Err(Error::Usage(
            "only a registry has blobs by digest alone".to_owned(),
        ));
    };
    let digest: Digest = digest
        .parse()
        .map_err(|reason| Error::Usage(format!("cannot use {digest:?} as a digest: {reason}")))?;
    let client = Client::new(Options::default())?;
    let mut blob = client.raw_blob(&reference, &digest).await?;
    let mut output = std::io::stdout().lock();
    let failed = |source| Error::Write {
        path: "standard output".into(),
        source,
    };
    while let Some(chunk) = blob.chunk().await? {
        output.write_all(&chunk).map_err(failed)?;
    }
    let _proof = blob.finish().await?;
    output.flush().map_err(failed)
}
