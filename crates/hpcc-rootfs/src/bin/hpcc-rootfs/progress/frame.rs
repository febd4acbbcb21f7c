//! The lines of a terminal: one for all, below it the layers that move. They fit the window, whatever its size.

use hpcc_rootfs::{Count, Size};

use super::model::{MovingLayer, Stage, View};
use crate::columns::{cut, width};
use crate::quantity::Span;

/// Columns of the bar, if it fits.
const BAR: usize = 20;

/// Returns at most `rows - 1` lines of at most `columns - 1` columns, because a cursor after the last column, or below
/// the last row, would make the terminal wrap or scroll.
pub(crate) fn frame(view: &View, columns: usize, rows: usize) -> Vec<String> {
    let columns = columns.saturating_sub(1).max(1);
    let most = rows.saturating_sub(1).max(1);
    let mut lines = vec![overall(view, columns)];
    if let Some(note) = &view.note {
        lines.push(format!("  {note}"));
    }
    let room = most.saturating_sub(lines.len());
    let all_fit = view.moving.len() <= room;
    let shown = if all_fit {
        view.moving.len()
    } else {
        room.saturating_sub(1)
    };
    lines.extend(
        view.moving
            .iter()
            .take(shown)
            .map(|layer| line(layer, columns)),
    );
    if !all_fit && room > 0 {
        let more = Count::of(view.moving.len() - shown, "more layer");
        lines.push(format!("  and {more}"));
    }
    lines.truncate(most);
    lines
        .iter()
        .map(|line| cut(line, columns).to_owned())
        .collect()
}

/// Returns the longest form that fits.
fn overall(view: &View, columns: usize) -> String {
    let stage = view.stage.name();
    let elapsed = Span(view.elapsed);
    if view.total == 0 {
        return format!("{stage} elapsed {elapsed}");
    }
    let (received, total) = (Size(view.received), Size(view.total));
    if view.stage != Stage::Fetch {
        return format!("{stage:<7} {total} received  elapsed {elapsed}");
    }
    let rate = Size(view.per_second);
    let eta = view
        .eta
        .map_or_else(|| "-".to_owned(), |eta| Span(eta).to_string());
    let percent = percent(view.received, view.total);
    let bar = bar(view.received, view.total);
    [
        format!("{stage:<7} [{bar}] {percent:>3}%  {received} of {total}  {rate}/s  ETA {eta}  elapsed {elapsed}"),
        format!("{stage:<7} {percent:>3}%  {received} of {total}  {rate}/s  ETA {eta}  elapsed {elapsed}"),
        format!("{stage} {received}/{total} {rate}/s ETA {eta} {elapsed}"),
        format!(
            "{stage} {}/{} {}/s ETA {eta} {elapsed}",
            compact(received),
            compact(total),
            compact(rate)
        ),
        format!("{stage} {percent}% {rate}/s ETA {eta} {elapsed}"),
        format!("{stage} {percent}% ETA {eta}"),
        format!("{stage} {percent}%"),
    ]
    .into_iter()
    .find(|line| width(line) <= columns)
    .unwrap_or_else(|| format!("{percent}%"))
}

fn line(layer: &MovingLayer, columns: usize) -> String {
    let MovingLayer {
        number, of, digest, ..
    } = layer;
    let (received, size) = (Size(layer.received), Size(layer.size));
    let hex = digest.rsplit(':').next().unwrap_or(digest);
    // If the build has no capacity for a layer, the network does not slow it down.
    let rate = match layer.is_held {
        true => "held".to_owned(),
        false => format!("{}/s", Size(layer.per_second)),
    };
    let bar = bar(layer.received, layer.size);
    [
        format!("  layer {number:>2} of {of} {digest}  [{bar}]  {received} of {size}  {rate}"),
        format!("  layer {number:>2} of {of} {digest}  {received} of {size}  {rate}"),
        format!(" {number:>2} {hex} {received}/{size} {rate}"),
        format!(" {number:>2} {hex} {}/{}", compact(received), compact(size)),
        format!(" {number:>2} {received}/{size}"),
    ]
    .into_iter()
    .find(|line| width(line) <= columns)
    .unwrap_or_else(|| format!(" {number}"))
}

/// Returns a size without its decimal, if it has two digits before it.
fn compact(size: Size) -> String {
    let text = size.to_string();
    match text.split_once('.') {
        Some((whole, rest)) if whole.len() > 1 => {
            whole.to_owned() + rest.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        _ => text,
    }
}

fn percent(part: u64, all: u64) -> u128 {
    u128::from(part.min(all)) * 100 / u128::from(all.max(1))
}

fn bar(part: u64, all: u64) -> String {
    let filled = percent(part, all).saturating_mul(BAR as u128) / 100;
    let filled = usize::try_from(filled).unwrap_or(BAR).min(BAR);
    let head = if filled < BAR { ">" } else { "" };
    let rest = BAR - filled - head.len();
    format!("{}{head}{}", "=".repeat(filled), " ".repeat(rest))
}
