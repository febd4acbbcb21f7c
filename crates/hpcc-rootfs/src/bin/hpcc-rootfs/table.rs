//! Tables on stdout: aligned, and never wider than the window.

use crate::{columns, locale};

/// Spaces between two columns.
const GAP: usize = 2;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// Whether its cells are aligned to the right, as numbers are.
    pub(crate) is_number: bool,
    /// Narrow windows drop the columns with the highest rank first; those of rank 0 stay.
    pub(crate) rank: u8,
    /// Whether its cells may be cut if the window is too narrow; the last such column is.
    pub(crate) may_cut: bool,
}

impl Column {
    pub(crate) const fn text(name: &'static str, rank: u8) -> Self {
        Self {
            name,
            is_number: false,
            rank,
            may_cut: false,
        }
    }

    pub(crate) const fn number(name: &'static str, rank: u8) -> Self {
        Self {
            name,
            is_number: true,
            rank,
            may_cut: false,
        }
    }

    pub(crate) const fn cut(name: &'static str) -> Self {
        Self {
            name,
            is_number: false,
            rank: 0,
            may_cut: true,
        }
    }
}

/// Returns the lines of a table, the header first. `width` is that of the window; without one, nothing is
/// dropped or cut.
pub(crate) fn lines(
    columns: &[Column],
    rows: &[Vec<String>],
    width: Option<usize>,
    has_header: bool,
) -> Vec<String> {
    lines_with(columns, rows, width, has_header, locale::cut_mark())
}

fn lines_with(
    columns: &[Column],
    rows: &[Vec<String>],
    width: Option<usize>,
    has_header: bool,
    mark: &str,
) -> Vec<String> {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(ociget::printable::text).collect())
        .collect();
    let header = columns
        .iter()
        .map(|column| column.name.to_owned())
        .collect();
    let all: Vec<Vec<String>> = match has_header {
        true => std::iter::once(header).chain(rows).collect(),
        false => rows,
    };
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let mut widths: Vec<usize> = (0..columns.len())
        .map(|at| {
            all.iter()
                .map(|row| row.get(at).map_or(0, |cell| columns::width(cell)))
                .max()
        })
        .map(Option::unwrap_or_default)
        .collect();
    let total = |shown: &[usize], widths: &[usize]| {
        let cells = shown.iter().filter_map(|at| widths.get(*at)).sum::<usize>();
        cells + GAP * shown.len().saturating_sub(1)
    };
    if let Some(width) = width {
        let cut = columns.iter().rposition(|column| column.may_cut);
        // The width that the cut column needs to be useful.
        let least = |widths: &[usize]| {
            let mut widths = widths.to_vec();
            if let Some(cell) = cut.and_then(|cut| widths.get_mut(cut)) {
                *cell = (*cell).min(12);
            }
            widths
        };
        while total(&shown, &least(&widths)) > width {
            let rank = |at: &usize| columns.get(*at).map_or(0, |column| column.rank);
            let Some(last) = shown
                .iter()
                .copied()
                .max_by_key(rank)
                .filter(|at| rank(at) > 0)
            else {
                break;
            };
            shown.retain(|at| *at != last);
        }
        let over = total(&shown, &widths).saturating_sub(width);
        if let Some(cell) = cut.and_then(|cut| widths.get_mut(cut)) {
            *cell = cell.saturating_sub(over).max(1);
        }
    }
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for (number, at) in shown.iter().enumerate() {
            let (Some(column), Some(cell)) = (columns.get(*at), row.get(*at)) else {
                continue;
            };
            let width_of_cell = widths.get(*at).copied().unwrap_or_default();
            let cell = cut_with(cell, width_of_cell, mark);
            let pad = " ".repeat(width_of_cell.saturating_sub(columns::width(&cell)));
            if number > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            match column.is_number {
                true => line.push_str(&(pad + &cell)),
                false => line.push_str(&(cell + &pad)),
            }
        }
        let line = line.trim_end();
        // A window that is narrower than the columns that stay.
        width.map_or_else(|| line.to_owned(), |width| cut_with(line, width, mark))
    };
    all.iter().map(line).collect()
}

/// Returns a text that takes at most `width` columns.
pub(crate) fn cut_to(text: &str, width: usize) -> String {
    cut_with(text, width, locale::cut_mark())
}

fn cut_with(text: &str, width: usize, mark: &str) -> String {
    if columns::width(text) <= width {
        return text.to_owned();
    }
    let left = width.saturating_sub(columns::width(mark));
    let cut = columns::cut(text, left);
    let mark = columns::cut(mark, width - columns::width(cut));
    format!("{cut}{mark}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column::text("NAME", 0),
        Column::number("SIZE", 1),
        Column::cut("SOURCE"),
    ];

    fn rows() -> Vec<Vec<String>> {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        vec![
            row(["abcdef", "1.5 G", "docker.io/library/debian:12"]),
            row(["012345", "10 G", "größe/漢字:1"]),
        ]
    }

    #[test]
    fn table_without_a_window_is_whole() {
        assert_eq!(
            lines(&COLUMNS, &rows(), None, true),
            [
                "NAME     SIZE  SOURCE",
                "abcdef  1.5 G  docker.io/library/debian:12",
                "012345   10 G  größe/漢字:1",
            ]
        );
        assert_eq!(lines(&COLUMNS, &rows(), None, false).len(), 2);
    }

    #[test]
    fn table_fits_every_window() {
        for (width, mark) in (0..60).flat_map(|width| [(width, "…"), (width, "...")]) {
            for line in lines_with(&COLUMNS, &rows(), Some(width), true, mark) {
                assert!(columns::width(&line) <= width, "{width}: {line}");
            }
        }
        for (mark, wide, narrow) in [
            (
                "…",
                "abcdef  1.5 G  docker.io/libr…",
                "abcdef  docker.io/lib…",
            ),
            (
                "...",
                "abcdef  1.5 G  docker.io/li...",
                "abcdef  docker.io/l...",
            ),
        ] {
            assert_eq!(lines_with(&COLUMNS, &rows(), Some(30), true, mark)[1], wide);
            assert_eq!(
                lines_with(&COLUMNS, &rows(), Some(22), true, mark),
                ["NAME    SOURCE", narrow, "012345  größe/漢字:1"]
            );
        }
    }

    #[test]
    fn cell_stays_one_line() {
        let row = vec!["a\nb".to_owned(), "\u{1b}[31m".to_owned(), String::new()];
        let lines = lines(&COLUMNS, &[row], None, false);
        assert_eq!(lines, ["a\\nb  \\u{1b}[31m"]);
    }
}
