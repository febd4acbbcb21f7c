//! Versions of files that pages name.

use std::fs;

use super::read;
use crate::cli::Place;
use crate::names::serve;

#[test]
fn version_of_recall_files_is_the_written_one() {
    let (registry, [image, _]) = serve();
    let place = Place::new();
    place
        .pull(&format!("{}/image:a", registry.addr()), &[])
        .line();
    let name = format!(".recall-{}", image.digest.replace(':', "-"));
    let bytes = fs::read(place.cache().join(name)).unwrap();
    assert!(bytes.starts_with(b"HPCCHEAD"));
    let version = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
    let page = read("docs/reuse.md");
    let said = format!("The version is {version}. A file of another version is not read.");
    assert!(page.contains(&said), "expected: {said}");
}
