//! Names in errors of the libraries, in the words of this program: an option for a field, a command for a function.

/// Each name in the texts of the libraries, and what the program has for it. No name is the beginning of a later one.
const WORDS: &[(&str, &str)] = &[
    ("Limits::entries", "--max-entries"),
    ("Limits::logical_bytes", "--max-bytes"),
    ("Limits::layer_bytes", "--max-layer-bytes"),
    ("Limits::unpacked_bytes", "--max-unpacked"),
    ("Limits::ratio", "--max-ratio"),
    ("Limits::metadata_bytes", "--max-metadata"),
    ("Limits::xattrs", "--max-xattrs"),
    ("Limits::xattr_bytes", "--max-xattr-bytes"),
    ("Limits::layers", "--max-layers"),
    ("Limits::path", "--max-path"),
    ("Limits::depth", "--max-depth"),
    ("Limits::link_steps", "--max-link-steps"),
    ("Limits::header_bytes", "--max-header"),
    ("Limits::sparse_segments", "--max-sparse-segments"),
    ("Limits::zstd_window", "--max-zstd-window"),
    ("Options::agents", "--agent"),
    ("Options::no_agent", "--no-agent"),
    ("Options::injections", "--inject"),
    ("Options::allow_private_realms", "--allow-private-realm"),
    ("Options::ca_files", "--ca-file"),
    ("Options::client_certificate", "--cert, --key"),
    ("Options::credentials", "--authfile"),
    ("Options::max_tar", "--max-layer-bytes and --max-unpacked"),
    ("Options::plain_http_on_loopback", "--tls-on-loopback"),
    ("Options::plain_http", "--plain-http"),
    ("Request::parse", "--digest"),
    ("SpoolOptions::bytes", "--max-spool"),
    ("SpoolOptions::directory", "--spool-dir"),
    ("Store::gc", "`hpcc-rootfs gc --max-size SIZE`"),
    ("Store::open", "--cache-dir"),
    ("StoreOptions::offline", "--offline"),
    ("StoreOptions::reuse", "--no-reuse"),
    ("StoreOptions::trusted", "--trust-store"),
    ("resolve_insisting", "--platform"),
];

/// Returns a text of a library with the words of the program.
pub(crate) fn with_options(text: &str) -> String {
    let mut found = String::new();
    let mut rest = text;
    while let Some((at, name, word)) = first(rest) {
        found.push_str(rest.get(..at).unwrap_or_default());
        found.push_str(word);
        rest = rest.get(at + name.len()..).unwrap_or_default();
    }
    found + rest
}

/// Returns the first name in a text that is a whole word, its place, and the program's word for it.
fn first(text: &str) -> Option<(usize, &'static str, &'static str)> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let places = WORDS.iter().filter_map(|(name, word)| {
        let mut places = text.match_indices(name).map(|(at, _)| at);
        let at = places.find(|at| {
            let before = text.get(..*at).and_then(|text| text.chars().next_back());
            let after = text.get(at + name.len()..).unwrap_or_default();
            let ends = !after.starts_with(|c: char| is_part(c) && c != ':');
            ends && !before.is_some_and(is_part)
        })?;
        Some((at, *name, *word))
    });
    places.min()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Args;

    #[test]
    fn each_field_becomes_its_option() {
        for (text, expected) in [
            ("give Options::ca_files: x", "give --ca-file: x"),
            ("(Options::plain_http)", "(--plain-http)"),
            (
                "Options::plain_http_on_loopback, Options::agents",
                "--tls-on-loopback, --agent",
            ),
            ("StoreOptions::offline", "--offline"),
            (
                "Options::agents_x MyOptions::agents",
                "Options::agents_x MyOptions::agents",
            ),
            ("\u{f6}Options::agents", "\u{f6}Options::agents"),
            ("", ""),
        ] {
            assert_eq!(with_options(text), expected);
        }
    }

    #[test]
    fn every_option_that_stands_for_a_field_exists() {
        let root = Args::command();
        let pull = root.find_subcommand("pull").unwrap();
        let known: Vec<_> = [&root, pull]
            .into_iter()
            .flat_map(clap::Command::get_arguments)
            .filter_map(clap::Arg::get_long)
            .collect();
        for (_, words) in WORDS.iter().filter(|(_, words)| words.starts_with("--")) {
            for word in words.split([' ', ',']) {
                if let Some(option) = word.strip_prefix("--") {
                    assert!(known.contains(&option), "{option}");
                }
            }
        }
    }

    #[test]
    fn every_limit_that_an_error_names_has_an_option() {
        for measure in hpcc_rootfs::layer::Measure::ALL {
            if let Some(field) = measure.field() {
                assert!(with_options(field).starts_with("--max-"), "{field}");
            }
        }
    }
}
