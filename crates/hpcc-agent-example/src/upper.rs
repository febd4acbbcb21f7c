//! The upper directory of the overlay, whose owner, mode and extended attributes are those of the root.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{
    Gid, Mode, Uid, XattrFlags, chmod, chown, getxattr, listxattr, mkdir, rename, setxattr,
};
use rustix::io::Errno;

use crate::say;

/// Makes the directory like `/`. One that exists stays as the commands of earlier boots left it.
pub(crate) fn make(upper: &Path) -> Result<(), Errno> {
    make_like(Path::new("/"), upper)
}

fn make_like(root: &Path, upper: &Path) -> Result<(), Errno> {
    if fs::symlink_metadata(upper).is_ok() {
        return Ok(());
    }
    // Under another name first: a machine that is switched off here must not leave a directory with another owner.
    let new = upper.with_extension("new");
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    match mkdir(&new, Mode::from_raw_mode(0o700)) {
        Err(Errno::EXIST) => {
            fs::remove_dir(&new).map_err(errno)?;
            mkdir(&new, Mode::from_raw_mode(0o700))?;
        }
        made => made?,
    }
    let found = fs::metadata(root).map_err(errno)?;
    let (user, group) = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
    chown(&new, Some(user), Some(group))?;
    chmod(&new, Mode::from_raw_mode(found.mode()))?;
    copy_xattrs(root, &new);
    rename(&new, upper)
}

/// Copies the extended attributes that the layer's file system takes. A tmpfs takes those of users since Linux 6.6 alone.
fn copy_xattrs(root: &Path, upper: &Path) {
    let mut names = vec![0; 1 << 16];
    let length = listxattr(root, &mut *names).unwrap_or_default();
    let names = names.get(..length).unwrap_or_default();
    for name in names.split(|byte| *byte == 0) {
        // The overlay's own mean something else in an upper layer.
        if name.is_empty() || name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let mut value = vec![0; 1 << 16];
        let copied = getxattr(root, name, &mut *value).and_then(|length| {
            let value = value.get(..length).unwrap_or_default();
            setxattr(upper, name, value, XattrFlags::empty())
        });
        if let Err(error) = copied {
            say(&format!(
                "warning: the root loses its extended attribute {}: {error}",
                name.escape_ascii()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_layer_is_like_the_root_and_an_old_one_stays() {
        let place = tempfile::tempdir().unwrap();
        let [root, upper] = ["root", "upper"].map(|name| place.path().join(name));
        fs::create_dir(&root).unwrap();
        // A machine that was switched off meanwhile leaves this one.
        fs::create_dir(place.path().join("upper.new")).unwrap();
        chmod(&root, Mode::from_raw_mode(0o1770)).unwrap();
        let _ = setxattr(&root, "user.kept", b"value", XattrFlags::empty());
        make_like(&root, &upper).unwrap();
        let modes = || [&root, &upper].map(|path| fs::metadata(path).unwrap().mode() & 0o7777);
        assert_eq!(modes(), [0o1770, 0o1770]);
        let value = |path| {
            let mut value = [0; 16];
            let length = getxattr(path, "user.kept", &mut value[..]).unwrap_or_default();
            value[..length].to_vec()
        };
        assert_eq!(value(&upper), value(&root));
        chmod(&root, Mode::from_raw_mode(0o755)).unwrap();
        make_like(&root, &upper).unwrap();
        assert_eq!(modes(), [0o755, 0o1770]);
    }
}
