//! Generated sparse files.

use super::Odd;
use super::generate::{BLOCK, Header, Random, extended};

/// Returns a sparse file, in one of the four forms, now and then with a wrong map.
pub(super) fn sparse(random: &mut Random, odd: &mut Vec<Odd>) -> Vec<u8> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    for _ in 0..random.below(7) {
        at += usize::try_from(random.below(3)).unwrap() * 512;
        let length = usize::try_from(1 + random.below(700)).unwrap();
        runs.push((at, length));
        at += length + 300;
    }
    let mut real = at + usize::try_from(random.below(2)).unwrap() * 1000;
    let mut data = vec![b's'; runs.iter().map(|(_, length)| length).sum()];
    if random.one_in(8) && !runs.is_empty() {
        odd.push(Odd::WrongMap);
        match random.below(4) {
            0 => real = runs[0].0,
            1 => data.push(b'x'),
            2 => runs.reverse(),
            _ => runs[0].1 += 1,
        }
    } else if random.one_in(2) {
        // What writers put at the end of a map.
        runs.push((real, 0));
    }
    let stored = data.len();
    let decimal = |number: usize| number.to_string().into_bytes();
    let list = |separator: &str| {
        let numbers = runs.iter().flat_map(|(offset, length)| [offset, length]);
        numbers
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(separator)
    };
    let made_up = b"GNUSparseFile.1/s";
    match random.below(4) {
        0 => old_sparse(&runs, real, &data),
        1 => {
            let mut records = vec![
                ("GNU.sparse.size", decimal(real)),
                ("GNU.sparse.numblocks", decimal(runs.len())),
            ];
            for (offset, length) in &runs {
                records.push(("GNU.sparse.offset", decimal(*offset)));
                records.push(("GNU.sparse.numbytes", decimal(*length)));
            }
            let header = Header::new(b'0', b"s").size(stored);
            [extended(b'x', &records), header.with(&data)].concat()
        }
        2 => {
            let records = vec![
                ("GNU.sparse.size", decimal(real)),
                ("GNU.sparse.numblocks", decimal(runs.len())),
                ("GNU.sparse.name", b"s".to_vec()),
                ("GNU.sparse.map", list(",").into_bytes()),
            ];
            let header = Header::new(b'0', made_up).size(stored);
            [extended(b'x', &records), header.with(&data)].concat()
        }
        _ => {
            let records = vec![
                ("GNU.sparse.major", b"1".to_vec()),
                ("GNU.sparse.minor", b"0".to_vec()),
                ("GNU.sparse.name", b"s".to_vec()),
                ("GNU.sparse.realsize", decimal(real)),
            ];
            let mut body = format!("{}\n", runs.len()).into_bytes();
            for (offset, length) in &runs {
                body.extend(format!("{offset}\n{length}\n").bytes());
            }
            body.resize(body.len().next_multiple_of(BLOCK), 0);
            body.extend(&data);
            let header = Header::new(b'0', made_up).size(body.len());
            [extended(b'x', &records), header.with(&body)].concat()
        }
    }
}

fn old_sparse(runs: &[(usize, usize)], real: usize, data: &[u8]) -> Vec<u8> {
    let slots = |runs: &[(usize, usize)]| {
        let slot = |(offset, length): &(usize, usize)| format!("{offset:011o}\0{length:011o}\0");
        runs.iter().map(slot).collect::<String>().into_bytes()
    };
    let (first, rest) = runs.split_at(runs.len().min(4));
    let header = Header::new(b'S', b"s")
        .put(257, b"ustar  \0")
        .size(data.len());
    let header = header.put(386, &slots(first));
    let header = header.put(483, format!("{real:011o}\0").as_bytes());
    if rest.is_empty() {
        return header.with(data);
    }
    let mut bytes = header.put(482, b"\x01").with(b"");
    bytes.extend(slots(rest));
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}
