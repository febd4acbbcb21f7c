//! What reuse costs a build, against what it gets for it.

/// Bytes that may be hashed and decompressed for each byte that is handed over.
const FACTOR: u64 = 4;

/// Bytes that may be hashed and decompressed besides.
const ALLOWANCE: u64 = 64 << 20;

/// Bytes that were worked through, and bytes that came of it.
#[derive(Debug, Default)]
pub(super) struct Cost {
    spent: u64,
    delivered: u64,
}

impl Cost {
    /// Adds bytes that were hashed or decompressed. Returns whether that is still worth it.
    pub(super) fn spend(&mut self, bytes: usize) -> bool {
        self.spent = self.spent.saturating_add(bytes as u64);
        self.spent
            <= self
                .delivered
                .saturating_mul(FACTOR)
                .saturating_add(ALLOWANCE)
    }

    /// Adds bytes that went into the image.
    pub(super) fn deliver(&mut self, bytes: usize) {
        self.delivered = self.delivered.saturating_add(bytes as u64);
    }

    #[cfg(test)]
    pub(super) fn spent(&self) -> u64 {
        self.spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_is_bounded_by_what_was_delivered() {
        let mut cost = Cost::default();
        assert!(cost.spend(64 << 20));
        assert!(!cost.spend(1));
        cost.deliver(1);
        assert!(cost.spend(3));
        assert!(!cost.spend(1));
    }
}
