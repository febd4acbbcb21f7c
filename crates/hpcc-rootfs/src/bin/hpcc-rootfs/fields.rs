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
    (
        "Options::plain_http_on_loopback = false",
        "--tls-on-loopback",
    ),
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

/// Returns a text of a library with the words of the program. Takes time in proportion to the text, parts of which
/// images and registries choose.
pub(crate) fn with_options(text: &str) -> String {
    let mut found = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_inside = false;
    while let Some(next) = rest.chars().next() {
        let (word, length) = match first_word(rest) {
            Some((name, word)) if !is_inside => (word, name.len()),
            _ => {
                let letter = rest.get(..next.len_utf8()).unwrap_or_default();
                (letter, letter.len())
            }
        };
        found.push_str(word);
        is_inside = is_part(next);
        rest = rest.get(length..).unwrap_or_default();
    }
    found
}

/// Returns the name that a text begins with as a whole word, and the program's word for it.
fn first_word(text: &str) -> Option<(&'static str, &'static str)> {
    let mut words = WORDS.iter().copied();
    words.find(|(name, _)| {
        let after = text.strip_prefix(name);
        after.is_some_and(|after| !after.starts_with(|c: char| is_part(c) && c != ':'))
    })
}

/// Returns whether a name goes on with this character.
fn is_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == ':'
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
                "set Options::plain_http_on_loopback = false, Options::agents",
                "set --tls-on-loopback, --agent",
            ),
            ("StoreOptions::offline", "--offline"),
            (
                "Options::agents_x MyOptions::agents",
                "Options::agents_x MyOptions::agents",
            ),
            ("\u{f6}Options::agents", "\u{f6}Options::agents"),
            (
                "Options::agentsOptions::agents",
                "Options::agentsOptions::agents",
            ),
            ("Options::agents: no\u{f6}", "--agent: no\u{f6}"),
            ("", ""),
        ] {
            assert_eq!(with_options(text), expected);
        }
    }

    #[test]
    fn long_texts_take_time_in_proportion() {
        // A text of an image; looking for the first name again after each one would take minutes.
        let text = "Limits::layers ".repeat(1 << 18);
        assert_eq!(with_options(&text), "--max-layers ".repeat(1 << 18));
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
