//! The floors of the command-line program: commands on top, then what they share, then words and streams.

use super::Floors;

pub(super) const PROGRAM: Floors = &[
    (
        "args",
        &[
            "attest",
            "boot_args",
            "build",
            "completions",
            "config",
            "df",
            "doctor",
            "gc",
            "global",
            "inspect",
            "link",
            "list",
            "path",
            "pull",
            "rm",
            "verify",
            "vm_config",
        ],
    ),
    (
        "completions",
        &["global", "output", "reference", "terminal"],
    ),
    (
        "vm_config",
        &[
            "boot_args",
            "failure",
            "global",
            "output",
            "quantity",
            "render",
            "subject",
        ],
    ),
    (
        "verify",
        &[
            "failure", "global", "output", "rebuild", "render", "subject", "terminal",
        ],
    ),
    ("reference", &["config", "output"]),
    (
        "inspect",
        &[
            "columns", "global", "list", "output", "quantity", "render", "requires", "subject",
            "table", "terminal", "tree",
        ],
    ),
    (
        "doctor",
        &[
            "config", "failure", "global", "output", "pull", "quantity", "render", "target",
            "terminal", "work",
        ],
    ),
    (
        "df",
        &[
            "global", "list", "output", "quantity", "render", "table", "terminal",
        ],
    ),
    (
        "rm",
        &["global", "quantity", "render", "subject", "terminal"],
    ),
    ("requires", &["global", "output", "render"]),
    (
        "rebuild",
        &[
            "failure",
            "global",
            "injection",
            "limits",
            "network",
            "quantity",
            "spool",
            "subject",
            "terminal",
            "work",
        ],
    ),
    (
        "pull",
        &[
            "failure",
            "fs_verity",
            "global",
            "image",
            "limits",
            "network",
            "output",
            "quantity",
            "render",
            "target",
            "terminal",
            "work",
        ],
    ),
    ("path", &["global", "render", "subject"]),
    (
        "list",
        &[
            "global", "output", "quantity", "render", "table", "terminal",
        ],
    ),
    ("link", &["global", "output", "render", "subject"]),
    ("gc", &["global", "quantity", "render", "terminal"]),
    (
        "config",
        &[
            "failure", "global", "logging", "output", "progress", "render", "table", "terminal",
        ],
    ),
    (
        "build",
        &[
            "failure", "global", "image", "limits", "network", "output", "render", "target", "work",
        ],
    ),
    ("boot_args", &["failure", "global", "render", "subject"]),
    ("attest", &["global", "output", "render", "subject"]),
    ("work", &["global", "progress", "signals", "terminal"]),
    ("subject", &["failure", "global", "output"]),
    ("render", &["global", "output"]),
    ("global", &["logging", "progress"]),
    ("logging", &["output", "progress", "terminal"]),
    ("usage", &["failure", "output", "stop", "terminal"]),
    (
        "target",
        &["image", "injection", "limits", "network", "spool"],
    ),
    ("signals", &["stop", "terminal"]),
    ("progress", &["columns", "output", "quantity", "terminal"]),
    ("metrics_file", &["output", "terminal"]),
    ("tree", &["output"]),
    ("terminal", &["columns", "failure", "output", "record"]),
    ("network", &["failure", "quantity"]),
    ("image", &["failure", "quantity"]),
    ("table", &["columns"]),
    ("spool", &["quantity"]),
    ("output", &["stop"]),
    ("limits", &["quantity"]),
    ("failure", &["stop"]),
    ("stop", &[]),
    ("record", &[]),
    ("quantity", &[]),
    ("injection", &[]),
    ("fs_verity", &[]),
    ("columns", &[]),
];
