//! The origins of the bytes of one blob, for the message about bytes that are wrong.
//!
//! A blob that breaks off goes on where another host has it, and the digest of the whole does not say which part is
//! wrong. So the message names every host that sent one.

/// Most origins that are named. A server may redirect every request to another URL.
const MAX_NAMED: usize = 4;

/// The origins, each with the position of its first byte.
#[derive(Debug, Default)]
pub(super) struct Senders {
    named: Vec<(u64, String)>,
    others: u64,
}

impl Senders {
    /// Adds the origin of the bytes from `from` on.
    pub(super) fn add(&mut self, from: u64, at: String) {
        // No byte came from the last one.
        if self.others == 0 && self.named.last().is_some_and(|(last, _)| *last == from) {
            self.named.pop();
        }
        if self.named.last().is_some_and(|(_, last)| *last == at) && self.others == 0 {
            return;
        }
        match self.named.len() < MAX_NAMED {
            true => self.named.push((from, at)),
            false => self.others = self.others.saturating_add(1),
        }
    }

    /// Returns all of them, for people.
    pub(super) fn text(&self) -> Option<String> {
        let mut named = self.named.iter();
        let (_, mut text) = named.next().cloned()?;
        for (from, at) in named {
            text.push_str(&format!("; from byte {from} on, {at}"));
        }
        if self.others > 0 {
            text.push_str(&format!("; and later ones ({})", self.others));
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(added: &[(u64, &str)]) -> Option<String> {
        let mut senders = Senders::default();
        for (from, at) in added {
            senders.add(*from, (*at).to_owned());
        }
        senders.text()
    }

    #[test]
    fn origin_without_a_byte_is_not_named() {
        assert_eq!(text(&[]), None);
        assert_eq!(text(&[(0, "a")]).unwrap(), "a");
        assert_eq!(text(&[(0, "a"), (0, "b")]).unwrap(), "b");
        assert_eq!(text(&[(0, "a"), (5, "b"), (5, "a")]).unwrap(), "a");
        assert_eq!(
            text(&[(0, "a"), (5, "b"), (7, "a")]).unwrap(),
            "a; from byte 5 on, b; from byte 7 on, a"
        );
    }

    #[test]
    fn origin_that_goes_on_is_named_once() {
        assert_eq!(text(&[(0, "a"), (3, "a"), (9, "a")]).unwrap(), "a");
    }

    #[test]
    fn origins_beyond_the_fourth_are_counted() {
        let many: Vec<(u64, String)> = (0..1000).map(|n| (n, format!("x{n}"))).collect();
        let many: Vec<(u64, &str)> = many.iter().map(|(n, at)| (*n, at.as_str())).collect();
        let text = text(&many).unwrap();
        assert!(
            text.ends_with("from byte 3 on, x3; and later ones (996)"),
            "{text}"
        );
    }
}
