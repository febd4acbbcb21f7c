//! The options that raise or lower the limits on images.

use clap::Args;
use hpcc_rootfs::layer::Limits;

use crate::quantity::{size, whole};

/// Returns a parser for the numbers of a limit.
fn number<T: TryFrom<u64>>(
    default: u64,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    whole("a limit", 0..=u64::MAX, default)
}

/// One option for each limit that [`Limits`] has and an error can name.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Number of entries in all layers together [default: 1048576]
    #[arg(long, value_name = "N", value_parser = number::<u64>(1_048_576))]
    max_entries: Option<u64>,
    /// Size of the files in all layers together, with K, M, G or T for powers of 1024 [default: 16G]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,
    /// Decompressed size of one layer [default: 32G]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_layer_bytes: Option<u64>,
    /// Decompressed size of all layers together [default: 64G]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_unpacked: Option<u64>,
    /// Decompressed bytes per compressed byte of a gzip layer over 16M [default: 1100]
    #[arg(long, value_name = "N", value_parser = number::<u64>(1100))]
    max_ratio: Option<u64>,
    /// Memory for the names, links and attributes of the image [default: 384M]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_metadata: Option<u64>,
    /// Number of extended attributes of one entry [default: 1024]
    #[arg(long, value_name = "N", value_parser = number::<usize>(1024))]
    max_xattrs: Option<usize>,
    /// Size of the extended attributes of one entry [default: 64K]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_xattr_bytes: Option<u64>,
    /// Number of layers [default: 1024]
    #[arg(long, value_name = "N", value_parser = number::<usize>(1024))]
    max_layers: Option<usize>,
    /// Length of a path, in bytes [default: 4096]
    #[arg(long, value_name = "N", value_parser = number::<usize>(4096))]
    max_path: Option<usize>,
    /// Number of directories in a path [default: 1024]
    #[arg(long, value_name = "N", value_parser = number::<usize>(1024))]
    max_depth: Option<usize>,
    /// Number of steps through symlinks in the whole image [default: 67108864]
    #[arg(long, value_name = "N", value_parser = number::<u64>(67_108_864))]
    max_link_steps: Option<u64>,
    /// Size of an extended tar header [default: 1M]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_header: Option<u64>,
    /// Number of data runs in a sparse file [default: 262144]
    #[arg(long, value_name = "N", value_parser = number::<usize>(262_144))]
    max_sparse_segments: Option<usize>,
    /// Window of a zstd layer [default: 128M]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_zstd_window: Option<u64>,
}

impl LimitArgs {
    /// Sets the given limits.
    pub(crate) fn apply(&self, limits: &mut Limits) {
        let length = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        set(&mut limits.entries, self.max_entries);
        set(&mut limits.logical_bytes, self.max_bytes);
        set(&mut limits.layer_bytes, self.max_layer_bytes);
        set(&mut limits.unpacked_bytes, self.max_unpacked);
        set(&mut limits.ratio, self.max_ratio);
        set(&mut limits.metadata_bytes, self.max_metadata);
        set(&mut limits.xattrs, self.max_xattrs);
        set(&mut limits.xattr_bytes, self.max_xattr_bytes.map(length));
        set(&mut limits.layers, self.max_layers);
        set(&mut limits.path, self.max_path);
        set(&mut limits.depth, self.max_depth);
        set(&mut limits.link_steps, self.max_link_steps);
        set(&mut limits.header_bytes, self.max_header.map(length));
        set(&mut limits.sparse_segments, self.max_sparse_segments);
        set(&mut limits.zstd_window, self.max_zstd_window);
    }
}

fn set<T>(limit: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *limit = value;
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        limits: LimitArgs,
    }

    /// The default of an option, as the help has it.
    fn default_of(option: &str) -> u64 {
        let command = Line::command();
        let argument = command
            .get_arguments()
            .find(|a| a.get_long() == Some(option));
        let help = argument.unwrap().get_help().unwrap().to_string();
        let (_, default) = help.split_once("[default: ").unwrap();
        size(default.trim_end_matches(']')).unwrap()
    }

    #[test]
    fn the_help_states_the_defaults_and_no_option_lacks_effect() {
        let command = Line::command();
        let options = command.get_arguments().filter_map(clap::Arg::get_long);
        let mut options: Vec<_> = options.filter(|name| name.starts_with("max-")).collect();
        assert_eq!(options.len(), 15);
        for option in std::mem::take(&mut options) {
            let default = default_of(option).to_string();
            let flag = format!("--{option}");
            let line = Line::try_parse_from(["hpcc-rootfs", &flag, &default]).unwrap();
            let mut limits = Limits::default();
            line.limits.apply(&mut limits);
            assert_eq!(limits, Limits::default(), "{option}");
            let line = Line::try_parse_from(["hpcc-rootfs", &flag, "7"]).unwrap();
            line.limits.apply(&mut limits);
            assert_ne!(limits, Limits::default(), "{option}");
        }
    }
}
