//! What the probe writes to the second disk.
//!
//! ```text
//! offset  length  field
//!      0       8  "HPCCRPT1"
//!      8       8  length of the payload, little-endian
//!     16      32  SHA-256 of the payload
//!     48       *  payload: lines `name=value` of evidence, an empty line, the listing
//! ```
//!
//! The disk is larger than the report and all zeros before, so a guest that dies half-way leaves no report.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};

use sha2::{Digest, Sha256};
use tree_listing::{Listing, escape, unescape};

const MAGIC: [u8; 8] = *b"HPCCRPT1";

/// Facts about the running guest, by name. Values are bytes of files or calls, so they are escaped in the text.
pub type Evidence = BTreeMap<String, Vec<u8>>;

/// Observations of a guest about itself and its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Facts about the run.
    pub evidence: Evidence,
    /// The root file system.
    pub listing: Listing,
}

/// A disk without a report that can be believed.
#[derive(Debug)]
pub enum DamagedReport {
    /// The disk could not be read.
    Io(io::Error),
    /// The disk is as it was before the guest started.
    Missing,
    /// The disk holds something else.
    Malformed(String),
}

impl fmt::Display for DamagedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot read the guest's report: {error}"),
            Self::Missing => f.write_str("the guest left no report"),
            Self::Malformed(what) => write!(f, "the guest's report is damaged: {what}"),
        }
    }
}

impl std::error::Error for DamagedReport {}

impl From<io::Error> for DamagedReport {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Report {
    /// Returns the report as it is written to the disk.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        for (name, value) in &self.evidence {
            payload.extend_from_slice(format!("{name}={}\n", escape(value)).as_bytes());
        }
        payload.push(b'\n');
        payload.extend_from_slice(&self.listing.to_text());
        let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        let digest: [u8; 32] = Sha256::digest(&payload).into();
        [MAGIC.as_slice(), &length.to_le_bytes(), &digest, &payload].concat()
    }

    /// Reads a report from the start of a disk.
    ///
    /// # Errors
    ///
    /// Each way in which there is no whole report is a [`DamagedReport`].
    pub fn decode(mut disk: impl Read) -> Result<Self, DamagedReport> {
        let malformed = |what: &str| DamagedReport::Malformed(what.to_owned());
        let mut magic = [0; 8];
        let mut length = [0; 8];
        let mut digest = [0; 32];
        for field in [magic.as_mut_slice(), &mut length, &mut digest] {
            disk.read_exact(field)?;
        }
        if magic == [0; 8] {
            return Err(DamagedReport::Missing);
        }
        if magic != MAGIC {
            return Err(malformed("it does not begin with its magic"));
        }
        let length = u64::from_le_bytes(length);
        let mut payload = Vec::new();
        let read = disk
            .take(length)
            .read_to_end(&mut payload)
            .map_err(DamagedReport::Io)?;
        if u64::try_from(read) != Ok(length) || <[u8; 32]>::from(Sha256::digest(&payload)) != digest
        {
            return Err(malformed("its digest is of something else"));
        }
        let blank = payload
            .windows(2)
            .position(|pair| pair == b"\n\n")
            .ok_or_else(|| malformed("no evidence"))?;
        let (evidence, listing) = payload.split_at(blank);
        Ok(Self {
            evidence: parse_evidence(evidence)
                .ok_or_else(|| malformed("evidence of an unknown form"))?,
            listing: Listing::parse(listing.get(2..).unwrap_or_default())
                .map_err(|error| DamagedReport::Malformed(error.to_string()))?,
        })
    }
}

fn parse_evidence(text: &[u8]) -> Option<Evidence> {
    let line = |line: &str| {
        line.split_once('=')
            .and_then(|(name, value)| Some((name.to_owned(), unescape(value)?)))
    };
    std::str::from_utf8(text).ok()?.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let text = "tree-listing 1\n/ directory mode=0755 uid=0 gid=0 size=3 mtime=0 links=2\n";
        Report {
            evidence: [
                ("pid".into(), b"1".to_vec()),
                ("cmdline".into(), b"root=/dev/vda ro\n\n".to_vec()),
            ]
            .into(),
            listing: Listing::parse(text.as_bytes()).unwrap(),
        }
    }

    #[test]
    fn a_report_reads_back_from_a_larger_disk() {
        let mut disk = report().encode();
        disk.resize(disk.len() + 512, 0);
        assert_eq!(Report::decode(disk.as_slice()).unwrap(), report());
    }

    #[test]
    fn half_a_report_is_none() {
        let whole = report().encode();
        assert!(matches!(
            Report::decode([0; 4096].as_slice()),
            Err(DamagedReport::Missing)
        ));
        for cut in 0..whole.len() {
            let mut disk = whole.clone();
            if let Some(byte) = disk.get_mut(cut) {
                *byte ^= 0x10;
            }
            assert!(
                Report::decode(disk.as_slice()).is_err(),
                "byte {cut} changed"
            );
            assert!(
                Report::decode(whole.get(..cut).unwrap()).is_err(),
                "cut at {cut}"
            );
        }
    }
}
