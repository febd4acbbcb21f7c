//! Archives that come once, in every order.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::Digest;
use crate::open_archive::Spool;
use crate::source::piece::Piece;

/// A spool that counts what it keeps.
struct Counted(Arc<AtomicU64>, Arc<File>);

impl Spool for Counted {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.1.write_all_at(bytes, offset)
    }

    fn file(&mut self) -> io::Result<Arc<File>> {
        Ok(Arc::clone(&self.1))
    }
}

/// Bytes in pieces of odd sizes.
struct Dripping(io::Cursor<Vec<u8>>, usize);

impl Read for Dripping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = self.1 * 7 % 1009 + 1;
        let count = buffer.len().min(self.1);
        self.0.read(&mut buffer[..count])
    }
}

fn header(name: &str, kind: u8, size: usize, link: &str) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[148..156].fill(b' ');
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, body) in members {
        bytes.extend(header(name, b'0', body.len(), ""));
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn open(bytes: Vec<u8>) -> (Arc<Arriving>, Arc<AtomicU64>) {
    let kept = Arc::new(AtomicU64::new(0));
    let file = Arc::new(tempfile::tempfile().unwrap());
    let stream = ArchiveStream::new(
        Box::new(Dripping(io::Cursor::new(bytes), 1)),
        Box::new(Counted(Arc::clone(&kept), file)),
    );
    (Arc::new(Arriving::new(stream, Arc::new(|| true))), kept)
}

/// Says at its second call that it filled more than the buffer.
struct Overstating(Dripping, bool);

impl Read for Overstating {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        let tells_the_truth = !std::mem::replace(&mut self.1, true);
        Ok(if tells_the_truth {
            count
        } else {
            buffer.len() + 1
        })
    }
}

/// rust-lang/rust#80895, #82892
#[tokio::test]
async fn reader_that_overstates_its_count_ends_the_archive() {
    let bytes = archive(&[("a", &[1; 3000]), ("b", b"b")]);
    let reader = Overstating(Dripping(io::Cursor::new(bytes), 1), false);
    let file = Arc::new(tempfile::tempfile().unwrap());
    let spool = Counted(Arc::default(), file);
    let stream = ArchiveStream::new(Box::new(reader), Box::new(spool));
    let archive = Arriving::new(stream, Arc::new(|| true));
    for _ in 0..2 {
        let error = archive.find("b").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        assert!(error.to_string().starts_with("its reader returned "));
    }
}

async fn read(archive: &Arriving, name: &str) -> io::Result<Vec<u8>> {
    let found = archive.find(name).await?.ok_or(io::ErrorKind::NotFound)?;
    let mut bytes = Vec::new();
    for piece in found.pieces.iter() {
        let &Piece::Data { offset, length } = piece else {
            panic!("a hole in {name}");
        };
        let mut at = offset;
        while at < offset + length {
            let chunk = archive
                .read(at, (offset + length - at).min(1000) as usize)
                .await?;
            // A reader that did not wait for the answer asks again.
            assert_eq!(archive.read(at, chunk.len()).await?, chunk);
            at += chunk.len() as u64;
            bytes.extend_from_slice(&chunk);
        }
    }
    Ok(bytes)
}

fn blob(seed: u8, size: usize) -> (String, Vec<u8>) {
    let body: Vec<u8> = (0..=255)
        .cycle()
        .map(|n: u8| n.wrapping_mul(31) ^ seed)
        .take(size)
        .collect();
    (format!("blobs/sha256/{}", Digest::of(&body).hex()), body)
}

#[tokio::test]
async fn newest_layer_passes_through_and_foreign_blobs_are_passed_over() {
    let (old, new, foreign) = (blob(1, 3000), blob(2, 40_000), blob(3, 9000));
    let other = vec![5; 700];
    let index = b"index".to_vec();
    // Where each stands, and what is then kept beside the index.
    let part = |which: usize| match which {
        0 => (old.0.as_str(), &old.1[..]),
        1 => (new.0.as_str(), &new.1[..]),
        2 => (foreign.0.as_str(), &foreign.1[..]),
        _ => ("readme", &other[..]),
    };
    for order in [
        [0, 1, 2, 3],
        [1, 0, 2, 3],
        [2, 3, 1, 0],
        [3, 2, 0, 1],
        [1, 2, 3, 0],
    ] {
        let members: Vec<_> = [("index.json", &index[..])]
            .into_iter()
            .chain(order.map(part))
            .collect();
        let (archive, kept) = open(archive(&members));
        assert_eq!(read(&archive, "index.json").await.unwrap(), index);
        let plan = Plan {
            needed: [old.0.clone(), new.0.clone()].into(),
            once: Some(new.0.clone()),
        };
        archive.plan(plan).await;
        // Both at the same time, in whatever order they come.
        let (first, second) = tokio::join!(read(&archive, &old.0), read(&archive, &new.0));
        assert_eq!(first.unwrap(), old.1);
        assert_eq!(second.unwrap(), new.1);
        assert_eq!(
            read(&archive, &old.0).await.unwrap(),
            old.1,
            "a second time"
        );
        let error = read(&archive, &new.0).await.unwrap_err().to_string();
        assert!(error.contains("was not kept"), "{error}");
        let kept = usize::try_from(kept.load(Ordering::Relaxed)).unwrap();
        let least = index.len() + old.1.len();
        assert!(
            kept == least || kept == least + other.len(),
            "{order:?} {kept}"
        );
    }
}

