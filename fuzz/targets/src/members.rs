//! Tar archives from a text that mutations keep meaningful.
//!
//! The text is members separated by the byte 0xff, which no JSON holds. The first line of a member is its name, with `>` and
//! a target for a link; the rest is its contents. A name that ends in `$` ends in the hex digits of the contents' digest.
//! In contents, `$1` stands for the members `"digest":…,"size":…` of the member after it, `@1` for its name, so that
//! mutations get past hashes. An input that begins with 0xfe is an archive as it is, with its checksums set right.

use ociget::Digest;

const BLOCK: usize = 512;

/// Returns the archive that an input stands for.
pub(crate) fn archive(input: &[u8]) -> Vec<u8> {
    if let Some((0xfe, raw)) = input.split_first() {
        let mut tar = raw.to_vec();
        for block in tar.chunks_exact_mut(BLOCK) {
            if block.get(257..262) == Some(b"ustar") {
                seal(block);
            }
        }
        return tar;
    }
    let mut tar = Vec::new();
    for member in linked(input) {
        let (kind, size) = match member.link {
            Some(_) => (b'2', 0),
            None => (b'0', member.contents.len()),
        };
        let mut block = [0; BLOCK];
        put(&mut block, 0, &member.name, 100);
        put(&mut block, 100, b"0000644", 8);
        put(&mut block, 124, format!("{size:011o}").as_bytes(), 12);
        block[156] = kind;
        put(
            &mut block,
            157,
            member.link.as_deref().unwrap_or_default(),
            100,
        );
        put(&mut block, 257, b"ustar\x0000", 8);
        seal(&mut block);
        tar.extend(block);
        if member.link.is_none() {
            tar.extend(&member.contents);
            tar.resize(tar.len().next_multiple_of(BLOCK), 0);
        }
    }
    tar.extend([0; 2 * BLOCK]);
    tar
}

/// Returns names and contents of the members that are no links.
pub(crate) fn files(input: &[u8]) -> Vec<(String, Vec<u8>)> {
    let files = linked(input)
        .into_iter()
        .filter(|member| member.link.is_none());
    let named = files.map(|file| (String::from_utf8(file.name).unwrap(), file.contents));
    named.collect()
}

struct Member {
    name: Vec<u8>,
    link: Option<Vec<u8>>,
    contents: Vec<u8>,
    digest: Digest,
}

fn linked(input: &[u8]) -> Vec<Member> {
    // References lead to later members, so the last comes first.
    let mut done: Vec<Member> = Vec::new();
    for text in input.split(|byte| *byte == 0xff).rev() {
        let mut lines = text.splitn(2, |byte| *byte == b'\n');
        let name = lines.next().unwrap_or_default();
        let contents = filled(lines.next().unwrap_or_default(), &done);
        let mut parts = name.splitn(2, |byte| *byte == b'>');
        let mut name = parts.next().unwrap_or_default().to_vec();
        let digest = Digest::of(&contents);
        if name.last() == Some(&b'$') {
            name.pop();
            name.extend(digest.hex().bytes());
        }
        done.push(Member {
            name,
            link: parts.next().map(<[u8]>::to_vec),
            contents,
            digest,
        });
    }
    done.reverse();
    done
}

fn filled(contents: &[u8], later: &[Member]) -> Vec<u8> {
    let mut filled = Vec::new();
    let mut rest = contents.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        let target = rest
            .peek()
            .filter(|_| matches!(byte, b'$' | b'@'))
            .and_then(|digit| char::from(*digit).to_digit(10))
            .and_then(|digit| later.len().checked_sub(digit as usize))
            .and_then(|index| later.get(index));
        let Some(target) = target else {
            filled.push(byte);
            continue;
        };
        rest.next();
        if byte == b'@' {
            filled.extend(&target.name);
        } else {
            let size = target.contents.len();
            let members = format!("\"digest\":\"{}\",\"size\":{size}", target.digest);
            filled.extend(members.bytes());
        }
    }
    filled
}

fn put(block: &mut [u8], at: usize, bytes: &[u8], width: usize) {
    let length = bytes.len().min(width);
    block[at..at + length].copy_from_slice(&bytes[..length]);
}

/// Sets the checksum of a header right.
fn seal(block: &mut [u8]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
