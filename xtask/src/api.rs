//! The public interface of each crate as text, in `docs/api`, so that a review sees a change of it.
//!
//! The text comes from the pages that rustdoc writes: stable Rust has no other output of its own that lists an
//! interface. Pages of another rustdoc may differ, so a listing names its version and is compared with the same one alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tally::Tally;
use crate::{command, workspace};

/// The crates that others link.
const CRATES: [&str; 3] = ["hpcc-rootfs", "ociget", "sqfs-writer"];

/// Whether to replace the listings.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct ApiOptions {
    /// Replace the listings in docs/api, instead of comparing them
    #[arg(long)]
    pub write: bool,
}

/// Lists the interfaces, and compares them with `docs/api` or replaces the listings there.
///
/// # Errors
///
/// The documentation does not build, or an interface differs from its listing.
pub fn api(options: ApiOptions) -> Result<()> {
    let mut doc = workspace::cargo();
    doc.args(["doc", "--workspace", "--no-deps"]);
    command::output(&mut doc)?;
    let mut differences = Vec::new();
    for (name, listing) in listings()? {
        let path = workspace::root()
            .join("docs/api")
            .join(format!("{name}.txt"));
        if options.write {
            fs::create_dir_all(path.parent().context("docs/api has no parent")?)?;
            fs::write(&path, listing)?;
        } else {
            let kept = fs::read_to_string(&path).unwrap_or_default();
            differences.extend(difference(name, &kept, &listing));
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    bail!("{}", differences.join("\n"));
}

/// Compares the interfaces with their listings, from pages that were just made.
pub(crate) fn check() -> Result<Tally> {
    let mut differences = Vec::new();
    for (name, listing) in listings()? {
        let path = workspace::root()
            .join("docs/api")
            .join(format!("{name}.txt"));
        let kept = fs::read_to_string(&path).unwrap_or_default();
        if let (Some(kept), Some(made)) = (kept.lines().next(), listing.lines().next())
            && kept != made
        {
            println!("{name} NOT compared: its listing is of another version, {kept}");
            continue;
        }
        differences.extend(difference(name, &kept, &listing));
    }
    if differences.is_empty() {
        println!("the public interfaces are those of docs/api");
        return Ok(Tally::default());
    }
    Ok(Tally::failed(&format!(
        "{}\nif the change is meant, run: cargo xtask api --write",
        differences.join("\n")
    )))
}

/// Says which lines of two listings differ.
fn difference(name: &str, kept: &str, made: &str) -> Option<String> {
    let lines = |text: &str| -> BTreeSet<String> { text.lines().map(str::to_owned).collect() };
    let (kept, made) = (lines(kept), lines(made));
    let gone = kept.difference(&made).map(|line| format!("- {line}"));
    let new = made.difference(&kept).map(|line| format!("+ {line}"));
    let changes: Vec<_> = gone.chain(new).collect();
    (!changes.is_empty())
        .then(|| format!("the interface of {name} differs:\n{}", changes.join("\n")))
}

/// Returns the listing of each crate, from the pages in `target/doc`.
fn listings() -> Result<Vec<(&'static str, String)>> {
    let version = command::output(Command::new("rustdoc").arg("--version"))?;
    // Versions that differ in their last number write the same pages.
    let version = version
        .trim()
        .rsplit_once('.')
        .map_or("rustdoc", |(minor, _)| minor);
    let documents = workspace::target("doc")?;
    CRATES
        .into_iter()
        .map(|name| {
            let directory = documents.join(name.replace('-', "_"));
            let mut lines = BTreeSet::new();
            // Pages of items that are gone stay, and this list does not name them.
            let list = directory.join("all.html");
            let list = fs::read_to_string(&list)
                .with_context(|| format!("cannot read {}", list.display()))?;
            for page in pages(&list) {
                collect(&directory, page, &mut lines)?;
            }
            let lines: Vec<_> = lines.into_iter().collect();
            Ok((name, format!("# {version}\n{}\n", lines.join("\n"))))
        })
        .collect()
}

/// Returns the pages that the list of all items names, by their paths below the crate's.
fn pages(list: &str) -> Vec<&str> {
    let links = list.split("href=\"").skip(1);
    let links = links.filter_map(|rest| rest.split('"').next());
    links
        .filter(|link| link.ends_with(".html") && !link.starts_with('.'))
        .collect()
}

/// Adds the item of a page and its members.
fn collect(directory: &Path, page: &str, lines: &mut BTreeSet<String>) -> Result<()> {
    let (module, file) = page.rsplit_once('/').unwrap_or(("", page));
    let Some((kind, name)) = item(file) else {
        return Ok(());
    };
    let item = match module {
        "" => name.to_owned(),
        module => format!("{}::{name}", module.replace('/', "::")),
    };
    let path = directory.join(page);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    lines.insert(format!("{kind} {item}"));
    lines.extend(
        members(&text)
            .into_iter()
            .map(|member| format!("{item}: {member}")),
    );
    Ok(())
}

/// Returns the kind and the name of the item that a page is about.
fn item(file: &str) -> Option<(&str, &str)> {
    let (kind, rest) = file.strip_suffix(".html")?.split_once('.')?;
    let is_item = matches!(
        kind,
        "struct" | "enum" | "trait" | "fn" | "constant" | "type" | "macro" | "union" | "static"
    );
    is_item.then_some((kind, rest))
}

/// Returns the declaration of an item, its fields, variants and methods, and the traits that it implements itself.
fn members(page: &str) -> Vec<String> {
    let mut members = Vec::new();
    // What the compiler and blanket implementations add is the same for all.
    let own = page
        .split("id=\"synthetic-implementations\"")
        .next()
        .unwrap_or(page);
    let own = own
        .split("id=\"blanket-implementations\"")
        .next()
        .unwrap_or(own);
    let (inherent, traits) = own
        .split_once("id=\"trait-implementations\"")
        .unwrap_or((own, ""));
    for part in inherent.split("<h4 class=\"code-header\">").skip(1) {
        members.extend(part.split("</h4>").next().map(text));
    }
    for part in inherent
        .split(" class=\"structfield section-header\">")
        .skip(1)
    {
        members.extend(
            part.split("</code>")
                .next()
                .map(|field| format!("field {}", text(field))),
        );
    }
    for part in inherent.split(" class=\"variant\">").skip(1) {
        let variant = part.split("<h3 class=\"code-header\">").nth(1);
        let variant = variant.and_then(|rest| rest.split("</h3>").next());
        members.extend(variant.map(|variant| format!("variant {}", text(variant))));
    }
    for part in traits.split("<h3 class=\"code-header\">").skip(1) {
        members.extend(part.split("</h3>").next().map(text));
    }
    if let Some(declaration) = page.split("<pre class=\"rust item-decl\">").nth(1) {
        let declaration = declaration.split("</pre>").next().unwrap_or_default();
        // Its body repeats the members.
        let declaration = text(declaration);
        let head = declaration.split(['{', ';']).next().unwrap_or_default();
        members.push(head.trim().to_owned());
    }
    members
}

/// Returns the text of a piece of a page, in one line.
fn text(html: &str) -> String {
    let mut plain = String::new();
    let mut is_tag = false;
    for letter in html.chars() {
        match letter {
            '<' => is_tag = true,
            '>' => is_tag = false,
            letter if !is_tag => plain.push(letter),
            _ => {}
        }
    }
    for (entity, letter) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ] {
        plain = plain.replace(entity, letter);
    }
    plain
        .split_whitespace()
        .filter(|word| *word != "ⓘ" && *word != "§")
        .collect::<Vec<_>>()
        .join(" ")
        .replace('§', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<pre class=\"rust item-decl\"><code>pub struct <a>Lease</a> { <span>/* fields */</span> }</code></pre>\
        <span id=\"structfield.size\" class=\"structfield section-header\"><a>§</a><code>size: <a>u64</a></code></span>\
        <section id=\"method.path\"><h4 class=\"code-header\">pub fn <a>path</a>(&amp;self) -&gt; &amp;<a>Path</a></h4></section>\
        <h2 id=\"trait-implementations\"><section><h3 class=\"code-header\">impl <a>Debug</a> for Lease</h3></section>\
        <h2 id=\"blanket-implementations\"><h3 class=\"code-header\">impl&lt;T&gt; Any for T</h3>";

    #[test]
    fn members_are_read_from_a_page() {
        assert_eq!(
            members(PAGE),
            [
                "pub fn path(&self) -> &Path",
                "field size: u64",
                "impl Debug for Lease",
                "pub struct Lease"
            ]
        );
        assert_eq!(item("struct.Lease.html"), Some(("struct", "Lease")));
        assert_eq!(item("index.html"), None);
        let list = "<a href=\"index.html\"><a href=\"../x.html\"><a href=\"a/fn.b.html\">";
        assert_eq!(pages(list), ["index.html", "a/fn.b.html"]);
    }

    #[test]
    fn difference_names_lines_that_came_and_went() {
        assert_eq!(difference("x", "a\nb\n", "b\na\n"), None);
        let text = difference("x", "a\nb\n", "b\nc\n").unwrap();
        assert_eq!(text, "the interface of x differs:\n- a\n+ c");
    }
}
