//! The floors of the library that joins the other two and keeps the store.

use super::Floors;

pub(super) const HPCC_ROOTFS: Floors = &[
    (
        "rebuild",
        &[
            "artifact", "error", "options", "pull", "staging", "store", "summary",
        ],
    ),
    (
        "build",
        &[
            "artifact",
            "caught",
            "error",
            "measure",
            "options",
            "progress",
            "pull",
            "regular_file",
            "staging",
            "store",
            "summary",
        ],
    ),
    (
        "store",
        &[
            "artifact",
            "candidate",
            "caught",
            "error",
            "guest",
            "measure",
            "options",
            "progress",
            "pull",
            "recall",
            "regular_file",
            "staging",
            "summary",
            "units",
            "untrusted",
        ],
    ),
    (
        "pull",
        &[
            "artifact", "caught", "error", "feed", "flatten", "guest", "layer", "options",
            "panics", "progress", "recall", "spool", "staging", "summary", "timings",
        ],
    ),
    (
        "recall",
        &[
            "artifact", "flatten", "growth", "layer", "staging", "tables", "zeroed",
        ],
    ),
    (
        "guest",
        &[
            "artifact",
            "error",
            "flatten",
            "options",
            "regular_file",
            "staging",
            "tables",
        ],
    ),
    ("spool", &["layer", "options", "regular_file", "unspooled"]),
    (
        "feed",
        &["flatten", "layer", "progress", "staging", "timings"],
    ),
    (
        "options",
        &["artifact", "error", "layer", "progress", "staging"],
    ),
    ("caught", &["error", "panics"]),
    ("measure", &["error", "summary"]),
    (
        "error",
        &[
            "artifact",
            "candidate",
            "flatten",
            "layer",
            "panics",
            "staging",
            "unspooled",
            "untrusted",
        ],
    ),
    ("boot", &["artifact", "checked_read", "tables"]),
    ("evidence", &["artifact", "tables"]),
    ("summary", &["flatten", "timings", "units"]),
    ("flatten", &["growth", "layer", "units"]),
    (
        "artifact",
        &["growth", "staging", "tables", "untrusted", "zeroed"],
    ),
    ("staging", &["units"]),
    ("layer", &["checked_read", "growth", "zeroed"]),
    ("tables", &["growth", "zeroed"]),
    ("progress", &["panics", "units"]),
    ("timings", &["units"]),
    ("units", &[]),
    ("panics", &[]),
    ("candidate", &[]),
    ("unspooled", &[]),
    ("untrusted", &[]),
    ("regular_file", &[]),
    ("checked_read", &[]),
    ("growth", &[]),
    ("zeroed", &[]),
];
