//! The lines at the end of a terminal's window that are redrawn.
//!
//! The cursor rests at the beginning of the first of them. A terminal that changes its width may wrap these lines, or
//! cut them, or leave them; the cursor stays where they begin in each case. So everything from the cursor on can be
//! erased whatever happened to the lines, and nothing above is touched.

/// Erases from the cursor to the end of the window.
const ERASE: &str = "\r\x1b[J";
/// Makes the terminal cut long lines, in case the window has become narrower a moment ago.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";
/// Erases to the end of the line.
const ERASE_LINE: &str = "\x1b[K";

/// The lines that are drawn at the moment.
#[derive(Debug, Default)]
pub(super) struct Screen {
    lines: Vec<String>,
}

impl Screen {
    pub(super) const fn new() -> Self {
        Self { lines: Vec::new() }
    }

    /// Replaces the lines, which hold printable text and fit the window. Returns the bytes for the terminal.
    pub(super) fn draw(&mut self, lines: Vec<String>) -> String {
        let drawn = frame(&lines);
        self.lines = lines;
        drawn
    }

    /// Removes the lines permanently.
    pub(super) fn erase(&mut self) -> String {
        let was_drawn = !std::mem::take(&mut self.lines).is_empty();
        if was_drawn {
            ERASE.to_owned()
        } else {
            String::new()
        }
    }

    /// Forgets the lines, and leaves them where they are.
    pub(super) fn forget(&mut self) {
        self.lines.clear();
    }

    /// Returns the bytes before text above the lines, and the bytes that draw the lines again below it.
    pub(super) fn around(&self) -> (&'static str, String) {
        if self.lines.is_empty() {
            return ("", String::new());
        }
        (ERASE, frame(&self.lines))
    }
}

/// Draws lines from the cursor on and returns the cursor to where it was.
fn frame(lines: &[String]) -> String {
    let mut drawn = format!("\r{NO_WRAP}");
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            drawn.push_str("\r\n");
        }
        drawn.push_str(line);
        drawn.push_str(ERASE_LINE);
    }
    drawn.push_str("\x1b[J");
    if lines.len() > 1 {
        drawn.push_str(&format!("\x1b[{}A", lines.len() - 1));
    }
    drawn.push('\r');
    drawn.push_str(WRAP);
    drawn
}
