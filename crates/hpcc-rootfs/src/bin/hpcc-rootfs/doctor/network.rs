//! Registries, credentials, and the requirements of connections.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use hpcc_rootfs::{Count, Error, Options, Span};
use ociget::{Client, Event, Progress, Request, SourceSpec};

use super::finding::{Finding, Status};
use super::report::Report;
use crate::absence::is_absent;
use crate::failure::shortened;
use crate::global::Global;
use crate::inputs::is_stdin;
use crate::pull::PullArgs;
use crate::target::Resolved;
use crate::{output, terminal};

/// A repository of Docker Hub, which a name without a registry belongs to.
const DEFAULT: (&str, &str) = ("docker.io", "library/hello-world");
/// Variables that name proxies.
const PROXIES: [&str; 8] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// Prints retries, warnings and changes of host while requests wait.
pub(super) fn listen(report: &Report<'_>, options: &mut Options) {
    if !report.says() {
        return;
    }
    let is_verbose = report.global.verbose;
    options.network.progress = Progress::new(move |event| match event {
        Event::Retry {
            url,
            attempt,
            pause,
            reason,
        } => {
            let pause = Span(*pause);
            let line = format!("{url}: {reason}; retry {attempt} in {pause:.1}");
            terminal::say(&shortened(line));
        }
        Event::NextHost { host, reason } => {
            terminal::say(&format!("{host}: {reason}; connecting to the next host"));
        }
        Event::Warning { text } => terminal::warn(text),
        Event::Note { text } if is_verbose => terminal::say(text),
        _ => {}
    });
}

pub(super) async fn findings(
    global: &Global,
    images: &[String],
    args: &PullArgs,
    resolved: &Resolved,
    report: &Report<'_>,
) -> anyhow::Result<()> {
    const REGISTRY: &str = "registry";
    let skipped = |found, advice| Finding::new(REGISTRY, Status::Skipped, found, advice);
    if resolved.network.is_some() {
        let advice = "correct the options first";
        return report.add(skipped("no request is sent with wrong options", advice));
    }
    let options = &resolved.options;
    let digest = args.digest.as_ref();
    let mut requests = Vec::new();
    for image in images {
        requests.push(Request::parse(image, digest).map_err(Error::from)?);
    }
    let mut is_reached = false;
    for (image, request) in images.iter().zip(&requests) {
        let finding = image_finding(global, options, image, request, digest, report).await;
        let is_registry = matches!(request.spec(), SourceSpec::Registry(_));
        is_reached |= is_registry && finding.status == Status::Good;
        report.add(finding)?;
    }
    if requests.is_empty() {
        let advice = "name an image: hpcc-rootfs doctor IMAGE";
        report.add(skipped("no request is sent without an image", advice))?;
    }
    if options.store.offline {
        return Ok(());
    }
    let mut repositories = Vec::new();
    for request in &requests {
        if let SourceSpec::Registry(reference) = request.spec() {
            repositories.push((reference.registry(), reference.repository()));
        }
    }
    if requests.is_empty() {
        repositories.push(DEFAULT);
    }
    repositories.dedup();
    // A registry that answers does not need the broken part.
    let status = match is_reached {
        true => Status::Warning,
        false => Status::Failed,
    };
    for (registry, repository) in &repositories {
        report.add(credentials(options, registry, repository, status).await)?;
    }
    if !repositories.is_empty() {
        report.add(connections(args, options, status))?;
        report_mirrors(options, report, status)?;
    }
    Ok(())
}

