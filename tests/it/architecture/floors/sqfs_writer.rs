//! The floors of the encoder.

use super::Floors;

pub(super) const SQFS_WRITER: Floors = &[
    (
        "host",
        &["data", "error", "image", "metadata", "tree", "writer"],
    ),
    (
        "image",
        &[
            "compress", "data", "error", "format", "metadata", "options", "output", "summary",
            "tree", "writer",
        ],
    ),
    (
        "writer",
        &[
            "cancel", "compress", "data", "error", "format", "meta", "options", "output", "pool",
            "summary", "tree",
        ],
    ),
    (
        "meta",
        &[
            "cancel", "data", "error", "format", "growth", "known", "metadata", "options",
            "output", "pieces", "pool", "tree",
        ],
    ),
    ("replay", &["data"]),
    (
        "data",
        &[
            "cancel", "error", "format", "known", "options", "output", "pieces", "pool",
        ],
    ),
    ("pool", &["compress", "error", "summary"]),
    ("options", &["compress", "error"]),
    ("output", &["error", "summary"]),
    ("compress", &["error", "format"]),
    ("cancel", &["error"]),
    ("tree", &["error", "metadata", "pieces", "text"]),
    ("metadata", &["format", "text"]),
    ("known", &["error", "pieces"]),
    ("pieces", &["growth"]),
    ("growth", &["error"]),
    ("summary", &[]),
    ("error", &[]),
    ("format", &[]),
    ("text", &[]),
];
