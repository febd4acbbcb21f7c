//! What is executed: the words of the command, its environment, and the file that the first word refers to.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::image::Image;
use crate::line::Line;

/// Docker's `TERM` for a command with a terminal, and for an image that sets none.
const TERM: &str = "xterm";

/// Docker's `PATH`, for an image that sets none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns the words of the command: entrypoint and cmd of the image, or the words on the kernel command line that
/// replace them.
pub(crate) fn argv(image: &Image, line: &Line) -> Result<Vec<OsString>, String> {
    let words = |words: &[String]| words.iter().map(OsString::from).collect::<Vec<_>>();
    let entrypoint = line.entrypoint.clone();
    let command = match (&line.command, &entrypoint) {
        (Some(command), _) => command.clone(),
        // The image's `cmd` was written for another program.
        (None, Some(_)) => Vec::new(),
        (None, None) => words(&image.config.cmd),
    };
    let mut argv = entrypoint.unwrap_or_else(|| words(&image.config.entrypoint));
    // One empty word is how Docker resets an entrypoint.
    if argv == [""] {
        argv.clear();
    }
    argv.extend(command);
    if argv.first().is_none_or(|first| first.is_empty()) {
        return Err(
            "the image names no command; give one after -- on the kernel command line".to_owned(),
        );
    }
    Ok(argv)
}

/// Returns the variables: defaults, then those of the image, then those of the kernel command line. The last one of a
/// name counts.
pub(crate) fn environment(
    image: &Image,
    line: &Line,
    home: &OsStr,
    hostname: &str,
) -> Vec<(OsString, OsString)> {
    let defaults = [("PATH", PATH), ("TERM", TERM), ("HOSTNAME", hostname)];
    let defaults = defaults.map(|(name, value)| (name.into(), value.into()));
    let home = ("HOME".into(), home.to_owned());
    let of_image = image.config.env.iter().filter_map(|variable| {
        let (name, value) = variable.split_once('=')?;
        (!name.is_empty()).then(|| (name.into(), value.into()))
    });
    // An empty HOME is none, as in runc, whichever was set before it.
    let of_image = of_image.map(|(name, value): (OsString, OsString)| match name == "HOME" {
        true if value.is_empty() => home.clone(),
        _ => (name, value),
    });
    let of_line = line.environment.iter().cloned();
    let defaults = defaults.into_iter().chain([home.clone()]);
    defaults.chain(of_image).chain(of_line).collect()
}