/// Resolves which image a pull would build.
async fn image_finding(
    global: &Global,
    options: &Options,
    image: &str,
    request: &Request,
    digest: Option<&ociget::Digest>,
    report: &Report<'_>,
) -> Finding {
    let check = match request.spec() {
        SourceSpec::Registry(_) => "registry",
        _ => "image",
    };
    if is_stdin(request) {
        let found = "an archive on standard input is left to the pull";
        return Finding::new(check, Status::Skipped, found, "");
    }
    if let SourceSpec::Registry(reference) = request.spec()
        && !options.store.offline
        && report.says()
    {
        let registry = reference.registry();
        let patience = patience(options);
        terminal::say(&format!("connecting to {registry}; {patience}"));
    }
    let store = match global.store_with(options.clone()) {
        Ok(store) => store,
        // This is a separate finding, and any directory will do for a request.
        Err(_) => match hpcc_rootfs::Store::open(std::env::temp_dir(), options.clone()) {
            Ok(store) => store,
            Err(error) => return failed(check, Status::Failed, "", error, ""),
        },
    };
    match store.resolve(image, digest).await {
        Ok(digest) => {
            let how = match options.store.offline {
                true => {
                    ", which the store holds (--offline); only the pull looks for the layers that its options need"
                }
                false => "",
            };
            Finding::good(check, format!("{} is {digest}{how}", request.spec()))
        }
        // The message says what to do.
        Err(error) => failed(check, Status::Failed, "", error, ""),
    }
}

/// Returns how long a request is tried again.
fn patience(options: &Options) -> String {
    let (retries, time) = (options.network.retries, options.network.retry_for);
    let times = |retries: u32| Count(retries.into(), "time");
    match (retries, time) {
        (0, _) => "a failure is not retried".to_owned(),
        (retries, Duration::MAX) => format!("a failure is retried up to {}", times(retries)),
        (u32::MAX, time) => format!("a failure is retried for up to {}", Span(time)),
        (retries, time) => format!(
            "a failure is retried up to {} and for up to {}",
            times(retries),
            Span(time)
        ),
    }
}

/// Reports the origin of the login for a registry, and nothing of the login itself.
async fn credentials(
    options: &Options,
    registry: &str,
    repository: &str,
    status: Status,
) -> Finding {
    const CHECK: &str = "credentials";
    let credentials = Arc::clone(&options.network.credentials);
    match credentials.login(registry, repository).await {
        Ok(login) => {
            let faults: Vec<_> = login.faults().collect();
            let found = format!("for {registry}: {login}");
            match faults.is_empty() {
                true => Finding::good(CHECK, found),
                false => {
                    let found = format!("{found}; {}", faults.join("; "));
                    let advice = "correct it, or name another file with --authfile";
                    Finding::new(CHECK, Status::Warning, found, advice)
                }
            }
        }
        Err(error) => {
            let advice = "correct the file, or name another one with --authfile";
            let what = format!("for {registry}: ");
            failed(CHECK, status, &what, error.into(), advice)
        }
    }
}

/// Checks the proxies, the certificate authorities and the client certificate.
fn connections(args: &PullArgs, options: &Options, status: Status) -> Finding {
    const CHECK: &str = "connections";
    let client = Client::new(options.network.clone());
    if let Err(error) = client.and_then(|client| client.check()) {
        let advice = "correct what the message names";
        return failed(CHECK, status, "", error.into(), advice);
    }
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let variables: Vec<_> = PROXIES.iter().copied().filter(is_set).collect();
    let proxies = match (args.network.names_proxy(), variables.is_empty()) {
        (true, _) => "proxies are those of --proxy".to_owned(),
        (false, true) => "no proxy".to_owned(),
        (false, false) => format!("proxies are those of {}", variables.join(", ")),
    };
    Finding::good(CHECK, format!("certificates can be read; {proxies}"))
}

fn report_mirrors(options: &Options, report: &Report<'_>, status: Status) -> anyhow::Result<()> {
    let Some(directory) = &options.network.hosts_dir else {
        return Ok(());
    };
    let shown = output::path(directory);
    let (status, found, advice) = match fs::metadata(directory) {
        Ok(found) if found.is_dir() => return Ok(()),
        Err(error) if !is_absent(&error) => {
            let found = format!("cannot look at {shown}: {error}");
            let advice = "make it readable, or name another directory with --hosts-dir";
            (status, found, advice)
        }
        Ok(_) | Err(_) => {
            let found = format!("{shown} is not a directory, so no mirror is used");
            (Status::Warning, found, "name a directory with --hosts-dir")
        }
    };
    report.add(Finding::new("mirrors", status, found, advice))
}

fn failed(check: &'static str, status: Status, what: &str, error: Error, advice: &str) -> Finding {
    let transient = error.is_transient() && status == Status::Failed;
    let found = format!("{what}{}", terminal::one_line(&error.into()));
    Finding::new(check, status, found, advice).passing(transient)
}
