//! A file that takes the place of another one: its bytes are new, its owner, group, mode and access list stay.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use rustix::fs::{OFlags, XattrFlags, fremovexattr, fsetxattr, lgetxattr};
use rustix::io::Errno;

/// Mode of a new file, whatever the umask.
pub(super) const NEW_MODE: u32 = 0o644;
/// The attribute that holds a file's access list (`acl(5)`).
const ACL: &str = "system.posix_acl_access";
/// Largest value of an attribute, `XATTR_SIZE_MAX` of Linux.
const ACL_MAX: usize = 64 << 10;

/// Opens a file of this program, or creates it. Does not wait for another process if it is a FIFO, and follows no symlink
/// that another user may have put there.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = options.custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file; remove it")),
    }
}

/// Gives a file the owner, the group, the mode and the access list of the one that it replaces, or mode 0644, so that a
/// collector that runs as another user can read it.
fn permit(new: &File, replaced: &Path) -> io::Result<()> {
    let Ok(old) = fs::symlink_metadata(replaced) else {
        return new.set_permissions(Permissions::from_mode(NEW_MODE));
    };
    let mode = old.mode() & 0o777;
    let list = access_list(replaced)?;
    // Only root may give a file away; a user may choose among the own groups.
    let (user, group) = (old.uid(), old.gid());
    let kept = fchown(new, Some(user), Some(group)).or_else(|_| fchown(new, None, Some(group)));
    // The directory may have given it a list of its own.
    match fremovexattr(new, ACL) {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    let is_permitted = kept.is_ok()
        && list
            .as_ref()
            .is_none_or(|list| fsetxattr(new, ACL, list, XattrFlags::empty()).is_ok());
    new.set_permissions(Permissions::from_mode(match is_permitted {
        true => mode,
        // The group is another one now, or its bits were the mask of the list. It gets no more than all users have.
        false => mode & 0o707 | (mode & 0o007) << 3,
    }))
}

/// Returns the access list of a file, or `None` if it has none.
fn access_list(file: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut list = vec![0; ACL_MAX];
    match lgetxattr(file, ACL, list.as_mut_slice()) {
        Ok(length) => {
            list.truncate(length);
            Ok(Some(list))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes a file that no other process sees, or has opened before, to replace another one.
pub(super) fn write(file: &Path, text: &str, replaced: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = open(file, options.create_new(true).write(true).mode(0o600))?;
    file.write_all(text.as_bytes())?;
    permit(&file, replaced)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An access list in the form of the attribute: owner, a user, group, mask, others.
    fn list(user: u32) -> Vec<u8> {
        let entries = [
            (0x01_u16, 6_u16, u32::MAX),
            (0x02, 4, user),
            (0x04, 0, u32::MAX),
            (0x10, 4, u32::MAX),
            (0x20, 0, u32::MAX),
        ];
        let entries = entries.iter().flat_map(|(tag, bits, id)| {
            [
                &tag.to_le_bytes()[..],
                &bits.to_le_bytes(),
                &id.to_le_bytes(),
            ]
            .concat()
        });
        2_u32.to_le_bytes().into_iter().chain(entries).collect()
    }

    #[test]
    fn access_list_of_a_replaced_file_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) = (directory.path().join("old"), directory.path().join("new"));
        fs::write(&old, "").unwrap();
        let set =
            |list: &[u8]| fsetxattr(File::open(&old).unwrap(), ACL, list, XattrFlags::empty());
        if let Err(error) = set(&list(1234)) {
            eprintln!("not checked: no access list in the temporary directory: {error}");
            return;
        }
        write(&new, "text", &old).unwrap();
        assert_eq!(access_list(&new).unwrap(), Some(list(1234)));
        // Group bits are the mask of a list, and 0040 without it would let the group read.
        assert_eq!(fs::metadata(&new).unwrap().mode() & 0o777, 0o640);
        // What the directory gives to new files is not what the replaced one had.
        let default = rustix::fs::setxattr(
            directory.path(),
            "system.posix_acl_default",
            &list(99),
            XattrFlags::empty(),
        );
        default.unwrap();
        fremovexattr(File::open(&old).unwrap(), ACL).unwrap();
        fs::set_permissions(&old, Permissions::from_mode(0o600)).unwrap();
        write(&new, "text", &old).unwrap();
        assert_eq!(access_list(&new).unwrap(), None);
        assert_eq!(fs::metadata(&new).unwrap().mode() & 0o777, 0o600);
    }
}
