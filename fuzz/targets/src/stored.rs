//! Members in each form in which tar stores names, sizes and contents.

use crate::tar_forms::{BLOCK, FILE, GNU, Header, extended, long, padded, seal};

/// Form in which a member is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// Name and size in POSIX records.
    Records,
    /// The name in a member of its own, the size in base 256.
    LongName,
    /// Without its holes, in GNU's own format.
    OldSparse,
    /// Without its holes, in version 0.0: a record for each number.
    Sparse00,
    /// Without its holes, in version 0.1: a record for the map.
    Sparse01,
    /// Without its holes, in version 1.0: the map before the data.
    Sparse10,
}

/// All forms.
pub(crate) const FORMS: [Form; 6] = [
    Form::Records,
    Form::LongName,
    Form::OldSparse,
    Form::Sparse00,
    Form::Sparse01,
    Form::Sparse10,
];

/// Returns an archive of members, which are names with contents.
pub(crate) fn archive(members: &[(String, Vec<u8>)], form: Form) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, contents) in members {
        tar.extend(member(name, contents, form));
    }
    tar.extend([0; 2 * BLOCK]);
    tar
}

fn member(name: &str, contents: &[u8], form: Form) -> Vec<u8> {
    let runs = runs(contents);
    let stored = || -> Vec<u8> {
        let bytes = runs.iter().map(|&(at, length)| &contents[at..at + length]);
        bytes.collect::<Vec<_>>().concat()
    };
    let numbers: Vec<String> = runs
        .iter()
        .flat_map(|(at, length)| [at.to_string(), length.to_string()])
        .collect();
    let length = contents.len();
    let sparse = |more: Vec<String>, body: Vec<u8>| {
        let mut records = vec![format!("GNU.sparse.name={name}")];
        records.extend(more);
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        let head = extended(b'x', &records);
        [head, file("GNUSparseFile.0/x", body.len()), padded(&body)].concat()
    };
    match form {
        Form::Records => {
            let records = [format!("path={name}"), format!("size={length}")];
            let head = extended(b'x', &[&records[0], &records[1]]);
            [head, file("short", 0), padded(contents)].concat()
        }
        Form::LongName => {
            let mut size = vec![0x80, 0, 0, 0];
            size.extend(u64::try_from(length).unwrap().to_be_bytes());
            let header = Header {
                name: "short",
                size: &size,
                magic: GNU,
                ..FILE
            };
            let head = long(b'L', name.as_bytes());
            [head, header.block(), padded(contents)].concat()
        }
        Form::OldSparse => {
            let head = long(b'L', name.as_bytes());
            let stored = stored();
            [
                head,
                old_sparse(&runs, length, stored.len()),
                padded(&stored),
            ]
            .concat()
        }
        Form::Sparse00 => {
            let mut records = vec![
                format!("GNU.sparse.size={length}"),
                format!("GNU.sparse.numblocks={}", runs.len()),
            ];
            for (number, text) in numbers.iter().enumerate() {
                let key = ["offset", "numbytes"][number % 2];
                records.push(format!("GNU.sparse.{key}={text}"));
            }
            sparse(records, stored())
        }
        Form::Sparse01 => {
            let map = numbers.join(",");
            let records = vec![
                format!("GNU.sparse.size={length}"),
                format!("GNU.sparse.numblocks={}", runs.len()),
                format!("GNU.sparse.map={map}"),
            ];
            sparse(records, stored())
        }
        Form::Sparse10 => {
            let mut map = format!("{}\n", runs.len());
            for number in &numbers {
                map += &format!("{number}\n");
            }
            let records = vec![
                "GNU.sparse.major=1".to_owned(),
                "GNU.sparse.minor=0".to_owned(),
                format!("GNU.sparse.realsize={length}"),
            ];
            sparse(records, [padded(map.as_bytes()), stored()].concat())
        }
    }
}

/// Returns offsets and lengths of what is not a block of zeros. An end of zeros has a run of no bytes, as GNU tar writes it.
fn runs(contents: &[u8]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (number, block) in contents.chunks(BLOCK).enumerate() {
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        let at = number * BLOCK;
        match runs.last_mut() {
            Some((start, length)) if *start + *length == at => *length += block.len(),
            _ => runs.push((at, block.len())),
        }
    }
    let end = runs.last().map_or(0, |(at, length)| at + length);
    if end < contents.len() || runs.is_empty() {
        runs.push((contents.len(), 0));
    }
    runs
}

fn file(name: &str, size: usize) -> Vec<u8> {
    let size = format!("{size:011o}");
    Header {
        name,
        size: size.as_bytes(),
        ..FILE
    }
    .block()
}

/// Returns the header of GNU's own format with a map of four runs, and blocks of 21 more.
fn old_sparse(runs: &[(usize, usize)], length: usize, stored: usize) -> Vec<u8> {
    let size = format!("{stored:011o}");
    let mut block = Header {
        name: "short",
        kind: b'S',
        size: size.as_bytes(),
        magic: GNU,
        ..FILE
    }
    .block();
    let numbers: Vec<u8> = runs
        .iter()
        .flat_map(|(at, length)| format!("{at:011o}\0{length:011o}\0").into_bytes())
        .collect();
    let (first, rest) = numbers.split_at(numbers.len().min(96));
    block[386..386 + first.len()].copy_from_slice(first);
    block[482] = u8::from(!rest.is_empty());
    block[483..494].copy_from_slice(format!("{length:011o}").as_bytes());
    seal(&mut block);
    let mut left = rest.chunks(504).peekable();
    while let Some(numbers) = left.next() {
        let mut more = vec![0; BLOCK];
        more[..numbers.len()].copy_from_slice(numbers);
        more[504] = u8::from(left.peek().is_some());
        block.extend(more);
    }
    block
}
