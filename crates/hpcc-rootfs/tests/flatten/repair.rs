//! From any stack of layers to one that can be unpacked.

use crate::archive::Item;
use crate::model::{Model, apply};
use crate::run::{chain, flatten_items};

/// Takes out what the model refuses, until it refuses nothing. What it refuses, we refuse, and
/// name the same entry; otherwise this is an error that says so.
pub(crate) fn repair(layers: &mut [Vec<Item>]) -> Result<Model, String> {
    loop {
        let refused = match apply(layers) {
            Ok(model) => return Ok(model),
            Err(refused) => refused,
        };
        let Err(error) = flatten_items(layers) else {
            return Err(format!("not refused: {refused:?}"));
        };
        let text = chain(&error);
        let item = layers[refused.layer].remove(refused.item);
        let named = text.contains(&format!("layer {} ", refused.layer + 1))
            && text.contains(&format!("{:?}", item.path));
        // The message distinguishes the two ways in which a symlink or a link can be wrong.
        let looped = text.contains("symlinks");
        if !named || looped != (refused.why == "loop") {
            return Err(format!("{text}, not {refused:?} of {item:?}"));
        }
    }
}
