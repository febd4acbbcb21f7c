//! Progress as lines of JSON, for programs. The schema is `docs/schemas/progress.schema.json`.

use hpcc_rootfs::{Event, ImageLayer};
use ociget::printable;
use serde_json::{Value, json};

use super::model::{Finished, View};

/// Returns the line for an event of a build; `None` for events that only the regular lines count.
pub(super) fn of_event(event: &Event<'_>, finished: Option<Finished>) -> Option<Value> {
    let layer = |name: &str, layer: &ImageLayer<'_>| {
        json!({
            "event": name,
            "image": layer.image.to_string(),
            "layer": layer.number,
            "layers": layer.of,
            "digest": layer.descriptor.digest.to_string(),
            "size": layer.descriptor.size,
        })
    };
    let stage =
        |stage: &str, image: Value| json!({"event": "stage", "stage": stage, "image": image});
    Some(match event {
        Event::Resolving { image, .. } => stage("resolve", printable::text(image).into()),
        Event::Resolved { image } => json!({
            "event": "resolved",
            "image": image.identity.get().to_string(),
            "manifest": image.manifest.get().to_string(),
            "platform": image.platform.to_string(),
            "layers": image.layers.iter().enumerate().map(|(index, layer)| json!({
                "layer": index + 1,
                "digest": layer.descriptor.digest.to_string(),
                "size": layer.descriptor.size,
            })).collect::<Vec<_>>(),
        }),
        Event::Outdated { digest, because } => json!({
            "event": "rebuilding",
            "image": digest.to_string(),
            "because": printable::text(because),
        }),
        Event::Waiting { digest } => json!({"event": "waiting", "image": digest.to_string()}),
        Event::SeedRefused { seed, because } => {
            let text = format!("the seed {} is passed over: {because}", seed.display());
            json!({"event": "warning", "text": printable::text(&text)})
        }
        Event::SourceFailed {
            source,
            directory,
            because,
        } => {
            let directory = directory.display();
            let text =
                format!("the artifact {source} in {directory} is not copied from: {because}");
            json!({"event": "warning", "text": printable::text(&text)})
        }
        Event::Queued { digest, ahead } => {
            json!({"event": "queued", "image": digest.to_string(), "ahead": ahead})
        }
        Event::LayerReused { layer: of } => layer("layer-reused", of),
        Event::LayerStarted { layer: of } => layer("layer-started", of),
        Event::LayerDone { layer: of } => {
            let mut line = layer("layer-done", of);
            if let (Value::Object(line), Some(finished)) = (&mut line, finished) {
                line.insert("seconds".to_owned(), finished.time.as_secs_f64().into());
                line.insert("bytes_per_second".to_owned(), finished.per_second.into());
            }
            line
        }
        Event::Sealing { image } => stage("seal", image.to_string().into()),
        Event::Syncing { image } => stage("sync", image.to_string().into()),
        Event::Publishing { image } => stage("publish", image.to_string().into()),
        _ => return None,
    })
}

/// Returns the line for an event of the network; `None` for events without news.
pub(super) fn of_network(event: &ociget::Event<'_>) -> Option<Value> {
    Some(match event {
        ociget::Event::Retry {
            url,
            attempt,
            pause,
            reason,
        } => json!({
            "event": "retry",
            "url": printable::text(url),
            "attempt": attempt,
            "pause_seconds": pause.as_secs_f64(),
            "reason": printable::text(reason),
        }),
        ociget::Event::NextHost { host, reason } => json!({
            "event": "next-host",
            "host": printable::text(host),
            "reason": printable::text(reason),
        }),
        ociget::Event::Warning { text } => {
            json!({"event": "warning", "text": printable::text(text)})
        }
        ociget::Event::Note { text } => json!({"event": "note", "text": printable::text(text)}),
        _ => return None,
    })
}

/// Returns the regular line.
pub(super) fn of_view(view: &View) -> Value {
    json!({
        "event": "progress",
        "stage": view.stage.name(),
        "elapsed_seconds": view.elapsed.as_secs_f64(),
        "received": view.received,
        "total": view.total,
        "bytes_per_second": view.per_second,
        "eta_seconds": view.eta.map(|eta| eta.as_secs()),
        "silent_seconds": view.silent.map(|silent| silent.as_secs()),
        "moving": view.moving.iter().map(|layer| json!({
            "layer": layer.number,
            "received": layer.received,
            "size": layer.size,
            "bytes_per_second": layer.per_second,
            "held": layer.is_held,
        })).collect::<Vec<_>>(),
    })
}
