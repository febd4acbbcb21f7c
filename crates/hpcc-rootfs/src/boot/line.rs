//! The kernel command line.

use super::error::BootError;
use super::limits::check_kernel_line;
use crate::artifact::Record;

/// The device that the kernel creates from a device-mapper table on its command line.
const MAPPED: &str = "/dev/dm-0";

/// Root file system and PID 1 of a guest, as its kernel finds them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootOptions {
    /// Name of the block device in the guest that holds the artifact. Default: `/dev/vda`, the first virtio
    /// block device.
    pub device: String,
    /// Absolute path of PID 1 in the image. Default: `/.hpcc/agent`.
    pub init: String,
    /// Options before those for the root, such as a console. Default: none.
    ///
    /// If an option occurs twice on a line, a kernel uses the last one, so nothing here replaces `root=` or `init=`.
    pub append: String,
}

impl BootOptions {
    const AGENT: &'static str = "/.hpcc/agent";
}

impl Default for BootOptions {
    fn default() -> Self {
        Self {
            device: "/dev/vda".to_owned(),
            init: Self::AGENT.to_owned(),
            append: String::new(),
        }
    }
}

/// Returns the kernel command line that boots an artifact. Options that do not concern the root file system, such as a
/// console, come only from [`BootOptions::append`].
///
/// A sealed artifact is mounted through a dm-verity device that the kernel creates (`CONFIG_DM_INIT`). The kernel
/// panics instead of returning a block that changed since the build.
///
/// ```no_run
/// use hpcc_rootfs::{BootOptions, boot_args, read_record};
///
/// let record = read_record("/srv/debian.sqsh")?;
/// let line = boot_args(&record, &BootOptions::default())?;
/// assert!(line.ends_with("init=/.hpcc/agent") || record.verity.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Returns [`BootError`] if an option cannot occur on a kernel line, the line is too long, or the artifact has no PID
/// 1.
pub fn boot_args(record: &Record, options: &BootOptions) -> Result<String, BootError> {
    let BootOptions {
        device,
        init,
        append,
    } = options;
    check("init", init)?;
    check_append(append)?;
    if record.key.agent.is_none() && init == BootOptions::AGENT {
        return Err(BootError::NoAgent);
    }
    let table = verity_table(record, device)?;
    let root = if table.is_some() { MAPPED } else { device };
    let line = format!("root={root} ro rootfstype=squashfs init={init}");
    let mut line = match table {
        Some(table) => format!("{line} dm-mod.create=\"root,,,ro,{table}\""),
        None => line,
    };
    if !append.is_empty() {
        line = format!("{append} {line}");
    }
    check_kernel_line(&line)?;
    Ok(line)
}

/// Returns the device-mapper table of a sealed artifact on `device`, as `dmsetup create --table` takes it, or `None`
/// for an artifact without a hash tree.
///
/// # Errors
/// Returns [`BootError::Value`] if `device` cannot occur in a table.
pub fn verity_table(record: &Record, device: &str) -> Result<Option<String>, BootError> {
    check("device", device)?;
    Ok(record.verity.as_ref().map(|verity| {
        format!(
            "0 {} verity 1 {device} {device} 4096 4096 {} {} sha256 {} {} 1 panic_on_corruption",
            verity.sectors(),
            verity.data_blocks,
            verity.hash_start(),
            verity.root(),
            verity.salt(),
        )
    }))
}

/// Refuses options that would keep a kernel from seeing the options of the root after them.
fn check_append(append: &str) -> Result<(), BootError> {
    let refused = |problem| {
        Err(BootError::Append {
            value: append.to_owned(),
            problem,
        })
    };
    // Kernels treat a byte of 0xA0 as white space as well, and Firecracker accepts only ASCII.
    if !append.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return refused("it has a control character or another one that is not printable ASCII");
    }
    let mut words = Words(append);
    if words.any(|word| word == "--") {
        return refused("it has the word --, which ends the options of the kernel");
    }
    // A backslash has no meaning to a kernel.
    match append.matches('"').count() % 2 {
        0 => Ok(()),
        _ => refused("it has a quote without its end"),
    }
}

