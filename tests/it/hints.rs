//! Advice of errors: what a user can do next, in the text and in the JSON object.

use serde_json::Value;

use crate::cli::{Outcome, Place};

fn hint(outcome: &Outcome) -> String {
    let error: Value = serde_json::from_str(&outcome.stderr).unwrap();
    error["hint"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn unknown_option_names_the_list_of_options() {
    let place = Place::new();
    for (words, list) in [
        (&["--zzz"][..], "`hpcc-rootfs help` lists the options"),
        (&["gc", "-z"], "`hpcc-rootfs help gc` lists the options"),
        (
            &["boot-args", "x", "--zzz"],
            "`hpcc-rootfs help boot-args` lists the options",
        ),
        (
            &["config", "show", "--zzz"],
            "`hpcc-rootfs help config show` lists the options",
        ),
    ] {
        let told = place.run(words);
        assert_eq!(told.status, Some(2), "{told:#?}");
        assert!(told.stderr.contains(&format!("tip: {list}")), "{told:#?}");
        let told = place.run([words, &["--json"]].concat());
        assert!(hint(&told).ends_with(list), "{told:#?}");
    }
    let similar = place.run(["boot-args", "x", "--tabel"]);
    assert!(similar.stderr.contains("'--table'"), "{similar:#?}");
    assert!(
        !similar.stderr.contains("lists the options"),
        "{similar:#?}"
    );
}
