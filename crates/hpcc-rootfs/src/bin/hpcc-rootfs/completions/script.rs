//! What the generator's scripts do not know.

use std::fmt::Write as _;

use clap::{Arg, Command, ValueHint};

/// The line of the script for bash that sets the word before the completed one.
const PREVIOUS: &str = "    prev=\"$3\"\n";
/// Lines after it for a value that follows an equals sign.
const EQUALS: &str = r#"    if [[ "${prev}" == "=" && "${COMP_CWORD}" -ge 2 ]]; then
        prev="${COMP_WORDS[COMP_CWORD-2]}"
    elif [[ "${COMP_WORDS[COMP_CWORD]}" == "=" ]]; then
        cur=""
    fi
"#;
/// Lines after these, because only names follow `--`. Without a reply, bash completes file names.
const ARGUMENTS: &str = r#"    for i in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        [[ "${i}" == "--" ]] && return 0
    done
"#;
/// The lines of the script for bash that look for the command among the words.
const WORDS: &str = "    do\n        case \"${cmd},${i}\" in\n";
/// The line of the script for fish that gives up on options of which it cannot make sense.
const INCOMPLETE: &str = "-- $cmd 2>/dev/null\n    or return\n";

/// Completes the script for bash.
pub(super) fn bash(script: &str, root: &Command) -> String {
    // The generator replaces the hyphen of the program's name in two ways, so that no case of the
    // script would be that of a command.
    let script = script.replace("hpcc__subcmd__rootfs", "hpcc__rootfs");
    // Bash splits words at an equals sign, and the generator does not know that `--option=value` is three of them.
    let script = script.replacen(PREVIOUS, &format!("{PREVIOUS}{EQUALS}"), 1);
    // The value of an option may be called like a command.
    let options = root.get_arguments().filter_map(|arg| {
        let takes_value = arg.get_action().takes_values();
        arg.get_long().filter(|_| takes_value)
    });
    let options: Vec<_> = options.map(|long| format!("--{long}")).collect();
    let values = format!(
        r#"    do
        if [[ -n "${{value}}" ]]; then
            [[ "${{i}}" == "=" ]] || value=""
            continue
        fi
        case "${{i}}" in
            {})
                value="is next"
                continue
                ;;
        esac
        case "${{cmd}},${{i}}" in
"#,
        options.join("|")
    );
    script.replacen(WORDS, &values, 1).replacen(
        "    cmd=\"\"\n",
        &format!("{ARGUMENTS}    cmd=\"\"\n    local value=\"\"\n"),
        1,
    )
}

/// Completes the script for zsh.
pub(super) fn zsh(script: &str) -> String {
    let lines = script.split_inclusive('\n').map(|line| {
        // The lines of arguments without a dash.
        if !line.starts_with("'*::") && !line.starts_with("':") {
            return line.to_owned();
        }
        // With two colons, no option would be completed after the first of several arguments.
        let line = line.replacen("'*::", "'*:", 1);
        // Without an action, zsh shows a message in place of the only option that fits.
        match line.strip_suffix(":' \\\n") {
            Some(line) => format!("{line}:{{:}}' \\\n"),
            None => line,
        }
    });
    lines.collect()
}

/// Completes the script for fish.
pub(super) fn fish(script: &str, root: &Command) -> String {
    // An option that lacks its value stands before any command.
    let mut script = script.replacen(INCOMPLETE, &INCOMPLETE.replace("return", "return 0"), 1);
    // The words that were typed have the `help` that the commands follow.
    let seen = " help\" -f -a";
    let lines = script.split_inclusive('\n').map(|line| {
        let is_of_help = line.contains("_using_subcommand help; and not");
        match line.split_once(seen).filter(|_| is_of_help) {
            Some((before, after)) => format!("{before}\" -f -a{after}"),
            None => line.to_owned(),
        }
    });
    script = lines.collect();
    // The generator leaves out arguments without a dash.
    for command in root.get_subcommands().filter(|below| !below.is_hide_set()) {
        let paths = [ValueHint::FilePath, ValueHint::DirPath, ValueHint::AnyPath];
        let mut arguments = command.get_positionals();
        if arguments.any(|argument| paths.contains(&argument.get_value_hint())) {
            continue;
        }
        let words = command.get_positionals().flat_map(Arg::get_possible_values);
        let words = words.filter(|word| !word.is_hide_set());
        let words: Vec<_> = words.map(|word| word.get_name().to_owned()).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            script,
            "complete -c hpcc-rootfs -n \"__fish_hpcc_rootfs_using_subcommand {}\" -f -a \"{}\"",
            command.get_name(),
            words.join(" ")
        );
    }
    script
}
