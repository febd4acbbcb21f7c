//! Hostile or damaged images, as `inspect --tree` reads them: paths are absolute and plain, and it ends.

use hpcc_rootfs::tables::Tables;

/// Panics if a promise is broken.
pub fn check(image: &[u8]) {
    let Ok(mut tables) = Tables::open(&image) else {
        return;
    };
    let mut first = true;
    let _ = tables.walk(|entry| {
        assert_eq!(first, entry.path == b"/");
        let mut names = entry.path.split(|&byte| byte == b'/');
        assert_eq!(names.next(), Some(&b""[..]));
        assert!(
            first || names.all(|name| !matches!(name, b"" | b"." | b"..") && !name.contains(&0))
        );
        first = false;
    });
}
