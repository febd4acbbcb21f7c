use super::*;

#[test]
fn the_command_line_is_consistent() {
    use clap::CommandFactory as _;
    Args::command().debug_assert();
}

#[test]
fn time_spans_have_suffixes() {
    for (text, seconds) in [
        ("0", Some(0)),
        ("90s", Some(90)),
        ("15m", Some(900)),
        ("2h", Some(7200)),
        ("30d", Some(2_592_000)),
        ("", None),
        ("d", None),
        ("1w", None),
        ("-1d", None),
        ("999999999999999999d", None),
    ] {
        assert_eq!(
            duration(text).ok().map(|span| span.as_secs()),
            seconds,
            "{text}"
        );
    }
}

#[test]
fn sizes_have_suffixes() {
    for (text, bytes) in [
        ("4096", Some(4096)),
        ("128K", Some(131_072)),
        ("1MiB", Some(1 << 20)),
        ("16G", Some(16 << 30)),
        ("", None),
        ("K", None),
        ("1.5G", None),
        ("-1", None),
        ("99999999T", None),
    ] {
        assert_eq!(size(text).ok(), bytes, "{text}");
    }
}
