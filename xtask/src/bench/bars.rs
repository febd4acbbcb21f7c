//! A chart of one number for each of several contenders, as SVG.

use std::fmt::Write as _;

use super::plot::{STYLE, line, text};

/// One contender.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    /// Whether it is this project.
    pub(super) ours: bool,
}

const NAMES: f64 = 270.0;
const BARS: f64 = 420.0;
const VALUES: f64 = 60.0;
const STEP: f64 = 26.0;
const CAPTION: f64 = 56.0;

/// Horizontal bars from 0, in the order in which they are given, each with its number.
pub(super) fn svg(caption: &str, what: &str, bars: &[Bar], unit: &str) -> String {
    let most = bars.iter().map(|bar| bar.value).fold(1e-9, f64::max);
    let width = NAMES + BARS + VALUES;
    let height = CAPTION + STEP * bars.len() as f64 + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\">\n\
         <style>{STYLE}.ours{{fill:#0969da}}.others{{fill:#8c959f}}</style>\n"
    );
    svg += &text((10.0, 20.0), "start", "", caption);
    svg += &text((10.0, 42.0), "start", "title", what);
    for (index, bar) in bars.iter().enumerate() {
        let top = CAPTION + STEP * index as f64;
        let length = BARS * bar.value / most;
        let class = if bar.ours { "ours" } else { "others" };
        svg += &text((NAMES - 8.0, top + 14.0), "end", "", &bar.name);
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{NAMES}\" y=\"{top:.1}\" width=\"{length:.1}\" height=\"18\"/>"
        );
        let value = format!("{:.2} {unit}", bar.value);
        svg += &text((NAMES + length + 6.0, top + 14.0), "start", "", &value);
    }
    svg += &line((NAMES, CAPTION - 4.0), (NAMES, height - 6.0), "grid");
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion_to_the_longest() {
        let bar = |name: &str, value, ours| Bar {
            name: name.into(),
            value,
            ours,
        };
        let svg = svg(
            "machine",
            "seconds",
            &[bar("a", 4.0, false), bar("b", 1.0, true)],
            "s",
        );
        assert!(
            svg.contains("class=\"others\" x=\"270\" y=\"56.0\" width=\"420.0\""),
            "{svg}"
        );
        assert!(
            svg.contains("class=\"ours\" x=\"270\" y=\"82.0\" width=\"105.0\""),
            "{svg}"
        );
        assert!(svg.contains("4.00 s") && svg.contains("1.00 s"));
    }
}
