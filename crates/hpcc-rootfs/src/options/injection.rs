//! Host files that are added to images beside the agent.

use std::path::PathBuf;

use crate::error::Error;

/// Bytes of a component of a path: the most that squashfs can hold.
const NAME_MAX: usize = 255;
/// Bytes of a path: the most that a kernel takes.
const PATH_MAX: usize = 4095;

/// A host file that is added to every image, somewhere below `/.hpcc`.
///
/// Its contents, its path and its mode are part of an artifact's [`Key`](crate::Key), so an artifact is rebuilt if the
/// file changed. Missing directories are made, with mode 0755. File and directories belong to root and have the time of
/// [`ImageOptions::time`](crate::ImageOptions::time).
///
/// ```
/// use hpcc_rootfs::{Injection, Options};
///
/// let mut options = Options::default();
/// let mut token = Injection::new("/etc/worker/token", "/.hpcc/secrets/token");
/// token.mode = 0o400;
/// options.injections = vec![token];
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Injection {
    /// The file on the host: a regular file, or a symlink to one.
    pub host: PathBuf,
    /// Its path in the guest: an absolute path that leads below `/.hpcc` without regard to the image. It must differ
    /// from `agent`, `image.json`, `image-config.json` and the paths of other injections.
    pub guest: String,
    /// Its permissions, up to 0777. Default: 0644.
    pub mode: u16,
}

impl Injection {
    /// Makes an injection with the default mode.
    pub fn new(host: impl Into<PathBuf>, guest: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            guest: guest.into(),
            mode: 0o644,
        }
    }

    /// Returns its path in normal form, the names below `/.hpcc` joined by slashes, or what is wrong with the
    /// injection.
    fn place(&self) -> Result<String, &'static str> {
        if self.mode > 0o777 {
            return Err("its mode has bits beyond the permissions; the largest mode is 0777");
        }
        let path = self.guest.as_str();
        if !path.starts_with('/') {
            return Err("it is not absolute; it has to begin with /.hpcc/");
        }
        if path.contains('\0') {
            return Err("it holds a NUL byte");
        }
        let mut names = Vec::new();
        for name in path.split('/') {
            match name {
                "" | "." => {}
                // The root is its own parent.
                ".." => drop(names.pop()),
                name => names.push(name),
            }
        }
        let Some((&".hpcc", [first, ..])) = names.split_first() else {
            return Err("it does not lead below /.hpcc, and the rest of the tree is the image's");
        };
        if matches!(*first, "agent" | "image.json" | "image-config.json") {
            return Err("that path is reserved for a file of every image");
        }
        if path.ends_with(['/', '.']) && matches!(path.rsplit('/').next(), Some("" | "." | "..")) {
            return Err("it names a directory");
        }
        let place = names.get(1..).unwrap_or_default().join("/");
        if names.iter().any(|name| name.len() > NAME_MAX) || place.len() > PATH_MAX {
            return Err("it is longer than a path can be");
        }
        Ok(place)
    }
}

/// Returns the paths of all injections, sorted, each with its injection.
///
/// # Errors
/// Returns [`Error::Injection`] for the first one that is invalid or contradicts another one.
pub(crate) fn places(injections: &[Injection]) -> Result<Vec<(String, &Injection)>, Error> {
    let refused = |injection: &Injection, problem| Error::Injection {
        guest: injection.guest.clone(),
        problem,
    };
    let mut places = Vec::with_capacity(injections.len());
    for injection in injections {
        let place = injection.place();
        let place = place.map_err(|problem| refused(injection, problem))?;
        places.push((place, injection));
    }
    places.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (place, injection) in &places {
        let taken = |other: &str| {
            let rest = place.strip_prefix(other);
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        if places.iter().any(|(other, _)| taken(other)) {
            return Err(refused(
                injection,
                "another injection has a file on its path",
            ));
        }
    }
    for pair in places.windows(2) {
        if let [(one, _), (other, injection)] = pair
            && one == other
        {
            return Err(refused(injection, "another injection has the same path"));
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_hpcc_and_free_has_a_place() {
        let long = format!("/.hpcc/{}", "x".repeat(256));
        let longer = format!("/.hpcc{}", "/x".repeat(2100));
        for (guest, place) in [
            ("/.hpcc/token", Some("token")),
            ("/.hpcc/a/b/c", Some("a/b/c")),
            ("//.hpcc/./a//../b", Some("b")),
            ("/tmp/../.hpcc/x", Some("x")),
            ("/../.hpcc/x", Some("x")),
            ("/.hpcc/agents", Some("agents")),
            ("/.hpcc/a/agent", Some("a/agent")),
            ("/.hpcc/.x.", Some(".x.")),
            ("", None),
            ("/", None),
            (".hpcc/x", None),
            ("token", None),
            ("/.hpcc", None),
            ("/.hpcc/", None),
            ("/.hpcc/x/", None),
            ("/.hpcc/x/.", None),
            ("/.hpcc/x/y/..", None),
            ("/.hpcc/..", None),
            ("/.hpcc/../etc/passwd", None),
            ("/.hpcc/a/../../.hpccx/y", None),
            ("/.hpccx/y", None),
            ("/etc/passwd", None),
            ("/.hpcc/agent", None),
            ("/.hpcc/./x/../agent", None),
            ("/.hpcc/agent/x", None),
            ("/.hpcc/image.json", None),
            ("/.hpcc/image-config.json", None),
            ("/.hpcc/a\0b", None),
            (&long, None),
            (&longer, None),
        ] {
            let found = Injection::new("host", guest).place();
            assert_eq!(found.as_deref().ok(), place, "{guest}: {found:?}");
        }
    }

    #[test]
    fn a_mode_is_permissions() {
        for (mode, good) in [(0, true), (0o777, true), (0o1000, false), (0o4755, false)] {
            let mut injection = Injection::new("host", "/.hpcc/x");
            injection.mode = mode;
            assert_eq!(injection.place().is_ok(), good, "{mode:o}");
        }
    }

    #[test]
    fn no_two_have_a_place_or_one_the_others_way() {
        let places = |guests: &[&str]| {
            let injections: Vec<_> = guests
                .iter()
                .map(|guest| Injection::new("host", format!("/.hpcc/{guest}")))
                .collect();
            let places = places(&injections)?;
            Ok::<Vec<String>, Error>(places.into_iter().map(|(place, _)| place).collect())
        };
        assert_eq!(places(&["b", "a/c", "a/b"]).unwrap(), ["a/b", "a/c", "b"]);
        assert_eq!(places(&["a", "a-b", "ab"]).unwrap(), ["a", "a-b", "ab"]);
        assert!(places(&["a", "b", "./a"]).is_err());
        // Sorted by bytes, something comes between a file and what is below it.
        assert!(places(&["a", "a-b", "a/b"]).is_err());
    }
}
