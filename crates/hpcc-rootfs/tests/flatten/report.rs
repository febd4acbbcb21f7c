//! How often an image tried to get at what is ours.

use crate::archive::layer;
use crate::run::flatten_items;

#[test]
fn every_attempt_is_counted_once() {
    for (text, count) in [
        (".hpcc/ .hpcc/agent ./.hpcc//x", 3),
        (".hpcc->/etc .hpcc", 2),
        ("n==.hpcc/agent m==n", 2),
        ("s->.hpcc s/agent s/.wh.x s/.wh..wh..opq n==s/agent", 4),
        (".wh..hpcc .hpcc/.wh..wh..opq", 2),
        ("a .wh..wh..opq d/.hpcc", 0),
    ] {
        let flattened = flatten_items(&[layer(text)]).unwrap();
        assert_eq!(flattened.report.reserved, count, "{text}");
    }
}
