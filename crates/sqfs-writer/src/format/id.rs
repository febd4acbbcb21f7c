//! The table of user and group ids: each a `u32`, users and groups together.

use super::layout::newtype;

newtype! {
    /// Index into the id table.
    IdIndex(u16)
}
