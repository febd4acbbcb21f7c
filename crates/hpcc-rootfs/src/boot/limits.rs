//! The limits that a kernel has for its command line.

use super::error::BootError;

/// Bytes of a line without its end: `COMMAND_LINE_SIZE` of x86-64 and arm64, and the size that Firecracker allows.
const LENGTH_MAX: usize = 2047;
/// Largest number of words after `--`, and of unknown words without a value before it: `MAX_INIT_ARGS` of the kernel's
/// `init/main.c`.
const ARGUMENTS_MAX: usize = 32;
/// Largest number of unknown words with a value. `MAX_INIT_ENVS` is 32, and the kernel's own `HOME` and `TERM` take
/// two.
const VARIABLES_MAX: usize = 30;

/// Words that every kernel which boots an artifact knows. They are therefore neither arguments nor variables of PID 1.
/// A word with a dot in its name is neither in any case.
const KNOWN: [&[u8]; 32] = [
    b"acpi",
    b"boot_delay",
    b"clocksource",
    b"console",
    b"debug",
    b"earlycon",
    b"earlyprintk",
    b"fsck",
    b"ignore_loglevel",
    b"init",
    b"initcall_debug",
    b"ip",
    b"log_buf_len",
    b"loglevel",
    b"mem",
    b"mitigations",
    b"nokaslr",
    b"nomodules",
    b"panic",
    b"pci",
    b"quiet",
    b"rdinit",
    b"reboot",
    b"ro",
    b"root",
    b"rootdelay",
    b"rootflags",
    b"rootfstype",
    b"rootwait",
    b"rw",
    b"tsc",
    b"tsc_early_khz",
];

/// Checks that a kernel accepts all of a command line.
///
/// A kernel ignores what comes after its largest length, and panics if the line has too many words for PID 1. The
/// limits are those of x86-64 and arm64: 2047 bytes, 32 words after `--`, 32 words without a value and 30 words with a
/// value that no part of the kernel knows.
///
/// # Errors
/// Returns [`BootError::TooLong`] or [`BootError::TooManyWords`] for the first limit that `line` exceeds.
pub fn check_kernel_line(line: &str) -> Result<(), BootError> {
    if line.len() > LENGTH_MAX {
        return Err(BootError::TooLong {
            found: line.len(),
            limit: LENGTH_MAX,
        });
    }
    let words = words(line.as_bytes());
    let end = words.iter().position(|word| word == b"--");
    let (options, arguments) = words.split_at(end.unwrap_or(words.len()));
    let (mut flags, mut variables) = (0, 0);
    for option in options {
        let equals = option.iter().position(|byte| *byte == b'=');
        let (name, _) = option.split_at(equals.unwrap_or(option.len()));
        if !name.contains(&b'.') && !KNOWN.contains(&name) {
            *(if equals.is_some() {
                &mut variables
            } else {
                &mut flags
            }) += 1;
        }
    }
    let arguments = arguments.len().saturating_sub(1);
    for (what, found, limit) in [
        ("after --", arguments, ARGUMENTS_MAX),
        (
            "without a value that the kernel does not know",
            flags,
            ARGUMENTS_MAX,
        ),
        (
            "with a value that the kernel does not know",
            variables,
            VARIABLES_MAX,
        ),
        // These become arguments of PID 1 as well.
        (
            "after -- and without a value",
            arguments + flags,
            ARGUMENTS_MAX,
        ),
    ] {
        if found > limit {
            return Err(BootError::TooManyWords { what, found, limit });
        }
    }
    Ok(())
}

/// Splits a line at white space outside double quotes, as `next_arg` of the kernel's `lib/cmdline.c` does. Quotes
/// around a word are not part of it.
fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let mut words = vec![Vec::new()];
    let mut quoted = false;
    for &byte in line {
        quoted ^= byte == b'"';
        if !quoted && matches!(byte, 9..=13 | b' ' | 0xA0) {
            words.push(Vec::new());
        } else if let Some(word) = words.last_mut() {
            word.push(byte);
        }
    }
    words.retain(|word| !word.is_empty());
    for word in &mut words {
        if word.first() == Some(&b'"') {
            word.retain(|byte| *byte != b'"');
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_the_largest_length_is_accepted() {
        let line = "a.b=".to_owned() + &"x".repeat(LENGTH_MAX - 4);
        assert_eq!(check_kernel_line(&line), Ok(()));
        let error = check_kernel_line(&(line + "y")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kernel line has 2048 bytes, and a kernel takes 2047; shorten its options or its command"
        );
    }

    #[test]
    fn words_for_pid_1_are_counted_as_by_the_kernel() {
        // unikraft-cloud/cli#470
        let repeat = |word: &str, count: usize| format!(" {word}").repeat(count);
        for (line, expected) in [
            (format!("init=/x --{}", repeat("w", 32)), Ok(())),
            (format!("init=/x --{}", repeat("w", 33)), Err(33)),
            // White space between quotes makes no words, and a second -- is a word.
            (format!("-- \"{}\"", repeat("w", 99)), Ok(())),
            (format!("--{} --", repeat("w", 32)), Err(33)),
            (format!("\"--\"{}", repeat("w", 33)), Err(33)),
            (format!("ro{}", repeat("flag", 32)), Ok(())),
            (format!("ro{}", repeat("flag", 33)), Err(33)),
            (
                format!("{} --{}", repeat("flag", 16), repeat("w", 17)),
                Err(33),
            ),
            (repeat("a=b", 30), Ok(())),
            (repeat("a=b", 31), Err(31)),
            // Words of modules and of an agent, and words that the kernel knows.
            (repeat("hpcc.env=A=B", 99), Ok(())),
            (repeat("hpcc.flag", 99), Ok(())),
            (repeat("console=ttyS0", 99), Ok(())),
            (repeat("ro", 99), Ok(())),
            (String::new(), Ok(())),
        ] {
            let found = check_kernel_line(&line).map_err(|error| match error {
                BootError::TooManyWords { found, .. } => found,
                error => panic!("{line}: {error}"),
            });
            assert_eq!(found, expected, "{line}");
        }
    }
}
