//! Copies an image to an OCI image layout, and prints its digest:
//! `cargo run -p ociget --example copy_to_layout -- REF OUT`.
//!
//! REF is anything that [`SourceSpec`] reads. The tag of REF becomes the name of the copy in the layout. A
//! copy that broke off is completed by the same command.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::process::ExitCode;

use ociget::{Client, CopyOptions, Error, ErrorKind, Options, SourceSpec, copy_to_layout};

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    let [reference, out] = args.as_slice() else {
        eprintln!("usage: copy_to_layout REF OUT");
        return ExitCode::from(2);
    };
    match copy(&reference.to_string_lossy(), out.as_ref()).await {
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

async fn copy(reference: &str, out: &std::path::Path) -> Result<(), Error> {
    let spec: SourceSpec = reference.parse()?;
    let mut options = CopyOptions::default();
    options.ref_name = match &spec {
        SourceSpec::Registry(reference) => reference.tag().map(str::to_owned),
        SourceSpec::Layout { tag, .. }
        | SourceSpec::OciArchive { tag, .. }
        | SourceSpec::DockerArchive { tag, .. } => tag.clone(),
        _ => None,
    };
    let source = spec.open(&Client::new(Options::default())?)?;
    let copied = copy_to_layout(source.as_ref(), None, out, &options).await?;
    println!("{}", copied.root.digest);
    Ok(())
}
