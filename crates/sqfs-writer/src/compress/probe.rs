//! Decides from a sample of a block whether compression is worth trying.
//!
//! Compressed or encrypted data looks like noise: all bytes are equally frequent, and no piece occurs twice. The sample is
//! always taken from the same positions, so the decision is a function of the block. In doubt it is to try.

/// Smaller blocks are not sampled.
const LEN_MIN: usize = 16 << 10;

/// Length and number of the sampled pieces, which are at equal distances.
const PIECE: usize = 512;
const PIECES: usize = 16;

/// For 8192 bytes of noise, chi-squared against equal frequencies is 255 with a deviation of 23.
/// This is nine deviations above; text has tens of thousands, machine code thousands.
const CHI_SQUARED_MAX: u64 = 460;

/// Returns whether the block may become smaller.
pub(crate) fn is_worth_trying(block: &[u8]) -> bool {
    if block.len() < LEN_MIN {
        return true;
    }
    let mut counts = [0u64; 256];
    let mut sample = 0;
    for piece in pieces(block) {
        sample += piece.len() as u64;
        for &byte in piece {
            if let Some(count) = counts.get_mut(usize::from(byte)) {
                *count += 1;
            }
        }
    }
    // Σ (count - n/256)² / (n/256) = 256/n · Σ count² - n
    let squares: u64 = counts.iter().map(|count| count * count).sum();
    let chi_squared = (256 * squares / sample.max(1)).saturating_sub(sample);
    chi_squared > CHI_SQUARED_MAX || repeats(block)
}

fn pieces(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block
        .chunks(block.len().div_ceil(PIECES).max(1))
        .map(|chunk| chunk.get(..PIECE).unwrap_or(chunk))
}

/// Returns whether a group of 8 bytes occurs twice. Only groups whose hash is one of 16 are entered in the table, so that
/// the choice of a group does not depend on its position.
fn repeats(block: &[u8]) -> bool {
    let mut table = [0u64; 4096];
    let mut found = 0;
    for window in block.windows(8) {
        let Some(&bytes) = window.first_chunk() else {
            continue;
        };
        let group = u64::from_le_bytes(bytes);
        let hash = group.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        if hash >> 60 != 0 {
            continue;
        }
        let place = usize::try_from(hash >> 48 & 0xFFF).unwrap_or_default();
        if let Some(slot) = table.get_mut(place) {
            found += u32::from(*slot == group);
            *slot = group;
        }
    }
    found >= 4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, mut state: u64) -> Vec<u8> {
        let mut step = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        (0..len.div_ceil(8)).flat_map(|_| step()).collect()
    }

    #[test]
    fn noise_is_not_worth_trying_and_everything_else_is() {
        for seed in 1..200 {
            let mut block = noise(128 << 10, seed << 20 | 0x5851_F42D);
            assert!(!is_worth_trying(&block), "{seed}");
            // One half of it twice: every byte as frequent as before.
            block.copy_within(..64 << 10, 64 << 10);
            assert!(is_worth_trying(&block), "{seed}");
            let text: Vec<u8> = block.iter().map(|byte| byte & 0x7F).collect();
            assert!(is_worth_trying(&text), "{seed}");
        }
        assert!(is_worth_trying(&noise(LEN_MIN - 8, 7)));
        assert!(is_worth_trying(&vec![0; 1 << 20]));
    }
}
