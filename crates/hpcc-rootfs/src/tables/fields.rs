//! Little-endian fields, taken from the front one by one.

/// The rest of a structure on disk. Fields beyond its end read as zeros, so a structure is first read in one piece of
/// its full size.
#[derive(Debug)]
pub(super) struct Fields<'b>(pub(super) &'b [u8]);

impl Fields<'_> {
    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    pub(super) fn i16(&mut self) -> i16 {
        i16::from_le_bytes(self.take())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_first_chunk().unwrap_or((&[0; N], &[]));
        self.0 = rest;
        *head
    }
}

/// Returns the length without the bit that marks a block as stored uncompressed.
pub(super) fn stored_length(word: u32) -> u64 {
    u64::from(word & 0x00FF_FFFF)
}
