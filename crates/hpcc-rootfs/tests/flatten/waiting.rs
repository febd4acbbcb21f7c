//! Hard links that wait for their targets: what they cost, whatever their order and shape.

use std::fmt::Write as _;

use hpcc_rootfs::flatten::Options;
use sqfs_writer::NodeId;

use crate::archive::{layer, tar};
use crate::run::{chain, flatten_blobs};

const LINKS: usize = 20_000;

/// A shape of `n` links, the steps that each may take, and how many names its root has in the end.
type Shape = (&'static str, fn(usize) -> String, u64, usize);

/// `entry` of each of `numbers`, one behind the other.
fn each(numbers: impl IntoIterator<Item = usize>, entry: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for number in numbers {
        write!(text, "{} ", entry(number)).unwrap();
    }
    text
}

/// Returns the numbers from 1 to `n - 1`, each once, far from their neighbors.
fn scattered(n: usize) -> impl Iterator<Item = usize> {
    (1..n).map(move |i| i * 7919 % n)
}

fn behind_the_one_before(k: usize) -> String {
    format!("a{k}==a{}/t", k - 1)
}

const SHAPES: &[Shape] = &[
    (
        "each behind the one before, last one first",
        |n| each((1..n).rev(), behind_the_one_before) + "a0==z d/ d/t->/d z->/d",
        24,
        LINKS + 2,
    ),
    (
        "each behind the one before, first one first",
        |n| "a0==z ".to_owned() + &each(1..n, behind_the_one_before) + "d/ d/t->/d z->/d",
        24,
        LINKS + 2,
    ),
    (
        "each behind the one before, in no order",
        |n| each(scattered(n), behind_the_one_before) + "a0==z d/ d/t->/d z->/d",
        24,
        LINKS + 2,
    ),
    (
        "each to the one before, last one first",
        |n| each((1..n).rev(), |k| format!("a{k}==a{}", k - 1)) + "a0",
        8,
        LINKS,
    ),
    (
        "two chains that wait for each other",
        |n| {
            let pair = |k| format!("a{k}==b{0}/t b{k}==a{0}/t", k - 1);
            each((1..n / 2).rev(), pair) + "a0==z b0==z d/ d/t->/d z->/d"
        },
        24,
        LINKS + 2,
    ),
    (
        "all behind one that waits",
        |n| "d/ d/t z->/d ".to_owned() + &each(1..n, |k| format!("a{k}==s/t")) + "s==y y==x x->z",
        24,
        LINKS + 4,
    ),
    (
        "below a directory that is missing until the end",
        |n| each(1..n, |k| format!("a{k}==p/q/f{k}")) + &each(1..n, |k| format!("p/q/f{k}")),
        24,
        LINKS,
    ),
    (
        "behind a missing name that '..' takes back",
        |n| {
            "s->x/../d ".to_owned()
                + &each(1..n, |k| format!("a{k}==s/t"))
                + "x==y y==z z->/e e/ d/t"
        },
        64,
        LINKS + 5,
    ),
    (
        "whose directory is replaced",
        |n| each(1..n, |k| format!("p/a{k}==p/a{}", k - 1)) + "p p/ p/a0",
        24,
        1,
    ),
    (
        "to a link that is left out, last one first",
        |n| {
            let to_the_one_before = |k| format!("a{k}==a{}", k - 1);
            each((1..n).rev(), to_the_one_before) + "a0==s/agent s->.hpcc"
        },
        24,
        1,
    ),
    (
        "a hundred directories deep",
        |n| {
            let deep = vec!["p"; 100].join("/");
            each((1..n).rev(), |k| format!("a{k}=={deep}/a{}", k - 1)) + &format!("{deep}->/ a0")
        },
        1000,
        LINKS + 1,
    ),
];

#[test]
fn waiting_links_take_steps_in_proportion_to_their_number() {
    for (name, shape, steps, names) in SHAPES {
        let blob = tar(&layer(&shape(LINKS)));
        let mut options = Options::default();
        options.limits.link_steps = steps * LINKS as u64;
        let (result, ..) = flatten_blobs(vec![blob], &options);
        let flattened = result.unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
        let root = flattened.tree.get(NodeId::ROOT).unwrap();
        assert_eq!(root.as_directory().unwrap().len(), *names, "{name}");
    }
}

/// Work that is not in proportion to the entries is an error that says so.
#[test]
fn shapes_that_multiply_work_end_at_the_step_limit() {
    let deep = vec!["p"; 1000].join("/");
    let shapes: [(&str, String); 5] = [
        (
            "a thousand components for each link, again for each name on the way that is filled",
            {
                let way = each(0..400, |k| format!("x{k}/.."));
                let way = way.trim().replace(' ', "/");
                let filled = |k: usize| format!("x{k}==x{}", k + 1);
                format!(
                    "s->{way}/nowhere {}",
                    each(0..1000, |k| format!("a{k}==s/t"))
                ) + &each(0..400, filled)
                    + "x400"
            },
        ),
        (
            "255 symlinks of many components for each link",
            each(0..200, |k| format!("l{k}->./././././././././l{}", k + 1))
                + "l200->nowhere "
                + &each(0..2000, |k| format!("a{k}==l0/t")),
        ),
        (
            "deep parents that take turns",
            format!("{deep}/ q/{deep}/ s->{deep} t->q/{deep} ")
                + &each(0..600, |k| format!("s/f{k} t/f{k}")),
        ),
        (
            "deep parents that take turns, without a symlink",
            each(0..600, |k| format!("{deep}/f{k} q/{deep}/f{k}")),
        ),
        (
            "opaque markers in deep directories that take turns",
            format!("{deep}/ q/{deep}/ s->{deep} t->q/{deep} ")
                + &each(0..600, |_| "s/.wh..wh..opq t/.wh.x".into()),
        ),
    ];
    for (name, text) in shapes {
        let mut options = Options::default();
        options.limits.link_steps = 1_000_000;
        let blob = tar(&layer(&text));
        let (result, ..) = flatten_blobs(vec![blob], &options);
        let error = chain(&result.err().unwrap_or_else(|| panic!("{name}: no error")));
        assert!(
            error.contains("limit of 1000000 path components"),
            "{name}: {error}"
        );
    }
}

#[test]
fn link_that_waits_for_a_directory_is_refused() {
    let outcome = |text| flatten_blobs(vec![tar(&layer(text))], &Options::default()).0;
    for text in ["a==d d/", "a==s/d s->p p/d/", "b==a a==d d/"] {
        let error = outcome(text).map(drop).unwrap_err();
        assert!(chain(&error).contains("is a directory"), "{text}");
    }
    // A link to the symlink itself.
    assert!(outcome("a==s s->d d/").is_ok());
}
