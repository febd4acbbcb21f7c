//! The help, the reference of the commands, the manual pages and the completions.

use std::fs;
use std::process::Command;

use crate::cli::{self, Place};

/// Returns the commands that the help lists.
pub(crate) fn commands(place: &Place) -> Vec<String> {
    let help = place.run(["--help"]).stdout;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let lines = commands.lines().take_while(|line| !line.is_empty());
    let lines = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<_> = lines
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect();
    assert!(names.len() > 12, "{names:?}");
    names
}

#[test]
fn help_is_that_of_the_snapshot() {
    let place = Place::new();
    let mut help = place.run(["--help"]).stdout;
    for name in commands(&place).iter().filter(|name| *name != "help") {
        let text = place.run(["help", name]).stdout;
        assert!(text.contains("Example"), "{name} has no example: {text}");
        help.push_str(&format!("\n=== {name}\n\n{text}"));
    }
    let show = place.run(["help", "config", "show"]).stdout;
    help.push_str(&format!("\n=== config show\n\n{show}"));
    for line in help.lines() {
        assert!(line.chars().count() <= 100, "{line}");
        for word in ["struct", "enum ", "Vec<", "Option<", "crate", "::"] {
            assert!(!line.contains(word), "{word}: {line}");
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/it/help.txt");
    let snapshot = fs::read_to_string(path).unwrap();
    assert!(
        help == snapshot,
        "run cargo xtask reference; the help is now:\n{help}"
    );
}

#[test]
fn command_reference_is_what_the_program_prints() {
    let place = Place::new();
    let reference = place.run(["completions", "markdown"]);
    assert_eq!(reference.status, Some(0), "{reference:#?}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/commands.md");
    let page = fs::read_to_string(path).unwrap();
    let (_, rest) = page.split_once("<!-- reference -->\n\n").unwrap();
    let (found, _) = rest.split_once("\n<!-- end of reference -->\n").unwrap();
    assert!(found == reference.stdout, "run cargo xtask reference");
    for name in commands(&place).iter().filter(|name| *name != "help") {
        assert!(
            found.contains(&format!("### `hpcc-rootfs {name}`\n")),
            "{name}"
        );
        let help = place.run(["help", name]).stdout;
        let options = help.lines().filter_map(|line| {
            let line = line.trim_start();
            let line = line.strip_prefix('-').map(|_| line)?;
            let (_, option) = line.split_once("--")?;
            option
                .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
                .next()
        });
        for option in options.filter(|option| !matches!(*option, "help" | "version")) {
            assert!(found.contains(&format!("`--{option}")), "{name} --{option}");
            let variable = format!("`HPCC_{}`", option.replace('-', "_").to_uppercase());
            assert!(found.contains(&variable), "{variable}");
        }
    }
    // The JSON members that the program prints are in the page of formats.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/formats.md");
    let formats = fs::read_to_string(path).unwrap();
    for (arguments, at) in [
        (&["gc", "--json"][..], ""),
        (&["df", "--json"], ""),
        (&["doctor", "--no-agent", "--json"], ""),
        (&["doctor", "--no-agent", "--json"], "/findings/0"),
        (&["config", "show", "--json"], ""),
        (&["config", "show", "--json"], "/options/0"),
    ] {
        let document = place.run(arguments).json();
        let members = document.pointer(at).unwrap().as_object().unwrap();
        for member in members.keys() {
            assert!(
                formats.contains(&format!("`{member}`")),
                "{arguments:?} {member}"
            );
        }
    }
}

#[test]
fn reference_names_commands_and_defaults_as_help_does() {
    let place = Place::new();
    let reference = place.run(["completions", "markdown"]).stdout;
    let (mut checked, mut wrong) = (0, Vec::new());
    // Sections of options that several commands have.
    for section in reference
        .split("\n### ")
        .filter(|text| text.contains("\n\nOf `"))
    {
        let (_, list) = section.split_once("\n\nOf ").unwrap();
        let of = |text: &str| -> Vec<String> {
            let names = text.split('`').skip(1).step_by(2);
            names.map(str::to_owned).collect()
        };
        let all = of(list.lines().next().unwrap());
        let help = |command: &String| place.run(["help", command]).stdout;
        let words = |help: String| help.split_whitespace().collect::<Vec<_>>().join(" ");
        let helps: Vec<_> = all.iter().map(help).map(words).collect();
        for row in list.lines().filter(|line| line.starts_with("| `-")) {
            let option = row.split("--").nth(1).unwrap();
            let option = option.split(['`', ' ']).next().unwrap();
            let own = row
                .split_once("; of `")
                .map(|(_, own)| of(&format!("`{own}")));
            let default = row.split_once(" [default: ");
            let default = default.map(|(_, text)| text.split(']').next().unwrap().to_owned());
            for (command, words) in all.iter().zip(&helps) {
                let has = words.contains(&format!("--{option} "));
                let says = own.as_ref().is_none_or(|own| own.contains(command));
                let is_default = default
                    .as_ref()
                    .is_none_or(|default| !has || words.contains(&format!("[default: {default}]")));
                checked += 1;
                if has != says || !is_default {
                    wrong.push(format!("{command} --{option}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(checked > 100, "only {checked} rows");
}

#[test]
fn manual_has_a_page_for_each_command() {
    let place = Place::new();
    let written = place.run(["man", "pages/man1"]);
    assert_eq!(written.status, Some(0), "{written:#?}");
    let names = commands(&place).into_iter().filter(|name| name != "help");
    let mut names: Vec<_> = names.map(|name| format!("hpcc-rootfs-{name}.1")).collect();
    names.extend([
        "hpcc-rootfs.1".to_owned(),
        "hpcc-rootfs-config-show.1".to_owned(),
    ]);
    names.sort();
    let directory = place.path("pages/man1");
    let mut found: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, names);
    for name in &names {
        let page = fs::read_to_string(directory.join(name)).unwrap();
        assert!(page.contains(".TH "), "{name}");
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION"] {
            assert!(
                page.contains(&format!(".SH {section}")),
                "{name}: {section}"
            );
        }
    }
    let page = fs::read_to_string(directory.join("hpcc-rootfs-pull.1")).unwrap();
    assert!(page.contains("\\-\\-offline"), "{page}");
    assert!(page.contains("hpcc\\-rootfs pull"), "{page}");
    for name in &names {
        let mut groff = place.command("groff");
        groff.args(["-man", "-ww", "-z"]).arg(directory.join(name));
        match groff.output() {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(said, "", "{name}");
            }
            Err(_) => eprintln!("not checked: groff is not installed"),
        }
    }
    // Another run writes the same bytes.
    place.run(["man", "again"]);
    let again = fs::read_to_string(place.path("again/hpcc-rootfs-pull.1")).unwrap();
    assert_eq!(page, again);
    let file = place.run(["man", "agent"]);
    assert_eq!(file.status, Some(1), "{file:#?}");
}

#[test]
fn completions_are_scripts_of_their_shell() {
    let place = Place::new();
    for (shell, words) in [
        ("bash", &["complete -F", "--offline", "COMPREPLY"][..]),
        ("zsh", &["#compdef hpcc-rootfs", "--offline"]),
        ("fish", &["complete -c hpcc-rootfs", "-l offline"]),
    ] {
        let script = place.run(["completions", shell]);
        assert_eq!(script.status, Some(0), "{script:#?}");
        for word in words {
            assert!(script.stdout.contains(word), "{shell}: {word}");
        }
        assert!(
            !script.stdout.contains("markdown"),
            "what is hidden is not completed"
        );
        let file = place.path(shell);
        fs::write(&file, &script.stdout).unwrap();
        let is_installed = Command::new(shell).arg("--version").output().is_ok();
        if is_installed {
            let checked = cli::outcome(place.command(shell).arg("-n").arg(&file));
            assert_eq!(
                (checked.status, checked.stderr.as_str()),
                (Some(0), ""),
                "{shell}"
            );
        } else {
            eprintln!("not checked: {shell} is not installed");
        }
    }
    assert_eq!(place.run(["completions", "tcsh"]).status, Some(2));
    for (words, completion) in [
        ("pull --off", "--offline"),
        ("boot-args --dev", "--device"),
        ("config sho", "show"),
        ("completions fi", "fish"),
        ("vm-c", "vm-config"),
    ] {
        let at = words.split(' ').count();
        let (before, word) = words.rsplit_once(' ').unwrap_or(("", words));
        let typed = format!(
            "source ./bash; COMP_WORDS=(hpcc-rootfs {words}); COMP_CWORD={at}; \
             _hpcc__rootfs hpcc-rootfs {word} \"{before}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let completed = cli::outcome(place.command("bash").args(["-c", &typed]));
        assert_eq!(completed.stdout.trim(), completion, "{completed:#?}");
    }
}

/// clap-rs/clap#5313
#[test]
fn completions_of_values_are_what_the_option_takes() {
    let place = Place::new();
    fs::create_dir(place.path("my files")).unwrap();
    fs::write(place.path("my files/agent one"), "").unwrap();
    let script = place.run(["completions", "bash"]).stdout;
    fs::write(place.path("script"), script).unwrap();
    for (words, expected) in [
        ("pull x --agent 'my'", "<my files>"),
        ("pull x --agent 'my files/ag'", "<my files/agent one>"),
        ("build x --output 'my'", "<my files>"),
        // Bash makes three words of `--agent=my`. hpc/charliecloud#1639, syncany/syncany#209
        ("pull x --agent '=' 'my'", "<my files>"),
        ("build x --compressor '='", "<zstd><gzip><xz><lz4><none>"),
        ("build x --compressor '=' l", "<lz4>"),
        ("build x -o 'my'", "<my files>"),
        // Bash itself adds the directories.
        ("pull x --cache-dir 'my'", "<>"),
        ("--cache-dir 'my'", "<>"),
        // No file has such a name.
        ("pull x --platform ''", "<>"),
        ("pull x --level ''", "<>"),
        ("pull x --fs-verity ''", "<off><auto><on>"),
        ("build x --tails ''", "<yes><no>"),
        ("build x --compressor l", "<lz4>"),
        ("config show des", "<>"),
        ("config show doc", "<doctor>"),
        // Only names follow it, of which bash completes files.
        ("pull -- --of", "<>"),
        ("pull --of", "<--offline>"),
        // The value of an option is called like a command.
        ("--cache-dir gc list --so", "<--sort>"),
        ("--cache-dir '=' gc list --so", "<--sort>"),
        ("--progress json list --so", "<--sort>"),
    ] {
        // compopt complains outside of a completion.
        let typed = format!(
            "source ./script; COMP_WORDS=(hpcc-rootfs {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); \
             _hpcc__rootfs hpcc-rootfs \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\" \
             2>/dev/null; printf '<%s>' \"${{COMPREPLY[@]}}\""
        );
        let completed = cli::outcome(place.command("bash").args(["-c", &typed]));
        assert_eq!(completed.stdout, expected, "{words}: {completed:#?}");
    }
}

/// MilesCranmer/rip2#39
#[test]
fn fish_completes_words_where_no_file_can_stand() {
    let place = Place::new();
    fs::write(place.path("pu.txt"), "").unwrap();
    let script = place.run(["completions", "fish"]).stdout;
    fs::write(place.path("script"), script).unwrap();
    if Command::new("fish").arg("--version").output().is_err() {
        eprintln!("not checked: fish is not installed");
        return;
    }
    for (words, expected) in [
        ("help pu", "pull"),
        ("help df", "df"),
        ("completions ", "bash fish zsh"),
        ("completions f", "fish"),
        ("--progress ", "auto json none plain"),
        ("--log-format ", "json text"),
        ("pull --progress ", "auto json none plain"),
        ("--cache-dir gc list --so", "--sort"),
        ("help pull ", ""),
        ("list ", ""),
        ("verify p", "pu.txt"),
        ("pull x --agent p", "pu.txt"),
    ] {
        let typed = format!("source ./script; complete -C 'hpcc-rootfs {words}'");
        let completed = cli::outcome(place.command("fish").args(["--no-config", "-c", &typed]));
        let lines = completed.stdout.lines();
        let mut found: Vec<_> = lines.filter_map(|line| line.split('\t').next()).collect();
        found.sort_unstable();
        assert_eq!(found.join(" "), expected, "{words}: {completed:#?}");
    }
}

/// astral-sh/uv#3249: after an argument that may be repeated, no option was completed. Before it, the only option that
/// fits was listed and not written.
#[test]
fn zsh_completes_options_before_and_after_repeated_arguments() {
    // A pattern ends with the escape sequence after what zsh writes itself.
    const SCRIPT: &str = r#"
        zmodload zsh/zpty
        zpty z zsh -f -i
        zpty -w z "fpath=($PWD \$fpath); autoload -Uz compinit; compinit -u -D; print rea''dy"
        zpty -r z out '*ready*'
        zpty -n -w z "$1"$'\t'
        zpty -r z out "*$2"$'\e*'
    "#;
    let place = Place::new();
    fs::write(place.path("word.txt"), "").unwrap();
    let script = place.run(["completions", "zsh"]).stdout;
    assert!(!script.contains("\n'*::"), "{script}");
    fs::write(place.path("_hpcc-rootfs"), script).unwrap();
    if Command::new("zsh").arg("--version").output().is_err() {
        eprintln!("not checked: zsh is not installed");
        return;
    }
    for (typed, written) in [
        ("pull --compr", "--compressor"),
        ("pull x --offl", "--offline"),
        ("doctor a b --offl", "--offline"),
        ("rm a --js", "--json"),
        ("build x --lev", "--level"),
        ("gc --max-s", "--max-size"),
        ("verify a wor", "word.txt"),
    ] {
        let mut run = place.command("timeout");
        run.env("TERM", "xterm")
            .args(["60", "zsh", "-fc", SCRIPT, "zsh"]);
        let completed = cli::outcome(run.args([&format!("hpcc-rootfs {typed}"), written]));
        assert_eq!(completed.status, Some(0), "{typed}: {completed:#?}");
    }
}

#[test]
fn output_that_no_artifact_can_be_is_a_usage_error() {
    let place = Place::new();
    fs::create_dir(place.path("directory")).unwrap();
    for (output, says) in [
        ("-", "name a file"),
        ("directory", "a directory, not a regular file"),
        ("directory/", "a directory, not a regular file"),
        ("..", "a directory, not a regular file"),
        ("missing/out.sqsh", "there is no directory missing"),
        ("agent/out.sqsh", "there is no directory agent"),
    ] {
        // Nothing listens there: a request would be another error.
        let built = place.run(["build", "127.0.0.1:1/x", "-o", output]);
        assert_eq!(built.status, Some(2), "{built:#?}");
        assert!(built.stderr.contains(says), "{built:#?}");
        assert!(!built.stderr.contains("127.0.0.1"), "{built:#?}");
    }
}
