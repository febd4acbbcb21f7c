//! That the matrix finds damage: an image cut short, or with one bit changed, wherever that is.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use sqfs_writer::Compressor;
use xtask::disk::Disk;
use xtask::matrix::{Cell, Special, verify_disks};
use xtask::verify::{Failure, VerifyOptions};

/// What the guest says of every damaged image, because it also compares bytes.
const BYTES: &str = "its bytes are not those that were written";

/// A disk, with the length in bytes of what the images on it say that they have.
struct Lab {
    disk: Disk,
}

impl Lab {
    /// Adds an image, and returns its number and its bytes.
    fn add(&mut self, cell: Cell, name: &str) -> (usize, Vec<u8>) {
        cell.add_to(&mut self.disk, name).unwrap();
        let number = self.disk.images().len() - 1;
        (number, self.disk.read(number).unwrap())
    }

    fn flip(&mut self, image: usize, at: u64) {
        let start = self.disk.images()[image].start();
        self.disk.flip(start + at, 0x10).unwrap();
    }
}

/// Returns a number of the superblock, or of a table.
fn number(bytes: &[u8], at: u64) -> u64 {
    let at = usize::try_from(at).unwrap();
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn damaged_images_of_the_matrix_fail_and_others_pass() {
    let codecs = [
        (Compressor::Gzip { level: 6 }, 4096),
        (Compressor::Zstd { level: 3 }, 131_072),
        (Compressor::Xz { level: 1 }, 1 << 20),
        (Compressor::Lz4 { high: false }, 32_768),
        (Compressor::None, 8192),
    ];
    let mut lab = Lab {
        disk: Disk::new().unwrap(),
    };
    // Damage that the kernel, or the listing of what it sees, has to find without the help of a digest of the image.
    let mut seen = Vec::new();
    // Damage that changes nothing a kernel looks at.
    let mut unseen = Vec::new();
    for (codec, block_size) in codecs {
        let special = Special::Types;
        let cell = Cell {
            codec,
            block_size,
            special,
        };
        let (_, bytes) = lab.add(cell, &format!("{codec}, intact"));
        let [used, ids, inodes, directories] = [40, 48, 64, 72].map(|field| number(&bytes, field));
        for (what, at) in [
            ("data", 96 + 300),
            ("inodes", inodes + 2 + 2),
            ("directories", directories + 2 + 20),
            ("ids", number(&bytes, ids) + 2 + 1),
            ("place of the ids", ids),
            ("magic", 0),
            ("codec", 20),
            ("root", 32),
        ] {
            let name = format!("{codec}, {what} flipped");
            let (image, _) = lab.add(cell, &name);
            lab.flip(image, at);
            seen.push(name);
        }
        for (what, length) in [
            ("a sector", 512),
            ("half", used / 2),
            ("all tables", inodes),
            ("all but a sector", used - 513),
        ] {
            let name = format!("{codec}, cut to {what}");
            let (image, _) = lab.add(cell, &name);
            lab.disk.cut(image, length).unwrap();
            seen.push(name);
        }
        let name = format!("{codec}, time of making flipped");
        let (image, _) = lab.add(cell, &name);
        lab.flip(image, 8);
        unseen.push(name);
    }
    let cell = |special| Cell {
        codec: Compressor::Gzip { level: 6 },
        block_size: 4096,
        special,
    };
    lab.add(cell(Special::Xattrs), "xattrs, intact");
    let (image, bytes) = lab.add(cell(Special::Xattrs), "xattrs flipped");
    lab.flip(image, number(&bytes, number(&bytes, 56)) + 2 + 30);
    seen.push("xattrs flipped".into());
    lab.add(cell(Special::Sparse), "sparse, intact");
    let (image, _) = lab.add(cell(Special::Sparse), "sparse flipped");
    lab.flip(image, 96 + 300);
    seen.push("sparse flipped".into());

    let options = VerifyOptions {
        timeout: Duration::from_secs(600),
        ..VerifyOptions::default()
    };
    let error = verify_disks(&[lab.disk], &options).unwrap_err();
    let failure: Failure = error.downcast().unwrap();

    let of = |name: &str| -> Vec<&str> {
        let prefix = format!("{name}: ");
        let reasons = failure.reasons.iter();
        reasons
            .filter_map(|reason| reason.strip_prefix(&prefix))
            .collect()
    };
    for name in &seen {
        let reasons = of(name);
        assert!(
            reasons.contains(&BYTES) && reasons.len() > 1,
            "{name}: {reasons:?}\n{failure}"
        );
    }
    for name in &unseen {
        assert_eq!(of(name), [BYTES], "{failure}");
    }
    let others = failure
        .reasons
        .iter()
        .filter(|reason| reason.contains("intact"));
    assert_eq!(others.count(), 0, "{failure}");
    assert!(
        !failure
            .reasons
            .iter()
            .any(|reason| reason.contains("no report")),
        "{failure}"
    );
}
