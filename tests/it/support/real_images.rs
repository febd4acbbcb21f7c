//! The images from Debian packages are what their recipes say, as umoci unpacks them.

use serde_json::Value;
use test_support::oracle::umoci;
use test_support::real_image::{self, RealImage};
use test_support::{Failure, Result};
use tree_listing::{Kind, Listing};

#[test]
fn the_small_one_holds_every_hard_case() -> Result<()> {
    let Some(image) = real_image::small()? else {
        return Ok(());
    };
    assert_eq!(layers(&image)?, 3);
    let listing = unpack(&image)?;
    let entry = |path: &str| {
        let entry = listing.entries.get(path.as_bytes());
        entry.ok_or_else(|| Failure::new(format!("{path} is missing")))
    };
    for (path, kind, mode, owner, links) in [
        ("/bin", "symlink", 0o777, (0, 0), 1),
        ("/usr/bin/su", "file", 0o4755, (0, 0), 1),
        ("/dev/null", "char-device", 0o666, (0, 0), 1),
        ("/opt/app/bin/as-root", "file", 0o4755, (0, 0), 3),
        ("/opt/app/bin/as-group", "file", 0o2755, (0, 50), 1),
        ("/opt/app/bin/linked-ping", "file", 0o755, (0, 0), 2),
        ("/usr/local/bin/linked-id", "file", 0o755, (0, 0), 2),
        (
            "/opt/app/bin/nobody-may",
            "file",
            0o000,
            (65_534, 65_534),
            1,
        ),
        ("/opt/app/third", "file", 0o600, (0, 0), 1),
        ("/opt/app/dangling", "symlink", 0o777, (0, 0), 2),
        ("/opt/app/pipe", "fifo", 0o620, (0, 0), 1),
        ("/opt/app/drop", "directory", 0o1777, (0, 0), 2),
        ("/opt/app/names/new-1", "file", 0o644, (0, 0), 1),
        ("/usr/share/perl5", "symlink", 0o777, (0, 0), 1),
        ("/usr/lib/below-a-symlink", "file", 0o644, (0, 0), 1),
        ("/var/lock", "file", 0o644, (0, 0), 1),
        ("/srv", "directory", 0o711, (0, 0), 2),
        ("/etc/issue", "directory", 0o755, (0, 0), 2),
        ("/opt/twice", "file", 0o640, (1, 2), 1),
    ] {
        let found = entry(path)?;
        let owner_found = (found.uid, found.gid);
        assert_eq!(
            (found.kind.name(), found.mode, owner_found, found.links),
            (kind, mode, owner, links),
            "{path}"
        );
    }
    let disk = Kind::BlockDevice {
        major: 259,
        minor: 70_000,
    };
    assert_eq!(entry("/opt/app/disk")?.kind, disk);
    let ping = &entry("/opt/app/bin/ping")?.xattrs;
    assert_eq!(ping[b"security.capability".as_slice()].len(), 20);
    assert_eq!(entry("/opt/app/data/after-2038")?.mtime, 4_000_000_000);
    for path in [
        "/etc/motd",
        "/usr/share/bug",
        "/opt/app/team",
        "/opt/app/bin/far-away",
        "/opt/app/names/long-target",
        "/usr/lib/perl5-moved/Debconf",
        "/var/lock/held",
    ] {
        assert!(entry(path).is_err(), "{path} is still there");
    }
    Ok(())
}

#[test]
fn the_big_one_is_big_and_its_changes_took() -> Result<()> {
    let Some(image) = real_image::big()? else {
        return Ok(());
    };
    assert_eq!(layers(&image)?, 3);
    let listing = unpack(&image)?;
    let bytes: u64 = listing.entries.values().map(|entry| entry.size).sum();
    assert!(bytes > 450_000_000, "{bytes} bytes");
    assert!(listing.entries.len() > 8_000, "{}", listing.entries.len());
    let has = |path: &str| listing.entries.contains_key(path.as_bytes());
    for path in [
        "/usr/bin/git",
        "/usr/bin/python3",
        "/usr/bin/gcc",
        "/usr/bin/cmake",
    ] {
        assert!(has(path), "{path} is missing");
    }
    assert!(!has("/usr/share/man") && !has("/usr/sbin/policy-rc.d"));
    assert_eq!(listing.entries[b"/srv/jobs/git".as_slice()].links, 2);

    // Neither a mirror nor a host is named anywhere.
    for path in ["/etc/hostname", "/etc/resolv.conf", "/etc/apt/sources.list"] {
        assert!(!listing.entries.contains_key(path.as_bytes()), "{path}");
    }
    let below = |directory: &[u8]| {
        listing
            .entries
            .keys()
            .any(|path| path.starts_with(directory))
    };
    assert!(!below(b"/etc/apt/sources.list.d/"));
    assert!(!below(b"/var/lib/apt/lists/"));
    Ok(())
}

fn layers(image: &RealImage) -> Result<usize> {
    let (store, manifest) = (image.store()?, image.manifest()?);
    let content = store.get(&manifest.digest).map(|(_, content)| content);
    let bytes = content
        .ok_or_else(|| Failure::new("no manifest"))?
        .bytes()?;
    let manifest: Value = serde_json::from_slice(&bytes)?;
    Ok(manifest["layers"].as_array().map_or(0, Vec::len))
}

fn unpack(image: &RealImage) -> Result<Listing> {
    let tree = umoci::unpack(image.layout(), RealImage::TAG)?;
    let tree = tree.ok_or_else(|| Failure::new("umoci needs root"))?;
    Ok(Listing::walk(&tree.root())?)
}
