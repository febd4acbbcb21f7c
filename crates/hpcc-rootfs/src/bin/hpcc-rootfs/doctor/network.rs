//! Credentials, and whether the registry answers.

use hpcc_rootfs::Options;
use ociget::{Client, Request, SourceSpec};

use super::options::Doctor;
use super::{Finding, Status};
use crate::terminal;

/// Where Docker Hub's images are, which is what a name without a registry means.
const DEFAULT: (&str, &str) = ("docker.io", "library/hello-world");

pub(super) fn findings(command: &Doctor, options: &Options) -> anyhow::Result<Vec<Finding>> {
    let request = command.request().map_err(hpcc_rootfs::Error::from)?;
    terminal::block_on(async {
        let credentials = credentials(options, request.as_ref()).await;
        Ok(vec![credentials, registry(options, request.as_ref()).await])
    })
}

/// Says where the login for the registry comes from, and nothing of the login itself.
async fn credentials(options: &Options, request: Option<&Request>) -> Finding {
    const CHECK: &str = "credentials";
    let (registry, repository) = match request.map(Request::spec) {
        None => DEFAULT,
        Some(SourceSpec::Registry(reference)) => (reference.registry(), reference.repository()),
        Some(_) => return Finding::good(CHECK, "the image comes from a file, which takes none"),
    };
    match options
        .network
        .credentials
        .login(registry, repository)
        .await
    {
        Ok(login) => Finding::good(CHECK, format!("for {registry}: {login}")),
        Err(error) => {
            let error = terminal::one_line(&hpcc_rootfs::Error::from(error).into());
            let advice = "mend the file, or name another one with --authfile";
            Finding::new(
                CHECK,
                Status::Failed,
                format!("for {registry}: {error}"),
                advice,
            )
        }
    }
}

async fn registry(options: &Options, request: Option<&Request>) -> Finding {
    const CHECK: &str = "registry";
    let Some(request) = request else {
        let advice = "name an image: hpcc-rootfs doctor IMAGE";
        return Finding::new(
            CHECK,
            Status::Skipped,
            "no request is sent without an image",
            advice,
        );
    };
    let asked = async {
        let source = request.open(&Client::new(options.network.clone())?)?;
        // The cheapest answer that takes a connection, a login and the image's existence.
        match source.identity().await? {
            Some(digest) => Ok(digest),
            None => Ok(source.root(request.pin()).await?.digest.get().clone()),
        }
    };
    let asked: Result<_, ociget::Error> = asked.await;
    match asked {
        Ok(digest) => Finding::good(CHECK, format!("{} is {digest}", request.spec())),
        Err(error) => {
            // The message says what to do.
            let error = terminal::one_line(&hpcc_rootfs::Error::from(error).into());
            Finding::new(CHECK, Status::Failed, error, "")
        }
    }
}
