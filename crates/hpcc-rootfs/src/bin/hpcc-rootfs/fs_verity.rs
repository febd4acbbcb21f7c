//! `--fs-verity`.

use hpcc_rootfs::FsVerity;

pub(crate) fn parse(text: &str) -> Result<FsVerity, String> {
    match text {
        "off" => Ok(FsVerity::Off),
        "auto" => Ok(FsVerity::Auto),
        "on" => Ok(FsVerity::On),
        _ => Err("expected off, auto or on".into()),
    }
}
