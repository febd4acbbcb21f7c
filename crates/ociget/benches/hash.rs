//! What verifying a blob costs for each of its bytes.

use divan::Bencher;
use divan::counter::BytesCount;
use ociget::Algorithm;

fn main() {
    divan::main();
}

/// As the network hands them over.
const CHUNK: usize = 64 << 10;

#[divan::bench(args = [Algorithm::Sha256, Algorithm::Sha512])]
fn verified(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let chunk = vec![0x5A; CHUNK];
    bencher.counter(BytesCount::new(16 * CHUNK)).bench(|| {
        let mut hasher = algorithm.hasher();
        for _ in 0..16 {
            hasher.update(divan::black_box(&chunk));
        }
        hasher.finish()
    });
}
