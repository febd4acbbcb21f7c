//! What every image promises to the guest that boots it.

use std::collections::BTreeMap;

use tree_listing::{DiffOptions, Entry, Kind, Listing, Sha256};

/// The kernel command line that boots an image, as the README shows it.
pub const BOOT: &str = "root=/dev/vda ro rootfstype=squashfs init=/.hpcc/agent";

/// The directory that is reserved in every image.
pub const GUEST_DIRECTORY: &str = "/.hpcc";

/// The program that runs as PID 1.
pub const AGENT: &str = "/.hpcc/agent";

/// The directories that are made where an image has none, with their modes.
pub const MOUNT_POINTS: [(&str, u16); 5] = [
    ("/dev", 0o755),
    ("/proc", 0o755),
    ("/run", 0o755),
    ("/sys", 0o755),
    ("/tmp", 0o1777),
];

/// Turns the listing of what an image ships into that of what its guest sees.
///
/// The mount points that are missing are added. `/.hpcc` is left out on both sides: what an image ships there is dropped,
/// and what we put there is checked by [`wrong_agent`].
pub fn expect_guest(expected: &mut Listing, options: &mut DiffOptions) {
    options.ignore.insert(GUEST_DIRECTORY.into());
    for (path, mode) in MOUNT_POINTS {
        expected.entries.entry(path.into()).or_insert_with(|| {
            // Their time is an option of the build.
            options.ignore_mtime.insert(path.into());
            directory(mode)
        });
    }
}

/// Says what is wrong with `/.hpcc` in `found`, if it does not hold the agent of this digest as it should.
pub fn wrong_agent(found: &Listing, agent: Sha256) -> Option<String> {
    let get = |path: &str| found.entries.get(path.as_bytes());
    let ours = |entry: &Entry| (entry.mode, entry.uid, entry.gid) == (0o755, 0, 0);
    match (get(GUEST_DIRECTORY), get(AGENT)) {
        (None, _) => Some(format!("{GUEST_DIRECTORY} is missing")),
        (_, None) => Some(format!("{AGENT} is missing")),
        (Some(directory), Some(_)) if directory.kind != Kind::Directory || !ours(directory) => {
            Some(format!("{GUEST_DIRECTORY} is not a directory 0755 of root"))
        }
        (_, Some(file)) if !ours(file) => Some(format!("{AGENT} is not 0755 of root")),
        (_, Some(file)) if file.kind != Kind::File { sha256: agent } => Some(format!(
            "{AGENT} is not the probe that was built now: was the image made with an older one?"
        )),
        _ => None,
    }
}

fn directory(mode: u16) -> Entry {
    Entry {
        kind: Kind::Directory,
        mode,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: 0,
        links: 2,
        shared: None,
        xattrs: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tree_listing::diff;

    fn listing(lines: &[&str]) -> Listing {
        let digest = "00".repeat(32);
        let text = format!("tree-listing 1\n{}\n", lines.join("\n")).replace("DIGEST", &digest);
        Listing::parse(text.as_bytes()).unwrap()
    }

    const SHIPPED: &str =
        "/tmp symlink mode=0777 uid=0 gid=0 size=7 mtime=3 links=1 target=var/tmp";

    const SEEN: [&str; 7] = [
        "/.hpcc directory mode=0755 uid=0 gid=0 size=1 mtime=0 links=2",
        "/.hpcc/agent file mode=0755 uid=0 gid=0 size=1 mtime=0 links=1 sha256=DIGEST",
        "/dev directory mode=0755 uid=0 gid=0 size=0 mtime=9 links=2",
        "/proc directory mode=0755 uid=0 gid=0 size=0 mtime=9 links=2",
        "/run directory mode=0755 uid=0 gid=0 size=0 mtime=9 links=2",
        "/sys directory mode=0755 uid=0 gid=0 size=0 mtime=9 links=2",
        SHIPPED,
    ];

    #[test]
    fn additions_to_an_image_are_expected_and_nothing_else() {
        let (mut expected, mut options) = (listing(&[SHIPPED]), DiffOptions::default());
        expect_guest(&mut expected, &mut options);
        assert_eq!(diff(&expected, &listing(&SEEN), &options), []);

        let cases = [
            (
                "/run directory mode=0755",
                "/run directory mode=0700",
                "/run: mode 0755 expected, 0700 found",
            ),
            (
                "/sys directory",
                "/sysx directory",
                "/sys: entry directory expected, nothing found",
            ),
            (
                "target=var/tmp",
                "target=var/run",
                "/tmp: target var/tmp expected, var/run found",
            ),
        ];
        for (old, new, difference) in cases {
            let seen = listing(
                &SEEN
                    .map(|line| line.replace(old, new))
                    .each_ref()
                    .map(String::as_str),
            );
            assert_eq!(diff(&expected, &seen, &options)[0].to_string(), difference);
        }
    }

    #[test]
    fn foreign_agent_is_named() {
        assert_eq!(wrong_agent(&listing(&SEEN), [0; 32]), None);
        let cases = [
            (
                "/.hpcc directory mode=0755",
                "/.hpcc directory mode=0700",
                "is not a directory 0755",
            ),
            (
                "/.hpcc/agent file mode=0755",
                "/.hpcc/agent file mode=4755",
                "agent is not 0755",
            ),
            ("/.hpcc/agent file", "/.hpcc/agenu file", "agent is missing"),
            ("/.hpcc", "/.hpcd", "/.hpcc is missing"),
        ];
        for (old, new, reason) in cases {
            let seen = listing(
                &SEEN
                    .map(|line| line.replace(old, new))
                    .each_ref()
                    .map(String::as_str),
            );
            let wrong = wrong_agent(&seen, [0; 32]).unwrap();
            assert!(wrong.contains(reason), "{wrong}");
        }
        assert!(
            wrong_agent(&listing(&SEEN), [1; 32])
                .unwrap()
                .contains("is not the probe")
        );
    }
}
