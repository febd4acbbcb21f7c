//! The budget of the recording, and of the memory in which it waits.

use super::*;
use crate::layer::EntryKind;
use crate::staging::Staging;

fn spool(directory: &std::path::Path, most: u64) -> Spool {
    let staged = StagedFile::create(directory, Staging::new(0, None)).unwrap();
    let file = Spare::new(staged);
    let end = End {
        file: file.clone(),
        offset: 0,
        most,
    };
    Spool {
        state: Some(State::Between(end)),
        file,
        caps: Caps::of(&Limits::default()),
        layers: Vec::new(),
        done: Vec::new(),
        recovers: None,
        recovered: Vec::new(),
        floor: most,
        room: 0,
        block_size: 4096,
        rules: BlockRules::of(&ImageOptions::default()),
    }
}

#[test]
fn entries_wait_for_the_encoder_in_small_pieces() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = spool(directory.path(), u64::MAX);
    spool.begin();
    for n in 0..5000_u32 {
        let entry = Entry {
            path: n.to_be_bytes().repeat(100),
            kind: EntryKind::File { size: 1 },
            ..Entry::default()
        };
        spool.with(|layer| layer.entry(&entry));
        let Some(State::Layer(layer)) = &spool.state else {
            panic!("it was given up");
        };
        assert!(layer.buffer.len() < PIECE + 1000, "{n}");
    }
}

/// Returns bytes that do not compress.
fn incompressible(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn file_beyond_its_bytes_is_given_up_and_freed() {
    let directory = tempfile::tempdir().unwrap();
    for most in [1, 100 << 10, 1 << 20] {
        let mut spool = spool(directory.path(), most);
        spool.begin();
        let entry = Entry {
            path: incompressible(1 << 18),
            ..Entry::default()
        };
        // Each path shares nothing with the one before.
        let entries = (0..=255_u8).map(|n| Entry {
            path: entry.path.iter().map(|byte| byte.wrapping_add(n)).collect(),
            ..Entry::default()
        });
        for (n, entry) in entries.enumerate() {
            spool.with(|layer| layer.entry(&entry));
            if spool.state.is_none() {
                break;
            }
            assert!(n < 8, "{most}");
        }
        assert!(spool.file.take().is_none(), "{most}: its space is not free");
    }
}

#[test]
fn file_that_was_taken_away_ends_the_writing_down() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = spool(directory.path(), u64::MAX);
    spool.begin();
    let entry = Entry {
        path: incompressible(1 << 20),
        ..Entry::default()
    };
    spool.with(|layer| layer.entry(&entry));
    assert!(spool.state.is_some());
    drop(spool.file.take());
    spool.with(|layer| layer.entry(&Entry::default()));
    spool.with(Layer::flush);
    assert!(spool.state.is_none());
}
