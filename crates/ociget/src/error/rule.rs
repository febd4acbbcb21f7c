//! Rules about the places that a registry may lead to, as far as the caller can lift them by naming the host.

/// An internal address that the registry leads to.
pub(crate) const INTERNAL: &str = "it is an internal address, and not the registry's own";

/// A service that no registry is.
pub(crate) const LOW_PORT: &str =
    "it is a port below 1024, and neither 80, 443 nor the registry's own";

/// The end of the rules about names.
pub(crate) const NAME_IT: &str = "if that is right, allow the host as a private realm";

/// Returns whether the caller can lift a rule by naming the host.
pub(crate) fn can_be_lifted(rule: &str) -> bool {
    [INTERNAL, LOW_PORT].contains(&rule) || rule.ends_with(NAME_IT)
}
