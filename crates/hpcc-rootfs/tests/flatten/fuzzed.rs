//! Any stack of layers becomes what the naive model says, and what the model refuses is refused for
//! the same entry.
//!
//! Three bytes of input are an entry: what it is, its path, and where it leads; every input is a
//! stack. There are few names, so that everything meets everything.

use crate::archive::{Item, What};
use crate::{listing, repair, run};

/// Stacks beyond this are slow and no harder.
const ENTRIES: usize = 64;
const LAYERS: usize = 6;

/// Panics if this project's and the model's trees, or refusals, differ.
pub(crate) fn check(input: &[u8]) {
    let mut layers = stack(input);
    let model = match repair::repair(&mut layers) {
        Ok(model) => model,
        Err(difference) => panic!("{difference}\n{layers:#?}"),
    };
    let flattened = match run::flatten_items(&layers) {
        Ok(flattened) => flattened,
        Err(error) => panic!("refused: {}\n{layers:#?}", run::chain(&error)),
    };
    let ours = listing::listing(&flattened);
    assert!(
        ours == model.listing(),
        "{layers:#?}\nours:  {}\nmodel: {}",
        listing::notation(&ours),
        listing::notation(&model.listing())
    );
}

/// Returns the stack that an input stands for.
pub(crate) fn stack(input: &[u8]) -> Vec<Vec<Item>> {
    let mut layers = vec![Vec::new()];
    let (entries, _) = input.as_chunks();
    for &[what, at, to] in entries.iter().take(ENTRIES) {
        let place = path(at);
        let entry = match what % 16 {
            0 | 1 => Item::new(&place, What::Directory),
            2..=4 => Item::new(&place, What::File(format!("{to}"))),
            5 | 6 => Item::new(&place, What::Symlink(target(to))),
            7..=9 => Item::new(&place, What::Link(path(to))),
            10 => Item::new(&whiteout(&place), What::File(String::new())),
            11 => Item::new(&format!("{place}/.wh..wh..opq"), What::File(String::new())),
            12 => Item::new("./", What::Directory),
            13 => Item::new(&place, What::Fifo),
            14 => Item::new(".wh..wh..opq", What::File(String::new())),
            _ if layers.len() < LAYERS => {
                layers.push(Vec::new());
                continue;
            }
            _ => continue,
        };
        let mode = [0o755, 0o700, 0o4755, 0o1777][usize::from(what >> 6)];
        let uid = u32::from(what >> 4 & 3);
        if let Some(layer) = layers.last_mut() {
            layer.push(Item { mode, uid, ..entry });
        }
    }
    layers
}

/// One to three components out of four.
fn path(byte: u8) -> String {
    let name = |shift: u32| ["a", "b", "c", "d"][usize::from(byte >> shift & 3)];
    match byte >> 6 {
        0 => name(0).to_owned(),
        1 | 2 => format!("{}/{}", name(0), name(2)),
        _ => format!("{}/{}/{}", name(0), name(2), name(4)),
    }
}

fn target(byte: u8) -> String {
    let path = path(byte.rotate_left(3));
    match byte & 7 {
        0 | 1 => path,
        2 => format!("/{path}"),
        3 => format!("../{path}"),
        4 => "../..".to_owned(),
        5 => ".".to_owned(),
        6 => format!("{path}/../a"),
        _ => format!("./{path}//"),
    }
}

fn whiteout(path: &str) -> String {
    match path.rsplit_once('/') {
        Some((directory, name)) => format!("{directory}/.wh.{name}"),
        None => format!(".wh.{path}"),
    }
}
