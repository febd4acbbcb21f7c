//! The verity superblock, as `veritysetup` writes and reads it. A kernel that receives a device-mapper table does not
//! read it.

use super::block::{BLOCK, DIGEST};
use super::facts::{Salt, Uuid};

/// Encodes `struct verity_sb` of cryptsetup's `lib/verity/verity.c`, followed by zeros up to the length of a block. All
/// numbers are little-endian.
pub(super) fn encode(salt: &Salt, uuid: &Uuid, data_blocks: u64) -> Vec<u8> {
    const VERSION: u32 = 1;
    const HASH_TYPE: u32 = 1;
    const BLOCK_SIZE: u32 = 4096;
    const SALT_SIZE: u16 = 32;
    let mut bytes = Vec::with_capacity(BLOCK);
    bytes.extend_from_slice(b"verity\0\0");
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&HASH_TYPE.to_le_bytes());
    bytes.extend_from_slice(&uuid.0);
    let mut algorithm = [0; DIGEST];
    for (place, byte) in algorithm.iter_mut().zip(b"sha256") {
        *place = *byte;
    }
    bytes.extend_from_slice(&algorithm);
    bytes.extend_from_slice(&BLOCK_SIZE.to_le_bytes());
    bytes.extend_from_slice(&BLOCK_SIZE.to_le_bytes());
    bytes.extend_from_slice(&data_blocks.to_le_bytes());
    bytes.extend_from_slice(&SALT_SIZE.to_le_bytes());
    bytes.extend_from_slice(&[0; 6]);
    bytes.extend_from_slice(&salt.0);
    bytes.resize(BLOCK, 0);
    bytes
}
