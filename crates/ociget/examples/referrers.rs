//! Prints the digests of the manifests that refer to an image, one per line:
//! `cargo run -p ociget --example referrers -- REF DIGEST [ARTIFACT-TYPE]`.
#![expect(clippy::print_stderr, reason = "it is a program")]

use std::io::Write as _;
use std::process::ExitCode;

use ociget::{Client, Digest, Error, ErrorKind, Options, SourceSpec};

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (reference, digest, artifact_type) = match args.as_slice() {
        [reference, digest] => (reference, digest, None),
        [reference, digest, artifact_type] => (reference, digest, Some(artifact_type.as_str())),
        _ => {
            eprintln!("usage: referrers REF DIGEST [ARTIFACT-TYPE]");
            return ExitCode::from(2);
        }
    };
    match list(reference, digest, artifact_type).await {
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

async fn list(reference: &str, digest: &str, artifact_type: Option<&str>) -> Result<(), Error> {
    let SourceSpec::Registry(reference) = reference.parse()? else {
        return Err(Error::Usage("only a registry lists referrers".to_owned()));
    };
    let digest: Digest = digest
        .parse()
        .map_err(|reason| Error::Usage(format!("cannot use {digest:?} as a digest: {reason}")))?;
    let client = Client::new(Options::default())?;
    let mut referrers = client.referrers(&reference, &digest, artifact_type)?;
    let mut output = std::io::stdout().lock();
    let failed = |source| Error::Write {
        path: "standard output".into(),
        source,
    };
    while let Some(page) = referrers.page().await? {
        for referrer in page {
            writeln!(output, "{}", referrer.digest).map_err(failed)?;
        }
    }
    Ok(())
}
