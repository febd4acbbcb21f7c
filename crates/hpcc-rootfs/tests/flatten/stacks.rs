//! Generated layer stacks: few names, so that everything meets everything.

use proptest::prelude::*;

use crate::archive::{Item, What};

/// Up to four layers of up to ten entries.
pub(crate) fn stacks() -> impl Strategy<Value = Vec<Vec<Item>>> {
    prop::collection::vec(prop::collection::vec(any_item(), 0..10), 1..5).prop_map(connect)
}

/// Up to three layers in which most entries are hard links, so that they wait for each other, and
/// for targets behind each other.
pub(crate) fn waiting_stacks() -> impl Strategy<Value = Vec<Vec<Item>>> {
    let link = (path(), path()).prop_map(|(path, target)| Item::new(&path, What::Link(target)));
    let symlink = (path(), target()).prop_map(|(path, to)| Item::new(&path, What::Symlink(to)));
    let there = (path(), prop::bool::ANY).prop_map(|(path, file)| match file {
        true => Item::new(&path, What::File(path.clone())),
        false => Item::new(&path, What::Directory),
    });
    let links = prop::collection::vec(link, 1..8);
    let others = prop::collection::vec(prop_oneof![3 => symlink, 2 => there], 1..6);
    let layer = (links, others).prop_map(|(links, others)| [links, others].concat());
    prop::collection::vec(layer, 1..4)
}

#[derive(Clone, Debug)]
enum Draft {
    Item(Item),
    /// A hard link to one of the files so far, by either spelling of its path.
    Link(String, prop::sample::Index, Item),
}

fn any_item() -> impl Strategy<Value = Draft> {
    let meta = (0u16..4, 0u32..3, 1u32..1000, prop::bool::weighted(0.1));
    let what = prop_oneof![
        3 => (path(), Just(What::Directory)).boxed(),
        5 => (path(), "[a-z]{1,8}".prop_map(What::File)).boxed(),
        3 => (path(), target().prop_map(What::Symlink)).boxed(),
        2 => (path().prop_map(whiteout), Just(What::File(String::new()))).boxed(),
        1 => (path().prop_map(|p| format!("{p}/.wh..wh..opq")), Just(What::File(String::new()))).boxed(),
        1 => (Just(".wh..wh..opq".into()), Just(What::File(String::new()))).boxed(),
        1 => (path(), Just(What::Fifo)).boxed(),
        1 => (path(), Just(What::Char(1, 3))).boxed(),
    ];
    let item = (what, meta).prop_map(|((path, what), (mode, uid, mtime, xattr))| {
        let is_link = matches!(what, What::Symlink(_));
        let mut item = Item::new(&path, what);
        item.mode = [0o755, 0o700, 0o4755, 0o1777][usize::from(mode)];
        item.uid = uid;
        item.mtime = u64::from(mtime);
        if xattr && !is_link && matches!(item.what, What::Directory | What::File(_)) {
            item.xattrs
                .push(("user.test".into(), vec![0, b'\n', b'=', 255]));
        }
        item
    });
    prop_oneof![
        4 => item.clone().prop_map(Draft::Item),
        1 => (path(), any::<prop::sample::Index>(), item).prop_map(|(p, i, m)| Draft::Link(p, i, m)),
    ]
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c", "d"])
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(name(), 1..4).prop_map(|names| names.join("/"))
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => path(),
        2 => path().prop_map(|path| format!("/{path}")),
        2 => path().prop_map(|path| format!("../{path}")),
        1 => Just("../..".to_string()),
        1 => Just(".".to_string()),
        1 => path().prop_map(|path| format!("{path}/../a")),
    ]
}

fn whiteout(path: String) -> String {
    match path.rsplit_once('/') {
        Some((directory, name)) => format!("{directory}/.wh.{name}"),
        None => format!(".wh.{path}"),
    }
}

/// Gives the drafted links targets that may well be there.
fn connect(layers: Vec<Vec<Draft>>) -> Vec<Vec<Item>> {
    let mut files = vec!["a/b".to_string()];
    for draft in layers.iter().flatten() {
        if let Draft::Item(item) = draft
            && matches!(item.what, What::File(_) | What::Symlink(_) | What::Fifo)
            && !item.path.contains(".wh.")
        {
            files.push(item.path.clone());
        }
    }
    let connect = |draft| match draft {
        Draft::Item(item) => item,
        Draft::Link(path, index, other) => Item {
            path,
            what: What::Link(index.get(&files).clone()),
            xattrs: Vec::new(),
            ..other
        },
    };
    let layers = layers.into_iter();
    layers
        .map(|layer| layer.into_iter().map(connect).collect())
        .collect()
}

/// Returns whether one of the hard cases is in it: a hard link to what only an older layer has put there, or something
/// below a name that is a symlink at that moment.
pub(crate) fn is_hard(layers: &[Vec<Item>]) -> bool {
    let mut symlinks: Vec<&str> = Vec::new();
    let mut older: Vec<&str> = Vec::new();
    for layer in layers {
        for item in layer {
            let below = |link: &&str| item.path.starts_with(&format!("{link}/"));
            if symlinks.iter().any(below) {
                return true;
            }
            if let What::Link(target) = &item.what {
                let own = layer.iter().any(|other| other.path == *target);
                if !own && older.contains(&target.as_str()) {
                    return true;
                }
            }
            symlinks.retain(|link| *link != item.path);
            if matches!(item.what, What::Symlink(_)) {
                symlinks.push(&item.path);
            }
        }
        older.extend(layer.iter().map(|item| item.path.as_str()));
    }
    false
}
