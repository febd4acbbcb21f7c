//! What an image is charged with, to the byte: the sums of the table in `docs/flattening.md`.
//!
//! `tests/memory` holds that nothing takes more than its charge. Here nothing is charged with more than the page says, nor
//! with less.

use std::collections::BTreeMap;

use hpcc_rootfs::flatten::Options;

use crate::archive::{Item, layer, tar};
use crate::run::flatten_blobs;

const DOCUMENT: &str = include_str!("../../../../docs/flattening.md");

/// The first number of each row of the table of charges, by the thing that the row is about.
struct Charges(BTreeMap<&'static str, u64>);

impl Charges {
    fn documented() -> Self {
        let table = DOCUMENT.split("| thing | bytes, at most |").nth(1).unwrap();
        let rows = table.lines().skip(2).take_while(|row| row.starts_with('|'));
        let charges = rows.filter_map(|row| {
            let mut cells = row.split('|').skip(1).map(str::trim);
            let (thing, bytes) = (cells.next()?, cells.next()?);
            let digits = bytes.split(|c: char| !c.is_ascii_digit()).next()?;
            Some((thing, digits.parse().ok()?))
        });
        Self(charges.collect())
    }

    fn of(&self, thing: &str) -> u64 {
        match self.0.iter().find(|(row, _)| row.starts_with(thing)) {
            Some((_, bytes)) => *bytes,
            None => panic!("no row for {thing:?}"),
        }
    }

    /// An entry of which `differs` bytes of the path are new, with a name of `name` bytes.
    fn entry(&self, differs: u64, name: u64) -> u64 {
        self.of("an entry") + differs + self.name(name)
    }

    fn name(&self, name: u64) -> u64 {
        match name > 16 {
            true => name + self.of("a name over 16 bytes") + name,
            false => name,
        }
    }

    fn directory(&self) -> u64 {
        self.of("a directory")
    }

    /// A directory that no entry describes: its path is part of the path of what it holds.
    fn implied(&self, name: u64) -> u64 {
        self.of("an entry") + self.name(name) + self.directory()
    }

    fn symlink(&self, target: u64) -> u64 {
        self.of("a symlink's target") + target
    }

    fn link(&self, name: u64, target: u64) -> u64 {
        self.of("a hard link") + name + target
    }

    fn waits(&self, path: u64, target: u64, name: u64) -> u64 {
        self.of("a hard link that waits") + path + 2 * target + 2 * name
    }

    fn marker(&self, differs: u64) -> u64 {
        self.of("a whiteout") + differs
    }

    fn shadow(&self, paths: u64) -> u64 {
        self.of("a path in the shadow index") * paths
    }
}

fn charged(layers: &[Vec<Item>]) -> u64 {
    let blobs = layers.iter().map(|items| tar(items)).collect();
    let flattened = flatten_blobs(blobs, &Options::default()).0.unwrap();
    flattened.report.metadata_bytes
}

#[track_caller]
fn costs(layers: &[&str], bytes: u64) {
    let items: Vec<_> = layers.iter().map(|text| layer(text)).collect();
    assert_eq!(charged(&items), bytes, "{layers:?}");
}

#[test]
fn every_kind_of_entry_costs_what_its_row_says() {
    let c = Charges::documented();
    costs(&[""], 0);
    costs(&["a"], c.entry(1, 1));
    costs(&["a=", "b="], 2 * c.entry(1, 1) + c.shadow(3));
    for length in [15, 16, 17, 40] {
        let name = "n".repeat(length);
        let length = length.try_into().unwrap();
        costs(&[&name], c.entry(length, length));
        let below = c.entry(length + 2, 1) + c.implied(length);
        costs(&[&format!("{name}/f")], below);
    }
    costs(&["d/"], c.entry(1, 1) + c.directory());
    costs(&["s->target"], c.entry(1, 1) + c.symlink(6));
    // Of the second path, only the name is new.
    let first = c.entry(5, 1) + c.implied(3);
    costs(&["dir/a dir/b"], first + c.entry(1, 1));
    costs(&["dir/a dir/ab"], first + c.entry(1, 2));
    costs(
        &["dir/ab dir/a"],
        c.entry(6, 2) + c.implied(3) + c.entry(0, 1),
    );
}

#[test]
fn every_kind_of_link_costs_what_its_row_says() {
    let c = Charges::documented();
    let target = c.entry(6, 6);
    costs(
        &["target abc==target"],
        target + c.entry(3, 3) + c.link(3, 6),
    );
    let waits = c.entry(3, 3) + c.link(3, 6) + c.waits(3, 6, 3);
    costs(&["abc==target target"], waits + target);
    let dropped = c.of("a hard link to what is reserved") + 3;
    let link = c.entry(3, 3) + c.link(3, 11);
    costs(&["abc==.hpcc/agent"], link + dropped);
    // One that has to wait to learn where it leads.
    let link = c.entry(3, 3) + c.link(3, 1) + c.waits(3, 1, 3);
    let target = c.entry(1, 1) + c.link(1, 11);
    let both = link + target + dropped + c.of("a hard link to what is reserved") + 1;
    costs(&["abc==l l==.hpcc/agent"], both);
}

#[test]
fn link_costs_more_for_each_name_it_waits_for() {
    let c = Charges::documented();
    // `a` waits for `y`, and for `longer`: the latter may become a symlink.
    let a = c.entry(1, 1) + c.link(1, 3) + c.waits(1, 3, 1);
    let y = c.entry(1, 1) + c.link(1, 1) + c.waits(1, 1, 1);
    let rest = c.entry(1, 1) + c.symlink(1) + c.entry(3, 1) + c.implied(1);
    let without = c.entry(1, 1) + c.symlink(1) + a + y + rest;
    costs(&["s->y a==s/t y==z z->d d/t"], without);
    let with = c.entry(1, 1) + c.symlink(11) + a + y + rest;
    let further = c.of("a further name that it waits for") + 6;
    costs(&["s->longer/../y a==s/t y==z z->d d/t"], with + further);
}

#[test]
fn attributes_cost_twice_their_bytes_and_their_own_share() {
    let c = Charges::documented();
    let mut items = layer("f");
    let mut expected = c.entry(1, 1) + c.of("the xattrs of an entry");
    for (name, length) in [("user.a", 0), ("user.bcd", 5), ("security.e", 100)] {
        items[0].xattrs.push((name.into(), vec![7; length]));
        expected += c.of("an xattr") + 2 * (name.len() + length) as u64;
        assert_eq!(charged(&[items.clone()]), expected, "{name}");
    }
}

#[test]
fn names_of_newer_layers_cost_until_all_layers_are_read() {
    let c = Charges::documented();
    let (old, file) = (c.entry(1, 1), c.entry(3, 1) + c.implied(1));
    // The path itself thrice: replaced, with nothing below it, placed; its parent once.
    for (newer, entries, paths) in [
        ("f=", c.entry(1, 1), 3),
        ("d/", c.entry(1, 1) + c.directory(), 1),
        ("d/f=", file, 4),
        ("d/f= d/g=", file + c.entry(1, 1), 4 + 3),
        (".wh.f", c.marker(1), 2),
        ("d/.wh..wh..opq", c.marker(1), 1),
        // What it links to as well, unless that is of its own layer.
        ("f==x", c.entry(1, 1) + c.link(1, 1), 3 + 2),
        ("d/f= l==d/f", file + c.entry(1, 1) + c.link(1, 3), 4 + 3),
    ] {
        // The directory is made once the index is gone.
        let implied = if newer.contains("d/f") {
            c.implied(1)
        } else {
            0
        };
        let reading = old + entries - implied + c.shadow(paths);
        costs(&["x=", newer], reading.max(old + entries));
    }
}

#[test]
fn contents_that_are_skipped_cost_a_way_back() {
    let c = Charges::documented();
    let skipped = c.entry(1, 1) + c.of("a file whose contents are skipped");
    costs(&["f=1", ".wh.f"], c.marker(1) + c.shadow(2) + skipped);
    costs(&["f=", ".wh.f"], c.marker(1) + c.shadow(2) + c.entry(1, 1));
}

#[test]
fn names_of_an_emptied_directory_cost_until_it_is_empty() {
    let c = Charges::documented();
    let swept = |names: u64, bytes| c.of("a name in a directory that a marker") * names + bytes;
    let old = c.entry(1, 1) + c.directory() + c.entry(4, 3) + c.entry(3, 3);
    let marker = c.marker(1);
    costs(
        &["d/ d/abc= d/xyz=", "d/.wh..wh..opq"],
        old + marker + swept(2, 6),
    );
    // What a layer puts there before its second marker is not listed: nothing older can be left.
    let few = c.entry(1, 1) + c.directory() + c.entry(4, 3);
    let new = c.entry(4, 3) + 2 * c.entry(3, 3) + 3 * c.directory();
    costs(
        &[
            "d/ d/abc=",
            "d/.wh..wh..opq d/klm/ d/nop/ d/qrs/ d/.wh..wh..opq",
        ],
        few + marker + new + c.marker(0) + swept(1, 3).max(c.shadow(2 + 3)),
    );
    // The second directory is listed after the first one is empty.
    let other = c.entry(1, 1) + c.directory() + c.entry(4, 3) + c.entry(3, 3);
    costs(
        &[
            "d/ d/abc= d/xyz= e/ e/abc= e/xyz=",
            "d/.wh..wh..opq e/.wh..wh..opq",
        ],
        old + other + 2 * marker + swept(2, 6),
    );
}
