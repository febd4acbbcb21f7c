use clap::CommandFactory as _;

use super::*;
use crate::args::Args;

fn parse(text: &str) -> Result<File, String> {
    let (mut file, mut problems) = File::parse("f.toml".into(), text);
    problems.append(&mut file.check(&Args::command()));
    match problems.first() {
        Some(problem) => Err(problem.line()),
        None => Ok(file),
    }
}

#[test]
fn lines_beside_a_wrong_one_are_kept() {
    let text = "level = \nagent = \"a\"\n[pull]\nagnet = 1\nseed = \"x\"\n[pul]\nx = 1\n";
    let (mut file, mut problems) = File::parse("f.toml".into(), text);
    problems.append(&mut file.check(&Args::command()));
    let places = problems.iter().map(|problem| {
        let place = &problem.place;
        (place.line, place.key.as_deref())
    });
    let places: Vec<_> = places.collect();
    let expected = [
        (Some(1), None),
        (Some(4), Some("agnet")),
        (Some(7), Some("pul")),
    ];
    assert_eq!(places, expected, "{problems:?}");
    let mut kept: Vec<_> = file.keys.iter().map(|key| key.name.as_str()).collect();
    kept.sort_unstable();
    assert_eq!(kept, ["agent", "seed"]);
}

#[test]
fn doctor_has_the_table_of_pull_after_its_own() {
    let file = parse("agent = \"a\"\n[pull]\nagent = \"b\"\nlevel = 1\n[doctor]\nlevel = 2\n");
    let (file, root) = (file.unwrap(), Args::command());
    let line = |option: &str| {
        let args = options_of(&root, &["doctor"]);
        let arg = args.iter().find(|arg| long(arg) == option).unwrap();
        let mut tables = tables(&["doctor"]).into_iter();
        let setting = tables.find_map(|table| file.setting(table, arg).unwrap());
        setting.map(|setting| setting.origin.to_string())
    };
    assert_eq!(line("agent").as_deref(), Some("f.toml:3"));
    assert_eq!(line("level").as_deref(), Some("f.toml:6"));
}

#[test]
fn wrong_files_are_refused_with_the_line() {
    for (text, says) in [
        ("a = \n", "f.toml:1: "),
        (
            "\nagnet = \"x\"",
            "f.toml:2: \"agnet\" is not an option of any command",
        ),
        (
            "[pull]\n\n agnet = 1",
            "f.toml:3: \"agnet\" is not an option of pull",
        ),
        (
            "[gc]\nagent = \"x\"",
            "f.toml:2: \"agent\" is not an option of gc",
        ),
        (
            "cache_dir = \"x\"",
            "f.toml:1: \"cache_dir\" is not an option of any command; write cache-dir; correct or remove",
        ),
        (
            "[gc]\nseed = \"x\"",
            "\"seed\" is not an option of gc; it is one of pull, doctor; correct",
        ),
        (
            "[pull]\nagnet = 1",
            "\"agnet\" is not an option of pull; a similar one is agent; correct or remove",
        ),
        (
            "jjjjj = 1",
            "remove this line; hpcc-rootfs config show lists",
        ),
        ("\"\" = 1", "\"\" is not an option of any command"),
        ("[pull]\n\"\" = {}", "\"\" is not an option of pull"),
        (
            "[pul]\n",
            "f.toml:1: there is no command \"pul\"; a similar one is pull; correct or remove",
        ),
        ("[agent]\n", "no command \"agent\"; agent is an option"),
        (
            "[[pull]]\nagent = \"a\"",
            "cannot use an array as pull: expected a table; pull is a command",
        ),
        (
            "pull = true",
            "cannot use the boolean true as pull: expected a table",
        ),
        (
            "agent = true",
            "f.toml:1: cannot use the boolean true as agent: expected a string; correct",
        ),
        (
            "agent = 5",
            "cannot use the whole number 5 as agent: expected a string",
        ),
        (
            "json = \"yes\"",
            "f.toml:1: cannot use a string as json: expected true or false",
        ),
        ("json = 1", "cannot use the whole number 1 as json"),
        (
            "agent = [\"a\", \"b\"]",
            "cannot use an array as agent: expected a string, because the option cannot be repeated",
        ),
        (
            "max-size = 1.5",
            "cannot use the float 1.5 as max-size: expected a whole number or a string",
        ),
        (
            "seed = [\"a\", 1.5]",
            "cannot use an array with the float 1.5 as seed: expected a string, or an array of these",
        ),
        (
            "seed = [[\"a\"]]",
            "cannot use an array with an array as seed",
        ),
        (
            "agent = 1979-05-27",
            "cannot use the date or time 1979-05-27 as agent",
        ),
        (
            "[pull.agent]\nx = 1",
            "cannot use a table as agent: expected a string",
        ),
        ("config = \"x\"", "f.toml:1: config cannot be set in a file"),
        ("agent = \"a\"\nagent = \"b\"", "f.toml:2: "),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(says), "{text:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    assert!(parse("").is_ok());
    assert!(parse("[pull]\n").is_ok());
}

#[test]
fn table_of_a_command_comes_before_what_all_commands_have() {
    let file = parse("agent = \"a\"\nlevel = 5\ntails = true\n[build]\nagent = \"b\"\nseed = []\n");
    assert!(file.is_err(), "build has no seed");
    let file =
        parse("agent = \"a\"\nlevel = -5\ntails = true\nseed = \"x\"\n[build]\nagent = \"b\"\n");
    let file = file.unwrap();
    let root = Args::command();
    let value = |command: &str, option: &str| {
        let args = options_of(&root, &[command]);
        let arg = args.iter().find(|arg| long(arg) == option).unwrap();
        let mut tables = tables(&[command]).into_iter();
        let setting = tables.find_map(|table| file.setting(table, arg).unwrap())?;
        Some((setting.values, setting.origin.to_string()))
    };
    let is = |value: &str, line: u8| Some((vec![value.into()], format!("f.toml:{line}")));
    assert_eq!(value("pull", "agent"), is("a", 1));
    assert_eq!(value("build", "agent"), is("b", 6));
    assert_eq!(value("build", "level"), is("-5", 2));
    assert_eq!(value("pull", "tails"), is("yes", 3));
    assert_eq!(value("pull", "seed"), is("x", 4));
    assert_eq!(value("pull", "platform"), None);
}
