//! Runs the commands of the README and of the quick start, and compares what they print.
//!
//! The network and cargo have stand-ins: a registry on loopback that `hosts.toml` names as the server of
//! Docker Hub, a `cargo install` that takes the program that this run has built, and a `cargo xtask agent` that names
//! a script.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use test_support::image::{Entry, Image, Index, Layer, Store, static_program};
use test_support::registry::Registry;

use super::{Block, blocks, read, root};
use crate::cli::{Place, outcome, program};

/// Stands between the outputs of blocks.
const MARK: &str = "@@ next block @@";

/// Returns an index of one image that stands in for Debian's.
fn debian() -> Registry {
    let mut store = Store::new();
    let layer = Layer::new()
        .dir("bin")
        .entry(Entry::file("bin/sh", static_program()).mode(0o755))
        .dir("etc")
        .file("etc/hostname", "debian\n");
    let image = Image::new().layer(layer).cmd(&["bash"]);
    let image = Index::new().image(image).add_to(&mut store);
    store.tag("12", &image);
    Registry::serve(store).unwrap()
}

/// Writes a program in the shell's language.
pub(super) fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What stands in for the network and for cargo: programs in a directory that comes first in the PATH.
fn stand_ins(place: &Place, registry: &Registry) {
    let hosts = place.path("hosts");
    fs::create_dir_all(hosts.join("docker.io")).unwrap();
    let server = format!("server = \"http://{}\"\n", registry.addr());
    fs::write(hosts.join("docker.io/hosts.toml"), server).unwrap();

    let (program, root) = (program().display(), root().display());
    let hosts = hosts.display();
    // Found in the PATH only after `cargo install` has put it there.
    script(
        &place.path("built/hpcc-rootfs"),
        &format!(
            "#!/bin/sh\ncase \"$1\" in\n\
             pull|build) command=$1; shift; exec {program} \"$command\" --hosts-dir {hosts} \"$@\" ;;\n\
             *) exec {program} \"$@\" ;;\nesac\n"
        ),
    );
    let bin = place.path("bin");
    script(
        &bin.join("cargo"),
        &format!(
            "#!/bin/sh\n\
             if [ \"$1 $2\" = 'install --path' ] && grep -q '^\\[\\[bin\\]\\]' \"{root}/$3/Cargo.toml\"; then\n\
             echo \"  Installing the stand-in of $3\" >&2\n\
             exec cp {built} {bin}/hpcc-rootfs\nfi\n\
             if [ \"$*\" = 'xtask agent' ]; then\n\
             printf '#!/bin/sh\\n' > {agent}\nexec echo {agent}\nfi\n\
             echo \"no stand-in for cargo $*\" >&2\nexit 1\n",
            built = place.path("built/hpcc-rootfs").display(),
            bin = bin.display(),
            agent = place.path("example-agent").display(),
        ),
    );
}

/// Returns whether a line is what a line of a page shows, where `…` stands for any text.
fn line_matches(shown: &str, line: &str) -> bool {
    let mut pieces = shown.split('…');
    let Some(mut rest) = line.strip_prefix(pieces.next().unwrap_or_default()) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        let found = match pieces.peek() {
            Some(_) => rest.find(piece),
            None => rest.ends_with(piece).then(|| rest.len() - piece.len()),
        };
        let Some(at) = found else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    true
}

/// Returns whether lines are those that a page shows, where a line of `…` alone stands for any number of them.
fn matches(shown: &[&str], lines: &[&str]) -> bool {
    match shown.split_first() {
        None => lines.is_empty(),
        Some((&"…", rest)) => (0..=lines.len()).any(|skip| matches(rest, &lines[skip..])),
        Some((first, rest)) => lines
            .split_first()
            .is_some_and(|(line, lines)| line_matches(first, line) && matches(rest, lines)),
    }
}

/// Commands, and what a page shows as their output.
fn steps(page: &str, info: &str) -> Vec<(Block, Option<String>)> {
    let mut steps: Vec<(Block, Option<String>)> = Vec::new();
    let mut open = false;
    for block in blocks(&read(page)) {
        if block.info == info {
            steps.push((block, None));
            open = true;
        } else if block.info == "text" && open {
            steps.last_mut().unwrap().1 = Some(block.text);
            open = false;
        } else {
            open = false;
        }
    }
    steps
}

/// Runs the blocks of a page in one shell, in an empty home, and compares.
fn run(page: &str, info: &str, least: usize) {
    let steps = steps(page, info);
    assert!(
        steps.len() >= least,
        "{page} has only {} blocks",
        steps.len()
    );
    let place = Place::new();
    let registry = debian();
    stand_ins(&place, &registry);
    let mut text = String::from("set -eu\nexec 2>&1\n");
    for (block, _) in &steps {
        text.push_str(&block.text);
        text.push_str(&format!("echo '{MARK}'\n"));
    }
    let path = format!(
        "{}:{}",
        place.path("bin").display(),
        std::env::var("PATH").unwrap()
    );
    let mut shell = place.command("bash");
    shell
        .arg("-c")
        .arg(&text)
        .env("PATH", path)
        .env_remove("HPCC_CACHE_DIR");
    let outcome = outcome(&mut shell);
    assert_eq!(outcome.status, Some(0), "{page}: {outcome:#?}");
    let mark = format!("{MARK}\n");
    let mut outputs = outcome.stdout.split(&mark);
    for (block, shown) in &steps {
        let output = outputs.next().unwrap();
        let lines: Vec<_> = output.lines().collect();
        let shown = shown.as_deref().unwrap_or_default();
        let expected: Vec<_> = shown.lines().collect();
        let at = block.line;
        assert!(
            matches(&expected, &lines),
            "{page}:{at}:\n{}\nshown:\n{shown}\nprinted:\n{output}",
            block.text
        );
    }
}

#[test]
fn readme_and_quick_start_print_what_they_show() {
    run("README.md", "sh", 1);
    run("docs/quick-start.md", "sh quick-start", 6);
}

/// Otherwise the comparison could agree with anything.
#[test]
fn shown_output_differs_from_other_output() {
    assert!(line_matches("sha256:…  intact", "sha256:00ff  intact"));
    assert!(line_matches("…", ""));
    assert!(!line_matches("sha256:…  intact", "sha256:00ff  damaged"));
    assert!(!line_matches("intact", "intact and more"));
    assert!(matches(&["a", "…", "b"], &["a", "x", "y", "b"]));
    assert!(matches(&["a", "…", "b"], &["a", "b"]));
    assert!(!matches(&["a", "…", "b"], &["a", "x"]));
    assert!(!matches(&["a"], &["a", "b"]));
    assert!(!matches(&["a"], &[]));
}
