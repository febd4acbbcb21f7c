//! Results in a window: no line is longer than the window, and nothing that a script reads depends on one.

use test_support::image::{Image, Layer, Store};
use test_support::registry::Registry;

use crate::cli::{Place, program};
use crate::window::Window;

/// Returns a store with two artifacts, one of which has long words of every kind.
fn stored() -> (Place, String) {
    let mut store = Store::new();
    let layers = (0..12).map(|n| Layer::new().file(format!("file-{n}"), "x"));
    let image = layers
        .fold(Image::new(), Image::layer)
        .env(&format!(
            "PATH={}",
            "/a/directory/of/some/length:".repeat(20)
        ))
        .env("WORDS=several words, of which none is long, but all of them together are")
        .entrypoint(&[
            "/usr/local/bin/entrypoint",
            "--option",
            "größe",
            "漢字漢字漢字漢字漢字",
        ])
        .add_to(&mut store);
    store.tag("latest", &image);
    let name = format!("a-team/{}", "a-name/".repeat(12));
    let other = Image::new()
        .layer(Layer::new().file("other", "y"))
        .add_to(&mut store);
    store.tag("other", &other);
    let registry = Registry::serve(store).unwrap();
    let place = Place::new();
    let reference = format!("{}/{name}image:latest", registry.addr());
    place.pull(&reference, &["--quiet", "--verity"]).line();
    let other = format!("{}/image:other", registry.addr());
    place.pull(&other, &["--quiet"]).line();
    (place, reference)
}

/// Columns of a line: two for each of these letters.
fn width(line: &str) -> usize {
    let wide = line.chars().filter(|c| matches!(c, '漢' | '字'));
    line.chars().count() + wide.count()
}

/// Lines that people copy, such as paths, kernel lines and JSON, are whole in every window. All others are here.
#[test]
fn lines_for_people_fit_every_window_and_lose_no_letter() {
    const MISSING: &str =
        "registry.example/漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字";
    let (place, reference) = stored();
    let file = format!("./{}.tar", "größe漢字".repeat(12));
    for (arguments, code) in [
        (&["inspect", "--requires", &reference][..], 0),
        (&["verify"], 0),
        (&["gc", "--dry-run", "--max-size", "0"], 0),
        (&["rm", MISSING], 1),
        (&["path", &file], 1),
        (&["link", &reference, &file, "--cache-dir", "/proc/no"], 1),
        (&["doctor", &format!("tar:{file}"), "--agent", &file], 1),
        (&["pull", &format!("tar:{file}"), "--no-agent"], 1),
        (&["build", &reference, "-o", &format!("{file}/x")], 2),
        (&["config", "show", MISSING], 2),
        (&["list", "--cache-dir", "no-store"], 0),
        (&["pull"], 2),
        (
            &["pull", "--nosuch-漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字"],
            2,
        ),
        (&["pull", &reference, "--level", MISSING], 2),
        (&["--help"], 0),
        (&["help", "pull"], 0),
        (&["pull", "-h"], 0),
        (&["doctor", "-h"], 0),
    ] {
        let shown = |columns| {
            let mut window = Window::of_everything(&place, arguments, (columns, 24));
            assert_eq!(window.end().0, Some(code), "{:?}", window.seen.last());
            String::from_utf8(std::mem::take(&mut window.written)).unwrap()
        };
        // Free disk space changes between two runs.
        let letters = |text: &str| -> String {
            let letters = text.chars().filter(|c| !c.is_whitespace());
            letters
                .filter(|c| !matches!(c, '0'..='9' | '.' | '\\'))
                .collect()
        };
        let whole = shown(4000);
        for columns in [20, 40, 80, 120] {
            let text = shown(columns);
            for line in text.lines() {
                assert!(width(line) <= usize::from(columns), "{columns}: {text}");
            }
            assert_eq!(letters(&text), letters(&whole), "{arguments:?}: {text}");
            let mut lines = text.lines().peekable();
            while let (Some(line), Some(next)) = (lines.next(), lines.peek()) {
                // A line that is full ends with a word or with the mark of a broken one.
                let next = next.split_whitespace().next().unwrap_or_default();
                let last = line.split(' ').next_back().unwrap_or_default();
                let joined = last.to_owned() + next;
                let is_cut = !next.is_empty()
                    && !last.is_empty()
                    && !last.ends_with('\\')
                    && whole.split_whitespace().any(|word| word == joined);
                assert!(!is_cut, "{columns}: {joined} in {text}");
            }
        }
    }
}

#[test]
fn results_fit_windows_of_every_width() {
    let (place, reference) = stored();
    program();
    for columns in [40, 80, 120] {
        for (arguments, words) in [
            (&["list"][..], "DIGEST"),
            (&["list", "--sort", "used"], "DIGEST"),
            (&["df"], "total artifacts"),
            (&["inspect", &reference], "layer       12 of 12 sha256:"),
            (&["config", "show"], "OPTION"),
        ] {
            let mut window = Window::of_results(&place, arguments, (columns, 24));
            let (code, last) = window.end();
            assert_eq!(code, Some(0), "{arguments:?}: {last}");
            let text = String::from_utf8(std::mem::take(&mut window.written)).unwrap();
            assert!(text.contains(words), "{arguments:?}: {text}");
            for line in text.lines() {
                assert!(width(line) <= usize::from(columns), "{columns}: {line:?}");
            }
        }
    }
}

#[test]
fn names_in_other_locales_than_utf8_are_cut_with_ascii() {
    let (place, _) = stored();
    for (locale, mark) in [
        (None, "..."),
        (Some(("LANG", "C")), "..."),
        (Some(("LC_CTYPE", "POSIX")), "..."),
        (Some(("LC_ALL", "C.UTF-8")), "…"),
    ] {
        for command in ["list", "df"] {
            let mut run = place.command(program());
            run.env("TERM", "xterm").arg(command).envs(locale);
            let mut window = Window::of_results_of(&mut run, (60, 24));
            let (code, last) = window.end();
            assert_eq!(code, Some(0), "{last}");
            let text = String::from_utf8(std::mem::take(&mut window.written)).unwrap();
            assert!(text.contains(mark), "{locale:?}: {text}");
            assert_eq!(text.is_ascii(), mark == "...", "{locale:?}: {text}");
        }
    }
}

#[test]
fn inspect_into_a_pipe_has_whole_lines() {
    let (place, reference) = stored();
    let text = place.run(["inspect", &reference]).stdout;
    let longest = text.lines().map(str::len).max();
    assert!(longest > Some(500), "{text}");
    let digest = text.lines().find(|line| line.starts_with("identity"));
    assert_eq!(digest.unwrap().len(), 12 + 71, "{text}");
}
