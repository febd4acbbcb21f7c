//! Paths in a normal form, in which each has one spelling.

use crate::layer::error::{Fault, Limit, Malformed};
use crate::layer::limits::Limits;
use crate::layer::measure::Measure;

/// The longest symlink target that Linux can follow, and that squashfs can hold.
pub(super) const SYMLINK_MAX: u64 = 4095;

/// What the names of markers begin with (OCI image-spec, `layer.md`).
const MARKER: &[u8] = b".wh.";

/// Appends a path's components to `path`, which is empty or holds the front half of the same name. `what` is the noun
/// for messages: "name", "hard link's target".
///
/// A leading `/` means the root of the image, as does `.`; both leave nothing in the normal form.
pub(super) fn push_normalised(
    path: &mut Vec<u8>,
    raw: &[u8],
    what: &'static str,
    limits: &Limits,
) -> Result<(), Fault> {
    if raw.contains(&0) {
        return Err(Malformed::Nul(what).into());
    }
    for component in raw.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return Err(Malformed::DotDot(what).into()),
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(component);
        // squashfs cannot hold longer names, whatever the option allows. A marker is never stored, and is longer than
        // the name that it removes.
        let name_max = limits.name.min(sqfs_writer::NAME_MAX);
        let name = component.strip_prefix(MARKER).unwrap_or(component);
        Limit::check(Measure::Name, name.len() as u64, name_max as u64)?;
        Limit::check(Measure::Path, path.len() as u64, limits.path as u64)?;
    }
    Ok(())
}

/// Checks that a path is not too deep.
pub(super) fn check_depth(path: &[u8], limits: &Limits) -> Result<(), Limit> {
    let depth = path.split(|byte| *byte == b'/').count();
    Limit::check(Measure::Depth, depth as u64, limits.depth as u64)
}

/// Checks a symlink target. Targets are data; the only condition is that the kernel could hold it. No header gives one with a NUL.
pub(super) fn check_symlink(target: &[u8]) -> Result<(), Fault> {
    let what = "symlink's target";
    if target.is_empty() {
        return Err(Malformed::Empty(what).into());
    }
    Limit::check(Measure::SymlinkTarget, target.len() as u64, SYMLINK_MAX)?;
    Ok(())
}
