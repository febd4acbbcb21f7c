//! Real images, made from Debian packages: entry for entry what umoci unpacks, through the kernel's
//! own driver, unsquashfs and backhand.

use std::path::Path;

use test_support::contract;
use test_support::docker_registry::DockerRegistry;
use test_support::oracle::{Mount, backhand, sevenzip, umoci, unsquashfs};
use test_support::real_image::{self, RealImage};
use test_support::skopeo::{self, Format};
use tree_listing::{DiffOptions, DirectoryLinks, Listing, diff};

use crate::cli::Place;

#[test]
fn a_small_image_is_what_umoci_unpacks() {
    compare(real_image::small().unwrap(), 4_000, Format::Docker);
}

#[test]
fn a_big_image_is_what_umoci_unpacks() {
    compare(real_image::big().unwrap(), 12_000, Format::Oci);
}

/// Directories that no layer describes, and the one that they are in: umoci gives them the time of
/// unpacking, we give them the time of the options.
const IMPLIED: [&str; 3] = ["/opt", "/opt/implied", "/opt/implied/parent"];

/// `None` means that the image cannot be built here, which was said aloud.
fn compare(image: Option<RealImage>, entries_at_least: usize, format: Format) {
    let Some(image) = image else { return };
    let registry = DockerRegistry::start().unwrap();
    let name = format!("{}/real/image", registry.addr());
    let reference = format!("{name}:latest");
    skopeo::push_layout(image.layout(), RealImage::TAG, &reference, format).unwrap();
    let digest = skopeo::digest(&reference).unwrap();

    let place = Place::new();
    let pulled = place.pull(&reference, &["--digest", &digest]);
    let path = Path::new(pulled.line());
    assert_eq!(
        path,
        place
            .cache()
            .join(format!("{}.sqsh", digest.replace(':', "-")))
    );

    let Some(unpacked) = umoci::unpack(image.layout(), RealImage::TAG).unwrap() else {
        return;
    };
    let mut expected = Listing::walk(&unpacked.root()).unwrap();
    let mut options = DiffOptions {
        ignore_mtime: IMPLIED.map(Into::into).into(),
        ..DiffOptions::default()
    };
    contract::expect_guest(&mut expected, &mut options);
    assert!(expected.entries.len() > entries_at_least);

    let mount = Mount::squashfs(path).unwrap().expect("umoci ran as root");
    let mounted = Listing::walk(mount.root()).unwrap();
    assert_equal("the kernel", &expected, &mounted, &options);
    drop(mount);

    let extracted = unsquashfs::extract(path).unwrap();
    let extracted = Listing::walk(&extracted.root()).unwrap();
    assert_equal("unsquashfs", &expected, &extracted, &options);

    let listed = backhand::list(path).unwrap();
    options.directory_links = DirectoryLinks::Ignore;
    assert_equal("backhand", &backhand::visible(&expected), &listed, &options);

    sevenzip::test(path).unwrap();
}

#[track_caller]
fn assert_equal(reader: &str, expected: &Listing, found: &Listing, options: &DiffOptions) {
    let differences = diff(expected, found, options);
    let shown: Vec<_> = differences
        .iter()
        .take(20)
        .map(ToString::to_string)
        .collect();
    assert!(
        differences.is_empty(),
        "{reader} sees {} differences:\n{}",
        differences.len(),
        shown.join("\n")
    );
}
