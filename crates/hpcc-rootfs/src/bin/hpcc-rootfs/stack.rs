//! The stack of the main thread, which the kernel maps page by page.

use std::hint::black_box;

use rustix::process::{Resource, getrlimit};

/// What the main thread uses at most: 470 kB were measured in debug builds, 190 kB in release builds.
const NEEDED: usize = 640 << 10;

/// Takes the stack at the start where address space is limited (`ulimit -v`). The kernel ends a program whose stack cannot
/// grow with SIGSEGV, without a word. A shortage elsewhere is reported.
pub(crate) fn take() {
    let is_limited = getrlimit(Resource::As).current.is_some();
    let limit = getrlimit(Resource::Stack).current;
    let has_room = limit.is_none_or(|limit| limit > 2 * NEEDED as u64);
    if is_limited && has_room {
        touch();
    }
}

/// Uses the stack once. It never shrinks.
#[inline(never)]
fn touch() {
    // A constant would not be on the stack.
    black_box(&mut [black_box(0_u8); NEEDED]);
}
