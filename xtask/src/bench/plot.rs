//! Lines in an SVG, readable on light and on dark paper.

use std::fmt::Write as _;

/// One plot.
pub(super) struct Panel {
    pub(super) title: String,
    /// What the axis below shows, with its unit.
    pub(super) x: String,
    /// What the axis on the left shows, with its unit.
    pub(super) y: String,
    /// From the smallest `x` to the largest; none below 0.
    pub(super) points: Vec<(f64, f64)>,
}

const COLUMNS: usize = 2;
/// Of a panel, with everything around it.
const PANEL: (f64, f64) = (440.0, 250.0);
/// Of the plot itself.
const PLOT: (f64, f64) = (360.0, 160.0);
/// From the corner of a panel to that of its plot.
const CORNER: (f64, f64) = (60.0, 34.0);
/// Of the caption, at the top.
const CAPTION: f64 = 30.0;

/// Of all our drawings.
pub(super) const STYLE: &str = "\
text{font:12px sans-serif;fill:#1f2328}\
.title{font-weight:bold}\
.grid{stroke:#d0d7de}\
.line{stroke:#0969da;stroke-width:2;fill:none}\
.dot{fill:#0969da}\
.straight{stroke:#8c959f;stroke-dasharray:4 4}\
@media(prefers-color-scheme:dark){\
text{fill:#e6edf3}.grid{stroke:#3d444d}.line{stroke:#58a6ff}.dot{fill:#58a6ff}.straight{stroke:#8b949e}}";

/// Two panels a row. In each, a dashed straight line from the first point to the last shows how
/// far from straight the others are.
pub(super) fn svg(caption: &str, panels: &[Panel]) -> String {
    let rows = panels.len().div_ceil(COLUMNS) as f64;
    let width = PANEL.0 * COLUMNS as f64;
    let height = CAPTION + PANEL.1 * rows;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\">\n\
         <style>{STYLE}</style>\n"
    );
    svg += &text((10.0, 20.0), "start", "", caption);
    for (index, panel) in panels.iter().enumerate() {
        let x = PANEL.0 * (index % COLUMNS) as f64 + CORNER.0;
        let y = CAPTION + PANEL.1 * (index / COLUMNS) as f64 + CORNER.1;
        let _ = writeln!(svg, "<g transform=\"translate({x} {y})\">");
        svg += &drawn(panel);
        svg += "</g>\n";
    }
    svg + "</svg>\n"
}

/// Its plot is between 0, 0 and [`PLOT`].
fn drawn(panel: &Panel) -> String {
    let most = |of: fn(&(f64, f64)) -> f64| panel.points.iter().map(of).fold(0.0, f64::max);
    let (x, y) = (
        Scale::to(most(|point| point.0)),
        Scale::to(most(|point| point.1)),
    );
    let place = |&(at, value): &(f64, f64)| (PLOT.0 * at / x.end, PLOT.1 * (1.0 - value / y.end));
    let mut svg = text((0.0, -12.0), "start", "title", &panel.title);
    for (tick, label) in y.ticks() {
        let (_, at) = place(&(0.0, tick));
        svg += &line((0.0, at), (PLOT.0, at), "grid");
        svg += &text((-6.0, at + 4.0), "end", "", &label);
    }
    for (tick, label) in x.ticks() {
        let (at, _) = place(&(tick, 0.0));
        svg += &line((at, 0.0), (at, PLOT.1), "grid");
        svg += &text((at, PLOT.1 + 16.0), "middle", "", &label);
    }
    svg += &text((PLOT.0 / 2.0, PLOT.1 + 34.0), "middle", "", &panel.x);
    svg += &text((PLOT.0, -12.0), "end", "", &panel.y);
    let places: Vec<_> = panel.points.iter().map(place).collect();
    if let [first, .., last] = places[..] {
        svg += &line(first, last, "straight");
    }
    svg += "<polyline class=\"line\" points=\"";
    for (x, y) in &places {
        let _ = write!(svg, "{x:.1},{y:.1} ");
    }
    svg += "\"/>\n";
    for (x, y) in &places {
        let _ = writeln!(
            svg,
            "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"
        );
    }
    svg
}

/// An axis from 0.
struct Scale {
    step: f64,
    end: f64,
}

impl Scale {
    /// Round steps, three to six of them, the last at or beyond `most`.
    fn to(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let power = 10_f64.powf((most / 5.0).log10().floor());
        let factor = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .find(|factor| power * factor * 5.0 >= most * 0.999)
            .unwrap_or(10.0);
        let step = power * factor;
        Self {
            step,
            end: (most / step - 0.001).ceil() * step,
        }
    }

    fn ticks(&self) -> impl Iterator<Item = (f64, String)> + use<'_> {
        let decimals = if self.step < 0.1 {
            2
        } else {
            usize::from(self.step < 1.0)
        };
        (0..=6_u8)
            .map(|tick| f64::from(tick) * self.step)
            .filter(|tick| *tick <= self.end + self.step / 2.0)
            .map(move |tick| (tick, format!("{tick:.decimals$}")))
    }
}

pub(super) fn line(from: (f64, f64), to: (f64, f64), class: &str) -> String {
    format!(
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>\n",
        from.0, from.1, to.0, to.1
    )
}

pub(super) fn text(at: (f64, f64), anchor: &str, class: &str, words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{words}</text>\n",
        at.0, at.1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers_beyond_what_is_shown() {
        for (most, ends, steps) in [
            (0.0, 1.0, 5),
            (0.07, 0.08, 4),
            (1.0, 1.0, 5),
            (3.6, 4.0, 4),
            (10.0, 10.0, 5),
            (127.0, 150.0, 3),
            (299.0, 300.0, 3),
            (1010.0, 1500.0, 3),
        ] {
            let scale = Scale::to(most);
            assert!((scale.end - ends).abs() < 1e-9, "{most}: {}", scale.end);
            assert_eq!(scale.ticks().count(), steps + 1, "{most}");
        }
    }

    #[test]
    fn a_plot_is_well_formed_whatever_its_words() {
        let panel = Panel {
            title: "a < b & c".into(),
            x: "n".into(),
            y: "s".into(),
            points: vec![(1.0, 2.0), (2.0, 4.0)],
        };
        let svg = svg("caption", &[panel]);
        assert!(svg.contains("a &lt; b &amp; c"));
        assert_eq!(svg.matches("<circle").count(), 2);
        assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
        // At the right end of its axes, the top of its plot.
        assert!(svg.contains("cx=\"360.0\" cy=\"0.0\""), "{svg}");
    }
}
