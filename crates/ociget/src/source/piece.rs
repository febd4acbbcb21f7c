//! The position of a part of a member.

/// Bytes that follow each other: of the file, or zeros that the file does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Data { offset: u64, length: u64 },
    Zeros(u64),
}

impl Piece {
    pub(crate) fn length(self) -> u64 {
        match self {
            Self::Data { length, .. } | Self::Zeros(length) => length,
        }
    }
}
