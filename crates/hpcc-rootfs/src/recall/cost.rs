//! The cost of reuse for a build, compared with its benefit.

/// Bytes that may be hashed and decompressed for each byte that is delivered.
const FACTOR: u64 = 4;

/// Bytes that may be hashed and decompressed in addition.
const ALLOWANCE: u64 = 64 << 20;

/// Bytes that may be hashed and decompressed in addition for each layer, which would take a request otherwise: a fragment,
/// and the two chunks in which it lies.
const LAYER: u64 = 4 << 20;

/// Bytes that were processed, and bytes that were delivered.
#[derive(Debug, Default)]
pub(super) struct Cost {
    spent: u64,
    allowed: u64,
    delivered: u64,
    /// Whether there is no other way to the bytes.
    is_unbounded: bool,
}

impl Cost {
    /// Returns the cost of a number of layers.
    pub(super) fn of_layers(layers: usize) -> Self {
        Self {
            allowed: LAYER
                .saturating_mul(layers as u64)
                .saturating_add(ALLOWANCE),
            ..Self::default()
        }
    }

    /// Returns a cost without a bound.
    pub(super) fn unbounded() -> Self {
        Self {
            is_unbounded: true,
            ..Self::default()
        }
    }

    /// Adds bytes that were hashed or decompressed. Returns whether reuse is still worth its cost.
    pub(super) fn spend(&mut self, bytes: usize) -> bool {
        self.spent = self.spent.saturating_add(bytes as u64);
        let bound = self.delivered.saturating_mul(FACTOR);
        self.is_unbounded || self.spent <= bound.saturating_add(self.allowed)
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
    fn cost_is_bounded_by_layers_and_what_was_delivered() {
        let mut cost = Cost::of_layers(2);
        assert!(cost.spend(72 << 20));
        assert!(!cost.spend(1));
        cost.deliver(1);
        assert!(cost.spend(3));
        assert!(!cost.spend(1));
        assert!(Cost::unbounded().spend(1 << 30));
    }
}