/// The words of a line, split as a kernel does: at spaces outside double quotes. Quotes around a whole word are not
/// part of it.
struct Words<'t>(&'t str);

impl<'t> Iterator for Words<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let rest = self.0.trim_start_matches(' ');
        let mut is_quoted = false;
        let is_end = |c: char| {
            is_quoted ^= c == '"';
            c == ' ' && !is_quoted
        };
        let (word, rest) = rest.split_once(is_end).unwrap_or((rest, ""));
        self.0 = rest;
        let inside = word.strip_prefix('"');
        let inside = inside.map(|inside| inside.strip_suffix('"').unwrap_or(inside));
        (!word.is_empty()).then(|| inside.unwrap_or(word))
    }
}

/// Refuses values that would end a word of the kernel line, or a field of a table on it.
fn check(what: &'static str, value: &str) -> Result<(), BootError> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"',;\\".contains(&byte);
    if value.starts_with('/') && value.len() > 1 && value.bytes().all(plain) {
        return Ok(());
    }
    Err(BootError::Value {
        what,
        value: value.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ociget::Digest;
    use proptest::prelude::*;

    use super::*;
    use crate::artifact::{Digests, ImageOptions, Key};

    fn record(agent: bool) -> Record {
        let image = Digest::of(b"image");
        let digests = Digests {
            agent: agent.then(|| Digest::of(b"agent")),
            injected: Vec::new(),
        };
        let platform = "linux/amd64".into();
        let options = ImageOptions::default();
        let key = Key::new(image.clone(), image, platform, digests, &options);
        Record::new(key, 4096, &[0; 96], &[[0; 32]])
    }

    #[test]
    fn default_line_is_the_boot_contract() {
        let line = boot_args(&record(true), &BootOptions::default());
        assert_eq!(line.as_deref(), Ok(crate::BOOT_ARGS));
    }

    /// Returns the parameters that a kernel finds on a line, up to `--`. Written after `next_arg` and `parse_args`:
    /// bytes in place, one at a time.
    fn parameters(line: &str) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        let is_space = |byte: u8| matches!(byte, b' ' | 9..=13 | 0xa0);
        let mut found = BTreeMap::new();
        let mut at = line.as_bytes();
        loop {
            while at.first().is_some_and(|byte| is_space(*byte)) {
                at = &at[1..];
            }
            if at.is_empty() {
                return found;
            }
            let starts_quoted = at[0] == b'"';
            let mut in_quote = starts_quoted;
            at = &at[usize::from(starts_quoted)..];
            let (mut end, mut equals) = (0, 0);
            while end < at.len() && (in_quote || !is_space(at[end])) {
                if equals == 0 && at[end] == b'=' {
                    equals = end;
                }
                in_quote ^= at[end] == b'"';
                end += 1;
            }
            let (mut stop, next) = (end, &at[at.len().min(end + 1)..]);
            let mut value = None;
            let mut start = equals + 1;
            if equals > 0 {
                if at.get(start) == Some(&b'"') {
                    start += 1;
                    stop -= usize::from(end > start && at[end - 1] == b'"');
                }
                value = Some(());
            }
            if starts_quoted && stop == end && end > 0 && at[end - 1] == b'"' {
                stop -= 1;
            }
            let value = value.map(|()| at[start.min(stop)..stop].to_vec());
            let name = &at[..if equals > 0 { equals } else { stop }];
            if value.is_none() && name == b"--" {
                return found;
            }
            found.insert(name.to_vec(), value);
            at = next;
        }
    }

    fn with(append: &str) -> Result<String, BootError> {
        let append = append.to_owned();
        let options = BootOptions {
            append,
            ..BootOptions::default()
        };
        boot_args(&record(true), &options)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]
        #[test]
        fn appended_text_never_hides_root_and_init(
            append in proptest::collection::vec(
                proptest::sample::select(vec!["-", "--", "\"", " ", "=", "a", "init=/sbin/init", "root=/dev/vdz", "\u{a0}", "\\"]),
                0..12,
            )
        ) {
            if let Ok(line) = with(&append.concat()) {
                let found = parameters(&line);
                let value = |name: &str| found.get(name.as_bytes()).cloned().flatten();
                prop_assert_eq!(value("init"), Some(b"/.hpcc/agent".to_vec()), "{}", &line);
                prop_assert_eq!(value("root"), Some(b"/dev/vda".to_vec()), "{}", &line);
            }
        }
    }

    #[test]
    fn appended_text_is_read_as_a_kernel_reads_it() {
        for text in [
            "--",
            "a --",
            "\"--\"",
            "a \"--\" b",
            "a=\"b c\" -- d",
            "  --  ",
            "a\u{a0}b",
            "\u{e4}",
            "a\tb",
            "a\0",
            "a=\"b",
            "\"",
            "a=\"b c\" \"--\"",
        ] {
            let refused = with(text).unwrap_err();
            assert!(
                matches!(refused, BootError::Append { .. }),
                "{text:?}: {refused}"
            );
        }
        for text in [
            "",
            "quiet",
            "a=\"b -- c\"",
            "\"a -- b\"",
            "--x",
            "a=--",
            "\"--=x\"",
            "---",
            "a=\"\"",
        ] {
            let line = with(text).unwrap();
            assert!(line.ends_with(crate::BOOT_ARGS), "{line}");
            assert_eq!(
                parameters(&line)[&b"init"[..]],
                Some(b"/.hpcc/agent".to_vec())
            );
        }
    }

    #[test]
    fn appended_text_that_a_kernel_would_cut_is_refused() {
        let room = 2047 - crate::BOOT_ARGS.len() - 1;
        assert_eq!(with(&"x".repeat(room)).unwrap().len(), 2047);
        let refused = with(&"x".repeat(room + 1));
        assert!(
            matches!(refused, Err(BootError::TooLong { found: 2048, .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn device_and_init_are_chosen_by_the_caller() {
        let options = BootOptions {
            device: "/dev/vdb".into(),
            init: "/sbin/init".into(),
            ..BootOptions::default()
        };
        let line = boot_args(&record(false), &options).unwrap();
        assert_eq!(line, "root=/dev/vdb ro rootfstype=squashfs init=/sbin/init");
        assert_eq!(verity_table(&record(false), "/dev/vdb"), Ok(None));
    }

    #[test]
    fn line_that_no_kernel_takes_whole_is_refused() {
        let options = BootOptions {
            init: format!("/{}", "x".repeat(2048)),
            ..BootOptions::default()
        };
        let line = boot_args(&record(true), &options);
        assert!(
            matches!(line, Err(BootError::TooLong { limit: 2047, .. })),
            "{line:?}"
        );
    }

    #[test]
    fn artifact_without_agent_needs_another_init() {
        let line = boot_args(&record(false), &BootOptions::default());
        assert_eq!(line, Err(BootError::NoAgent));
    }

    #[test]
    fn values_that_would_add_options_are_refused() {
        for value in [
            "",
            "/",
            "vda",
            "/dev/vda rw",
            "/dev/vda\"",
            "/dev/vda,ro",
            "/dev/vda;x",
            "/dev/vda\n",
            "/dev/vd\u{e4}",
            "/dev/\\040",
        ] {
            let device = BootOptions {
                device: value.into(),
                ..BootOptions::default()
            };
            let init = BootOptions {
                init: value.into(),
                ..BootOptions::default()
            };
            for (what, options) in [("device", device), ("init", init)] {
                let value = value.to_owned();
                let refused = Err(BootError::Value { what, value });
                assert_eq!(boot_args(&record(true), &options), refused);
            }
        }
    }
}
