use super::*;

const TREE: &str = "tree-listing 1
/ directory mode=0755 uid=0 gid=0 size=60 mtime=0 links=4
/.hpcc directory mode=0755 uid=0 gid=0 size=3 mtime=0 links=2
/.hpcc/agent file mode=0755 uid=0 gid=0 size=1 mtime=0 links=1 sha256=SHA
/bin directory mode=0755 uid=0 gid=0 size=80 mtime=5 links=2
/bin/a file mode=4755 uid=0 gid=0 size=1 mtime=5 links=2 shared=/bin/a sha256=SHA xattr:user.x=01
/bin/b file mode=4755 uid=0 gid=0 size=1 mtime=5 links=2 shared=/bin/a sha256=SHA xattr:user.x=01
/bin/l symlink mode=0777 uid=0 gid=0 size=1 mtime=5 links=1 target=a
/bin/n char-device mode=0666 uid=0 gid=0 size=0 mtime=5 links=1 device=1:3
";

fn listing(text: &str) -> Listing {
    Listing::parse(text.replace("SHA", &"5f".repeat(32)).as_bytes()).unwrap()
}

fn differences(found: &str, options: &DiffOptions) -> Vec<String> {
    diff(&listing(TREE), &listing(found), options)
        .iter()
        .map(Difference::to_string)
        .collect()
}

#[test]
fn a_tree_equals_itself() {
    assert_eq!(
        differences(TREE, &DiffOptions::default()),
        Vec::<String>::new()
    );
}

#[test]
fn every_field_is_compared() {
    let other = "60".repeat(32);
    let was = "5f".repeat(32);
    let cases = [
        (
            "/bin/l symlink mode=0777",
            "/bin/l symlink mode=0755",
            "/bin/l: mode 0777 expected, 0755 found",
        ),
        ("target=a", "target=b", "/bin/l: target a expected, b found"),
        (
            "device=1:3",
            "device=1:5",
            "/bin/n: device 1:3 expected, 1:5 found",
        ),
        (
            "char-device",
            "block-device",
            "/bin/n: type char-device expected, block-device found",
        ),
        (
            "/bin/n char-device mode=0666 uid=0",
            "/bin/n char-device mode=0666 uid=7",
            "/bin/n: uid 0 expected, 7 found",
        ),
        (
            "gid=0 size=0",
            "gid=7 size=0",
            "/bin/n: gid 0 expected, 7 found",
        ),
        (
            "mtime=5 links=1 target",
            "mtime=6 links=1 target",
            "/bin/l: mtime 5 expected, 6 found",
        ),
        (
            "size=1 mtime=0",
            "size=2 mtime=0",
            "/.hpcc/agent: size 1 expected, 2 found",
        ),
        (
            "links=1 sha256",
            "links=2 sha256",
            "/.hpcc/agent: links 1 expected, 2 found",
        ),
        (
            "links=1 sha256=SHA",
            &format!("links=1 sha256={other}"),
            &format!("/.hpcc/agent: sha256 {was} expected, {other} found"),
        ),
        (
            "size=60 mtime=0 links=4",
            "size=60 mtime=0 links=3",
            "/: links 4 expected, 3 found",
        ),
        (
            "/bin/l symlink",
            "/bin/m symlink",
            "/bin/l: entry symlink expected, nothing found",
        ),
        (
            "/bin/l symlink",
            "/bin/m symlink",
            "/bin/m: entry nothing expected, symlink found",
        ),
    ];
    for (old, new, expected) in cases {
        let found = TREE.replacen(old, new, 1);
        assert_ne!(found, TREE, "{old}");
        let differences = differences(&found, &DiffOptions::default());
        assert!(
            differences.iter().any(|line| line == expected),
            "{expected} not in {differences:?}"
        );
        assert!(
            differences.len() == 1 || new.contains("/bin/m"),
            "{differences:?}"
        );
    }
}

#[test]
fn attributes_and_sharing_are_compared() {
    let options = DiffOptions::default();
    let found = TREE.replacen(" xattr:user.x=01", " xattr:user.y=", 1);
    assert_eq!(
        differences(&found, &options),
        [
            "/bin/a: xattr user.x 0x01 expected, none found",
            "/bin/a: xattr user.y none expected, 0x found"
        ]
    );
    let unshared = TREE.replace(" shared=/bin/a", "");
    assert_eq!(
        differences(&unshared, &options),
        [
            "/bin/a: shared with /bin/a expected, with no other name found",
            "/bin/b: shared with /bin/a expected, with no other name found"
        ]
    );
    let ignored = DiffOptions {
        ignore_xattrs: [b"user.x".to_vec(), b"user.y".to_vec()].into(),
        ..options
    };
    assert_eq!(differences(&found, &ignored), Vec::<String>::new());
}

#[test]
fn options_leave_out_what_they_name_and_no_more() {
    let without = |path: &str| {
        let lines: Vec<_> = TREE
            .lines()
            .filter(|line| !line.starts_with(path))
            .collect();
        lines.join("\n") + "\n"
    };
    let expected = listing(&without("/.hpcc").replace("links=4", "links=3"));
    let found = listing(TREE);
    assert_eq!(diff(&expected, &found, &DiffOptions::default()).len(), 2);

    let extra = DiffOptions {
        allow_extra: [b"/.hpcc".to_vec()].into(),
        ..DiffOptions::default()
    };
    assert_eq!(
        diff(&expected, &found, &extra)
            .iter()
            .map(Difference::to_string)
            .collect::<Vec<_>>(),
        ["/.hpcc/agent: entry nothing expected, file found"],
        "what is below an extra path is not expected either"
    );

    let ignore = DiffOptions {
        ignore: [b"/.hpcc".to_vec()].into(),
        ..DiffOptions::default()
    };
    assert_eq!(diff(&expected, &found, &ignore), []);
    let neighbour = listing(&TREE.replace("/.hpcc/agent", "/.hpccx"));
    assert_eq!(
        diff(&expected, &neighbour, &ignore).len(),
        1,
        "a longer name is another name"
    );

    let moved = TREE.replace("mtime=5", "mtime=6");
    let times = DiffOptions {
        ignore_mtime: [b"/bin".to_vec()].into(),
        ..DiffOptions::default()
    };
    let paths: Vec<_> = diff(&listing(TREE), &listing(&moved), &times)
        .into_iter()
        .map(|found| found.path)
        .collect();
    assert_eq!(paths, [b"/bin/a", b"/bin/b", b"/bin/l", b"/bin/n"]);

    let resized = TREE.replace("size=80", "size=81");
    assert_eq!(
        differences(&resized, &DiffOptions::default()),
        Vec::<String>::new()
    );
    let sizes = DiffOptions {
        directory_sizes: true,
        ..DiffOptions::default()
    };
    assert_eq!(
        differences(&resized, &sizes),
        ["/bin: size 80 expected, 81 found"]
    );
}

#[test]
fn directory_links_are_judged_by_the_option() {
    let btrfs = listing(&TREE.replace("links=4", "links=1"));
    let squashfs = listing(TREE);
    for (links, count) in [
        (DirectoryLinks::FromSubdirectories, 0),
        (DirectoryLinks::AsExpected, 1),
        (DirectoryLinks::Ignore, 0),
    ] {
        let options = DiffOptions {
            directory_links: links,
            ..DiffOptions::default()
        };
        assert_eq!(diff(&btrfs, &squashfs, &options).len(), count, "{links:?}");
    }
}