/// Returns the file that a command's first word refers to, as `execvp(3)` finds it: a word with a slash is a path, and
/// any other word is looked up in the directories of `PATH`, where an empty one is the current directory.
///
/// `usable` returns whether a path is a file that this user may execute. If there is none, the first that exists is
/// returned, so that the error of executing it shows the cause.
pub(crate) fn find(
    program: &OsStr,
    path: &OsStr,
    usable: impl Fn(&Path) -> bool,
    exists: impl Fn(&Path) -> bool,
) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(program.into());
    }
    let directories = path.as_bytes().split(|byte| *byte == b':');
    let candidates = directories.map(|directory| match directory {
        b"" => Path::new(".").join(program),
        directory => Path::new(OsStr::from_bytes(directory)).join(program),
    });
    let candidates: Vec<_> = candidates.collect();
    let found = candidates.iter().find(|path| usable(path));
    found
        .or_else(|| candidates.iter().find(|path| exists(path)))
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(entrypoint: &[&str], cmd: &[&str], env: &[&str]) -> Image {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mut image = Image::default();
        image.config.entrypoint = words(entrypoint);
        image.config.cmd = words(cmd);
        image.config.env = words(env);
        image
    }

    fn line(entrypoint: Option<&[&str]>, command: Option<&[&str]>) -> Line {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect();
        Line {
            entrypoint: entrypoint.map(words),
            command: command.map(words),
            ..Line::default()
        }
    }

    #[test]
    fn words_of_the_line_replace_those_of_the_image() {
        let with = image(&["/entry", "-x"], &["a", "b"], &[]);
        for (line, expected) in [
            (line(None, None), &["/entry", "-x", "a", "b"][..]),
            (line(None, Some(&["c"])), &["/entry", "-x", "c"]),
            (line(None, Some(&[])), &["/entry", "-x"]),
            (line(Some(&["/other"]), None), &["/other"]),
            (line(Some(&["/other"]), Some(&["c"])), &["/other", "c"]),
        ] {
            assert_eq!(argv(&with, &line).unwrap(), expected, "{line:?}");
        }
        let without = image(&[], &[], &[]);
        assert!(argv(&without, &line(None, None)).is_err());
        assert!(argv(&without, &line(Some(&[""]), None)).is_err());
        assert_eq!(argv(&without, &line(None, Some(&["x"]))).unwrap(), ["x"]);
    }

    #[test]
    fn entrypoint_of_one_empty_word_is_none() {
        // containers/podman#9377
        let reset = image(&[""], &["/bin/sh", ""], &[]);
        assert_eq!(argv(&reset, &line(None, None)).unwrap(), ["/bin/sh", ""]);
        assert_eq!(argv(&reset, &line(None, Some(&["x"]))).unwrap(), ["x"]);
        let by_line = line(Some(&[""]), Some(&["x"]));
        assert_eq!(argv(&image(&["/e"], &["c"], &[]), &by_line).unwrap(), ["x"]);
        for words in [&["", "x"][..], &["", ""]] {
            assert!(argv(&image(words, &["c"], &[]), &line(None, None)).is_err());
        }
    }

    #[test]
    fn last_variable_of_a_name_comes_last() {
        let image = image(&[], &[], &["PATH=/x", "A=1", "none", "=empty", "A=2=3"]);
        let mut line = line(None, None);
        line.environment.push(("A".into(), "4".into()));
        let found = environment(&image, &line, "/root".as_ref(), "vm");
        let expected = [
            ("PATH", PATH),
            ("TERM", TERM),
            ("HOSTNAME", "vm"),
            ("HOME", "/root"),
            ("PATH", "/x"),
            ("A", "1"),
            ("A", "2=3"),
            ("A", "4"),
        ];
        assert_eq!(found, expected.map(|(a, b)| (a.into(), b.into())));
    }

    #[test]
    fn last_home_is_that_of_the_user_if_empty() {
        // opencontainers/runc, `prepareEnv`
        for (env, expected) in [
            (&["HOME="][..], "/root"),
            (&["HOME=", "HOME=/foo"], "/foo"),
            (&["HOME=/foo", "HOME="], "/root"),
        ] {
            let image = image(&[], &[], env);
            let found = environment(&image, &line(None, None), "/root".as_ref(), "vm");
            let last = found.iter().rfind(|(name, _)| name == "HOME").unwrap();
            assert_eq!(last.1, expected, "{env:?}");
        }
    }

    #[test]
    fn program_without_a_slash_is_looked_for_in_path() {
        let found = |program: &str, path: &str| {
            let usable = |path: &Path| matches!(path.to_str(), Some("/b/sh" | "./here"));
            let exists = |path: &Path| path == Path::new("/a/sh") || path == Path::new("/a/locked");
            find(program.as_ref(), path.as_ref(), usable, exists)
        };
        assert_eq!(found("sh", "/a:/b"), Some("/b/sh".into()));
        assert_eq!(found("locked", "/a:/b"), Some("/a/locked".into()));
        assert_eq!(found("here", "/a::/b"), Some("./here".into()));
        assert_eq!(found("here", ""), Some("./here".into()));
        assert_eq!(found("nothing", "/a:/b"), None);
        assert_eq!(found("/x/sh", "/b"), Some("/x/sh".into()));
        assert_eq!(found("./sh", "/b"), Some("./sh".into()));
    }
}