#[tokio::test]
async fn everything_before_the_plan_is_kept_until_last_need() {
    let (layer, foreign) = (blob(1, 3000), blob(2, 4000));
    let members = [
        (&*layer.0, &layer.1[..]),
        ("index.json", b"{}"),
        (&*foreign.0, &foreign.1[..]),
        ("readme", &[1; 5000]),
    ];
    let (archive, kept) = open(archive(&members));
    assert_eq!(read(&archive, "index.json").await.unwrap(), b"{}");
    archive
        .plan(Plan {
            needed: [layer.0.clone()].into(),
            once: Some(layer.0.clone()),
        })
        .await;
    assert_eq!(read(&archive, &layer.0).await.unwrap(), layer.1);
    assert_eq!(read(&archive, &layer.0).await.unwrap(), layer.1);
    archive.finish().await.unwrap();
    assert_eq!(kept.load(Ordering::Relaxed), 3002);
    assert!(archive.find("missing").await.unwrap().is_none());
}

#[tokio::test]
async fn readers_do_not_wait_for_a_reader_that_went() {
    let (old, new) = (blob(1, 3000), blob(2, 400_000));
    let members = [
        ("index.json", &b"{}"[..]),
        (&*new.0, &new.1),
        (&*old.0, &old.1),
    ];
    let (archive, _) = open(archive(&members));
    archive.find("index.json").await.unwrap();
    archive
        .plan(Plan {
            needed: [old.0.clone(), new.0.clone()].into(),
            once: Some(new.0.clone()),
        })
        .await;
    let found = archive.find(&new.0).await.unwrap().unwrap();
    let Piece::Data { offset, .. } = found.pieces[0] else {
        panic!()
    };
    archive.read(offset, 10).await.unwrap();
    let (other, ()) = tokio::join!(read(&archive, &old.0), async {
        tokio::task::yield_now().await;
        drop(found);
    });
    assert_eq!(other.unwrap(), old.1);
}

#[tokio::test]
async fn damage_is_what_it_is_in_a_file() {
    let (layer, foreign) = (blob(1, 3000), blob(2, 4000));
    let index = ("index.json", &b"{}"[..]);
    let whole = archive(&[index, (&layer.0, &layer.1), (&foreign.0, &foreign.1)]);
    let other = vec![7; 4000];
    let repeated = |body: &[u8]| {
        archive(&[
            index,
            (&foreign.0, &foreign.1),
            (&layer.0, &layer.1),
            (&foreign.0, body),
            (&layer.0, &layer.1),
        ])
    };
    let mut broken = whole.clone();
    broken[512 + 512 + 512 + 3072 + 150] ^= 1;
    for (bytes, says) in [
        (whole.clone(), None),
        (whole[..whole.len() - 1024].to_vec(), None),
        (whole[..whole.len() - 1024 - 96].to_vec(), None),
        (
            whole[..whole.len() - 1024 - 97].to_vec(),
            Some("goes on beyond the end"),
        ),
        (whole[..whole.len() - 1024 - 4096 - 100].to_vec(), None),
        (broken, Some("no tar header")),
        (repeated(&foreign.1), None),
        (repeated(&other), Some("a name that was there before")),
        (repeated(b"short"), Some("a name that was there before")),
    ] {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let in_place = crate::source::tar_index::Members::read(&file, || true).map(drop);
        let (archive, _) = open(bytes);
        let once = async {
            read(&archive, "index.json").await?;
            archive
                .plan(Plan {
                    needed: [layer.0.clone()].into(),
                    once: Some(layer.0.clone()),
                })
                .await;
            assert_eq!(read(&archive, &layer.0).await?, layer.1);
            archive.finish().await
        };
        let once = once.await;
        let text = |outcome: io::Result<()>| outcome.err().map(|error| error.to_string());
        let (in_place, once) = (text(in_place), text(once));
        assert_eq!(in_place, once);
        assert_eq!(once.is_some(), says.is_some(), "{once:?}");
        assert!(once.unwrap_or_default().contains(says.unwrap_or_default()));
    }
}
