//! The signal by which an image is to be stopped.

use rustix::process::Signal;

/// Names without `SIG`. The image may also give a number.
const NAMES: [(&str, Signal); 34] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("IOT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("STKFLT", Signal::STKFLT),
    ("CHLD", Signal::CHILD),
    ("CLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("WINCH", Signal::WINCH),
    ("IO", Signal::IO),
    ("POLL", Signal::IO),
    ("PWR", Signal::POWER),
    ("SYS", Signal::SYS),
];

/// Returns the signal of an image's `StopSignal`: a name with or without `SIG`, or a number. Default: SIGTERM.
///
/// Real-time signals, such as systemd's `SIGRTMIN+3`, cannot be sent without unsafe code.
pub(crate) fn signal(name: &str) -> Result<Signal, String> {
    if name.is_empty() {
        return Ok(Signal::TERM);
    }
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().find(|(name, _)| *name == short);
    let number = || short.parse().ok().and_then(Signal::from_named_raw);
    named
        .map(|(_, signal)| *signal)
        .or_else(number)
        .ok_or_else(|| format!("this agent cannot send the image's stop signal {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signal_is_a_name_or_a_number() {
        for (name, expected) in [
            ("", Signal::TERM),
            ("SIGQUIT", Signal::QUIT),
            ("quit", Signal::QUIT),
            ("SigWinch", Signal::WINCH),
            // Second names of moby/sys/signal.
            ("SIGPOLL", Signal::IO),
            ("SIGCLD", Signal::CHILD),
            ("SIGSTKFLT", Signal::STKFLT),
            ("9", Signal::KILL),
            ("15", Signal::TERM),
        ] {
            assert_eq!(signal(name), Ok(expected), "{name}");
        }
        for name in ["SIGRTMIN+3", "37", "0", "-1", "SIG", "SIGSIGTERM", "é"] {
            assert!(signal(name).is_err(), "{name}");
        }
    }
}
