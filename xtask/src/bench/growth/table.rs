//! What growth costs, for people, programs and eyes.

use std::fmt;

use serde_json::json;

use super::series::Series;
use crate::bench::measure::{Sample, median};
use crate::bench::plot::{self, Panel};

/// All that was measured.
pub(super) struct Report {
    pub(super) machine: String,
    pub(super) tables: Vec<Table>,
}

/// One series.
pub(super) struct Table {
    pub(super) series: &'static Series,
    pub(super) points: Vec<Point>,
}

/// One image.
pub(super) struct Point {
    pub(super) size: u64,
    pub(super) samples: Vec<Sample>,
}

/// Medians of a point.
#[derive(Clone, Copy)]
struct Cost {
    size: f64,
    /// Seconds.
    wall: f64,
    /// Seconds.
    cpu: f64,
    /// Bytes.
    peak: f64,
}

impl Point {
    fn cost(&self) -> Cost {
        Cost {
            size: self.size as f64,
            wall: median(&self.samples, |sample| sample.wall).as_secs_f64(),
            cpu: median(&self.samples, |sample| sample.cpu).as_secs_f64(),
            peak: median(&self.samples, |sample| sample.peak) as f64,
        }
    }
}

/// The cost of one more shows whether growth is linear, because it is the same in every row then. The first row has no
/// row before it, so its cells are empty.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Series {
            title,
            one,
            many,
            each,
            time: (unit, a_second),
            ..
        } = self.series;
        writeln!(
            f,
            "\n{title}; the cost of one more {one} is the difference to the row before:\n\n\
             | {many} | wall s | CPU s | peak MB | {unit} of wall, one more {one} | {unit} of CPU | bytes of memory |\n\
             |---|---|---|---|---|---|---|"
        )?;
        let mut before: Option<Cost> = None;
        for cost in self.points.iter().map(Point::cost) {
            write!(
                f,
                "| {} | {:.2} | {:.2} | {:.0} |",
                cost.size / each,
                cost.wall,
                cost.cpu,
                cost.peak / 1e6
            )?;
            match before {
                None => writeln!(f, " | | |")?,
                Some(before) => {
                    let more = cost.size - before.size;
                    writeln!(
                        f,
                        " {:.3} | {:.3} | {:.3} |",
                        (cost.wall - before.wall) * a_second / more,
                        (cost.cpu - before.cpu) * a_second / more,
                        (cost.peak - before.peak) / more,
                    )?;
                }
            }
            before = Some(cost);
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", self.machine)?;
        self.tables.iter().try_for_each(|table| table.fmt(f))
    }
}

impl Report {
    pub(super) fn to_json(&self) -> String {
        let tables = self.tables.iter().map(|table| {
            let points = table.points.iter().map(|point| {
                let samples = point.samples.iter().map(|sample| {
                    json!({
                        "wall_seconds": sample.wall.as_secs_f64(),
                        "cpu_seconds": sample.cpu.as_secs_f64(),
                        "peak_bytes": sample.peak,
                    })
                });
                json!({ "size": point.size, "samples": samples.collect::<Vec<_>>() })
            });
            json!({
                "series": table.series.name,
                "of": table.series.one,
                "points": points.collect::<Vec<_>>(),
            })
        });
        json!({ "machine": self.machine, "tables": tables.collect::<Vec<_>>() }).to_string()
    }

    /// Two panels a series: time and memory.
    pub(super) fn to_svg(&self) -> String {
        let panels = self.tables.iter().flat_map(|table| {
            let costs: Vec<_> = table.points.iter().map(Point::cost).collect();
            let panel = |label: &str, of: fn(&Cost) -> f64| Panel {
                title: table.series.title.to_owned(),
                x: table.series.many.to_owned(),
                y: label.to_owned(),
                points: costs
                    .iter()
                    .map(|cost| (cost.size / table.series.each, of(cost)))
                    .collect(),
            };
            [
                panel("wall time, s", |cost| cost.wall),
                panel("peak memory, MB", |cost| cost.peak / 1e6),
            ]
        });
        let caption = format!("hpcc-rootfs pull; {}", self.machine);
        plot::svg(&caption, &panels.collect::<Vec<_>>())
    }
}
