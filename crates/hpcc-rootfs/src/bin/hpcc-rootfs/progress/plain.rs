//! Progress as lines of text, for logs.

use std::path::Path;
use std::time::Duration;

use hpcc_rootfs::{Count, Digest, Event, ShortDigest, Size};
use ociget::Image;

use super::model::{Finished, Stage, View, queued};
use crate::failure::shortened;
use crate::output;
use crate::quantity::Span;

/// Returns the warning about a seed that is not trusted.
pub(super) fn seed_refused(seed: &Path, because: &str) -> String {
    let seed = output::path(seed);
    format!("warning: the seed {seed} is passed over: {because}")
}

/// Returns the warning about an artifact that cannot be copied from.
pub(super) fn source_failed(source: &Digest, directory: &Path, because: &str) -> String {
    let directory = output::path(directory);
    format!("warning: the artifact {source} in {directory} is not copied from: {because}")
}

/// Returns the line for an event of a build; most have one only with `--verbose`.
pub(super) fn of_event(
    event: &Event<'_>,
    finished: Option<Finished>,
    verbose: bool,
) -> Option<String> {
    Some(match event {
        Event::Resolved { image } => resolved(image),
        Event::Outdated { digest, because } => format!("rebuilding {digest}: {because}"),
        Event::SeedRefused { seed, because } => seed_refused(seed, because),
        Event::SourceFailed {
            source,
            directory,
            because,
        } => source_failed(source, directory, because),
        Event::Waiting { digest } => {
            format!("waiting for another process that works on {digest}")
        }
        Event::Queued { digest, ahead } => format!("{} before {digest}", queued(*ahead)),
        _ if !verbose => return None,
        Event::Resolving { image, .. } => format!("resolving {image}"),
        Event::LayerReused { layer } => format!("{layer}: known from an earlier build"),
        Event::LayerStarted { layer } => format!("{layer}: fetching"),
        Event::LayerDone { layer } => match finished {
            Some(Finished { time, per_second }) => format!(
                "{layer}: verified after {:.1}, {}/s",
                Span(time),
                Size(per_second)
            ),
            None => format!("{layer}: verified"),
        },
        Event::Sealing { .. } => "writing the tables".to_owned(),
        Event::Syncing { .. } => "syncing".to_owned(),
        Event::Publishing { .. } => "publishing".to_owned(),
        _ => return None,
    })
}

/// Returns the line for an event of the network, which concerns a layer or none: every retry and warning, the rest with
/// `--verbose`.
pub(super) fn of_network(
    event: &ociget::Event<'_>,
    layer: Option<&str>,
    verbose: bool,
) -> Option<String> {
    Some(match event {
        ociget::Event::Warning { text } => (*text).to_owned(),
        ociget::Event::Retry {
            url,
            attempt,
            pause,
            reason,
        } => {
            let of = layer.map_or_else(String::new, |layer| format!("{layer}: "));
            // A server chooses the URL that it redirects to.
            shortened(format!(
                "retry {attempt} in {:.1}: {of}{url}: {reason}",
                Span(*pause)
            ))
        }
        ociget::Event::NextHost { host, reason } if verbose => {
            format!("asking the next host after {host}: {reason}")
        }
        ociget::Event::Note { text } if verbose => (*text).to_owned(),
        _ => return None,
    })
}

/// Returns the regular line.
pub(super) fn of_view(view: &View) -> String {
    let mut line = format!("{}: ", view.stage.name());
    if view.stage == Stage::Fetch {
        let percent = u128::from(view.received) * 100 / u128::from(view.total.max(1));
        let (received, total) = (Size(view.received), Size(view.total));
        let rate = Size(view.per_second);
        line.push_str(&format!("{received} of {total} ({percent}%), {rate}/s, "));
        if let Some(eta) = view.eta {
            line.push_str(&format!("ETA {}, ", Span(eta)));
        }
    }
    line.push_str(&format!("elapsed {}", Span(view.elapsed)));
    if let Some(note) = &view.note {
        line.push_str(&format!("; {note}"));
    }
    line
}

/// Returns the bytes that all builds received, at the end of a stage.
pub(super) fn received(bytes: u64, time: Duration) -> String {
    let rate = super::rate::per_second(bytes, time);
    format!(
        "received {} in {:.1}, {}/s",
        Size(bytes),
        Span(time),
        Size(rate)
    )
}

fn resolved(image: &Image) -> String {
    let (identity, manifest) = (image.identity.get(), image.manifest.get());
    let mut line = format!("image {identity}");
    if manifest != identity {
        line.push_str(&format!(", manifest {manifest}"));
    }
    line + &about(image)
}

/// Returns the line of [`of_event`] with short digests.
pub(super) fn resolved_in_short(image: &Image) -> String {
    format!(
        "image {}{}",
        ShortDigest(image.identity.get()),
        about(image)
    )
}

fn about(image: &Image) -> String {
    let layers = image.layers.iter();
    let bytes = layers.fold(0, |all: u64, layer| {
        all.saturating_add(layer.descriptor.size)
    });
    let count = Count::of(image.layers.len(), "layer");
    format!(", {}, {count}, {}", image.platform, Size(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_of_a_long_url_is_shortened_before_its_reason() {
        let url = format!("https://h.example/{}", "a".repeat(60_000));
        let event = ociget::Event::Retry {
            url: &url,
            attempt: 1,
            pause: Duration::from_millis(200),
            reason: "no answer",
        };
        let line = of_network(&event, None, false).unwrap();
        assert!(line.len() < 5000, "{}", line.len());
        assert!(
            line.starts_with("retry 1 in 0.2s: https://h.example/aaa"),
            "{line}"
        );
        assert!(line.ends_with("aaa: no answer"), "{line}");
    }
}
