//! The console of a machine, of which a bounded part is kept.

use std::collections::VecDeque;

/// Bytes of the beginning that are kept: a kernel's log, and what a test expects there.
const HEAD: usize = 4 << 20;
/// Bytes of the end that are kept: the agent's last line, and a panic.
const TAIL: usize = 1 << 20;

/// The beginning and the end of what a machine wrote.
#[derive(Debug, Default)]
pub(crate) struct Console {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    omitted: u64,
}

impl Console {
    /// Appends what the machine wrote.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let free = HEAD.saturating_sub(self.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(free);
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.omitted = self
            .omitted
            .saturating_add(u64::try_from(excess).unwrap_or(u64::MAX));
    }

    /// Returns the text, with a line of its own in the place of bytes that were not kept.
    pub(crate) fn into_text(self) -> String {
        let Self {
            head,
            tail,
            omitted,
        } = self;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\r', "");
        let tail = Vec::from(tail);
        if omitted == 0 {
            return text(&[head, tail].concat());
        }
        let (head, tail) = (text(&head), text(&tail));
        format!("{head}\n--- {omitted} bytes of the console were not kept ---\n{tail}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_within_the_limits_is_kept_whole() {
        let mut console = Console::default();
        let text = "a line of umlauts: \u{e4}\r\n".repeat((HEAD + TAIL) / 24);
        // Pieces that end within characters and on either side of the limit.
        for piece in text.as_bytes().chunks(4093) {
            console.push(piece);
        }
        assert!(console.into_text() == text.replace('\r', ""));
    }

    #[test]
    fn console_without_end_is_bounded_and_keeps_its_last_line() {
        let mut console = Console::default();
        let line = b"the same line again and again\n";
        let flood = line.repeat(100_000);
        for _ in 0..4 {
            console.push(&flood);
        }
        console.push(b"\nhpcc-agent: exit 7\n");
        assert!(console.head.len() + console.tail.len() <= HEAD + TAIL);
        let omitted = 4 * flood.len() + 20 - HEAD - TAIL;
        let text = console.into_text();
        assert!(text.contains(&format!(
            "\n--- {omitted} bytes of the console were not kept ---\n"
        )));
        assert!(text.ends_with("\nhpcc-agent: exit 7\n"));
    }
}
