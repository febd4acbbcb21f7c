//! What happens in a round, chosen by chance and printed before it happens.

use std::fmt;
use std::time::Duration;

use test_support::registry::{Action, Fault};

use super::random::Random;

/// One round: everything in it happens concurrently.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) faults: Vec<Armed>,
    pub(super) processes: Vec<Process>,
    /// Whether a byte of an artifact changes on the disk first.
    pub(super) damage: Option<u64>,
}

/// A fault of the registry. The fault itself does not say what it is.
#[derive(Clone, Debug)]
pub(super) struct Armed {
    path: &'static str,
    times: u32,
    action: Action,
}

/// A process on the store.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) task: Task,
    pub(super) trouble: Trouble,
}

/// What a process is for.
#[derive(Debug)]
pub(super) enum Task {
    Pull {
        image: usize,
        agent: usize,
        verify: bool,
    },
    Collect {
        kilobytes: u64,
    },
    Verify,
    Untag(usize),
    List,
}

/// What happens to a process.
#[derive(Debug)]
pub(super) enum Trouble {
    None,
    /// SIGKILL after a time.
    Kill(Duration),
    /// SIGTERM after a time.
    Terminate(Duration),
    /// From the `first` such system call of a thread on, each fails.
    Disk {
        call: &'static str,
        errno: &'static str,
        first: u64,
        lasting: bool,
    },
}

impl Round {
    pub(super) fn choose(random: &mut Random, images: usize, agents: usize) -> Self {
        let faults = match random.below(3) {
            0 => 0,
            _ => random.below(4),
        };
        let processes = 1 + random.below(4);
        Self {
            faults: (0..faults).map(|_| Armed::choose(random)).collect(),
            processes: (0..processes)
                .map(|_| Process::choose(random, images, agents))
                .collect(),
            damage: random.once_in(8).then(|| random.next()),
        }
    }

    /// Returns whether nothing but the image itself can make a pull of this round fail.
    pub(super) fn is_calm(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Armed {
    fn choose(random: &mut Random) -> Self {
        let at = random.below(400_000);
        let millis = |random: &mut Random, most| Duration::from_millis(random.below(most));
        let status = |status, headers: &[(&str, &str)]| Action::Status {
            status,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: "{}".to_owned(),
        };
        let action = match random.below(13) {
            0 => Action::Truncate(at),
            1 => Action::Corrupt(at),
            2 => Action::ContentLength(at),
            3 => status(500, &[]),
            4 => status(503, &[("retry-after", "1")]),
            5 => status(429, &[("retry-after", "0")]),
            6 => status(404, &[]),
            7 => Action::Delay(millis(random, 500)),
            8 => Action::Stall {
                at,
                time: millis(random, 3000),
            },
            9 => Action::Drip {
                at,
                every: Duration::from_micros(random.below(2000)),
            },
            10 => Action::Endless,
            11 => Action::IgnoreRange,
            _ => Action::Redirect("http://127.0.0.1:1".to_owned()),
        };
        Self {
            path: random.choose(&[
                "/blobs/",
                "/manifests/",
                "sha256:",
                "/blobs/sha256:0",
                "/v2/",
            ]),
            times: u32::try_from(1 + random.below(4)).unwrap_or(1),
            action,
        }
    }

    pub(super) fn fault(&self) -> Fault {
        Fault::on(self.path, self.action.clone()).times(self.times)
    }
}

impl Process {
    fn choose(random: &mut Random, images: usize, agents: usize) -> Self {
        let image = |random: &mut Random| random.choose(&(0..images).collect::<Vec<_>>());
        let task = match random.below(12) {
            0 => Task::Collect {
                kilobytes: random.below(3000),
            },
            1 => Task::Verify,
            2 => Task::Untag(image(random)),
            3 => Task::List,
            _ => Task::Pull {
                image: image(random),
                agent: random.choose(&(0..agents).collect::<Vec<_>>()),
                verify: random.once_in(6),
            },
        };
        let moment = Duration::from_millis(random.below(400));
        let trouble = match random.below(8) {
            0 | 1 => Trouble::Kill(moment),
            2 => Trouble::Terminate(moment),
            3 | 4 => {
                let (call, most) = random.choose(&[
                    ("pwrite64", 12),
                    ("fsync", 2),
                    ("linkat", 1),
                    ("renameat", 1),
                    ("pread64", 8),
                    ("flock", 3),
                ]);
                Trouble::Disk {
                    call,
                    errno: random.choose(&["ENOSPC", "EIO", "EDQUOT"]),
                    first: 1 + random.below(most),
                    lasting: random.once_in(2),
                }
            }
            _ => Trouble::None,
        };
        Self { task, trouble }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            let Armed {
                path,
                times,
                action,
            } = fault;
            write!(f, "\n    registry: {action:?} on {path} {times} times")?;
        }
        if self.damage.is_some() {
            write!(f, "\n    disk: a byte of an artifact changes")?;
        }
        for Process { task, trouble } in &self.processes {
            write!(f, "\n    process: {task:?}")?;
            match trouble {
                Trouble::None => {}
                trouble => write!(f, " with {trouble:?}")?,
            }
        }
        Ok(())
    }
}
