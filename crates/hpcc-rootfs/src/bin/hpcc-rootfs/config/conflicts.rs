//! Which options of a command exclude each other, and which are in one group.

use std::collections::BTreeSet;

use clap::{Arg, Id};

use super::options::required_groups;

/// The pairs of options of a command that exclude each other.
pub(super) struct Conflicts(BTreeSet<(String, String)>);

impl Conflicts {
    pub(super) fn of(root: &clap::Command, names: &[&str]) -> Self {
        let mut command = root;
        for name in names {
            command = command.find_subcommand(name).unwrap_or(command);
        }
        // The groups of a command have their members when it is built. Building all commands would take milliseconds.
        let mut built = command.clone();
        built.build();
        let mut pairs = BTreeSet::new();
        for declared in [root, &built] {
            for arg in declared.get_arguments() {
                for other in declared.get_arg_conflicts_with(arg) {
                    let pair = (arg.get_id().to_string(), other.get_id().to_string());
                    pairs.insert((pair.1.clone(), pair.0.clone()));
                    pairs.insert(pair);
                }
            }
        }
        for group in built.get_groups() {
            if group.clone().is_multiple() {
                continue;
            }
            for (a, b) in group
                .get_args()
                .flat_map(|a| group.get_args().map(move |b| (a, b)))
            {
                if a != b {
                    pairs.insert((a.to_string(), b.to_string()));
                }
            }
        }
        Self(pairs)
    }

    pub(super) fn between(&self, a: &Arg, b: &Arg) -> bool {
        let pair = (a.get_id().to_string(), b.get_id().to_string());
        self.0.contains(&pair)
    }
}

/// Returns the groups of which one member has to be given, and that have a member of this kind.
///
/// Each option names its group, so a group has its members only when the command is built.
pub(super) fn groups_with(command: &clap::Command, is_kind: impl Fn(&Arg) -> bool) -> Vec<Id> {
    let required: BTreeSet<_> = required_groups(command).collect();
    if required.is_empty() {
        return Vec::new();
    }
    let mut built = command.clone();
    built.build();
    let is_member = |id: &Id| {
        let mut args = built.get_arguments();
        args.any(|arg| arg.get_id() == id && is_kind(arg))
    };
    let groups = built.get_groups();
    let groups = groups.filter(|group| group.get_args().any(is_member));
    let found: BTreeSet<_> = groups.map(|group| group.get_id().clone()).collect();
    required.intersection(&found).cloned().collect()
}
