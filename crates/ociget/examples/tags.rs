//! Prints the tags of a repository, one per line: `cargo run -p ociget --example tags -- REF`.
#![expect(clippy::print_stderr, reason = "it is a program")]

use std::io::Write as _;
use std::process::ExitCode;

use ociget::{Client, Error, ErrorKind, Options, SourceSpec};

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [reference] = args.as_slice() else {
        eprintln!("usage: tags REF");
        return ExitCode::from(2);
    };
    match list(reference).await {
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

async fn list(reference: &str) -> Result<(), Error> {
    let SourceSpec::Registry(reference) = reference.parse()? else {
        return Err(Error::Usage("only a registry lists tags".to_owned()));
    };
    let client = Client::new(Options::default())?;
    let mut tags = client.tags(&reference)?;
    let mut output = std::io::stdout().lock();
    let failed = |source| Error::Write {
        path: "standard output".into(),
        source,
    };
    while let Some(page) = tags.page().await? {
        for tag in page {
            writeln!(output, "{tag}").map_err(failed)?;
        }
    }
    Ok(())
}
