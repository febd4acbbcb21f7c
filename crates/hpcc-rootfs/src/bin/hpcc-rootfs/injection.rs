//! `--inject HOST:GUEST[:MODE]`.

use hpcc_rootfs::Injection;

/// A file of the host, the absolute path it gets, and a mode. The path begins at the last `:/`, so the
/// file may have colons in its name.
pub(crate) fn parse(text: &str) -> Result<Injection, String> {
    let (host, guest) = text
        .rsplit_once(":/")
        .filter(|(host, _)| !host.is_empty())
        .ok_or("expected a file, a colon and an absolute path, such as ./token:/.hpcc/token")?;
    let (guest, mode) = match guest.split_once(':') {
        Some((guest, mode)) => (guest, Some(mode)),
        None => (guest, None),
    };
    let mut injection = Injection::new(host, format!("/{guest}"));
    if let Some(mode) = mode {
        let octal = !mode.is_empty() && mode.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        injection.mode = Some(mode)
            .filter(|_| octal)
            .and_then(|mode| u16::from_str_radix(mode, 8).ok())
            .ok_or("expected an octal mode after the path, such as 644")?;
    }
    Ok(injection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn injections_are_file_path_and_mode() {
        for (text, expected) in [
            ("a:/.hpcc/b", Some(("a", "/.hpcc/b", 0o644))),
            ("/x/a:/.hpcc/b:600", Some(("/x/a", "/.hpcc/b", 0o600))),
            ("a:b:/.hpcc/c:0400", Some(("a:b", "/.hpcc/c", 0o400))),
            ("a:/b:/.hpcc/c", Some(("a:/b", "/.hpcc/c", 0o644))),
            ("a:/.hpcc/b:", None),
            ("a:/.hpcc/b:rw", None),
            ("a:/.hpcc/b:+7", None),
            ("a:/.hpcc/b:8", None),
            ("a:/.hpcc/b:7777777", None),
            ("a:.hpcc/b", None),
            (":/.hpcc/b", None),
            ("a", None),
            ("", None),
        ] {
            let found = parse(text).ok();
            let expected = expected.map(|(host, guest, mode)| {
                let mut injection = Injection::new(host, guest);
                injection.mode = mode;
                injection
            });
            assert_eq!(found, expected, "{text}");
        }
    }
}
