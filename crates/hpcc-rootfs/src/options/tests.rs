use super::*;

fn with_points(points: impl Iterator<Item = String>) -> Options {
    let mut options = Options::default();
    options.image.mount_points = points.map(|point| point.parse().unwrap()).collect();
    options
}

#[test]
fn mount_points_beyond_the_record_are_a_usage_error() {
    let numbered = |count: usize| (0..count).map(|number| format!("/mnt/point-{number:05}"));
    assert!(with_points(numbered(3000)).check().is_ok());
    let error = with_points(numbered(4000)).check().unwrap_err();
    assert!(error.is_usage(), "{error}");
    assert!(error.to_string().contains("4000 mount points"), "{error}");
    // A mount point that is named again takes no more space.
    let same = (0..10_000).map(|_| "/data".to_owned());
    assert!(with_points(same).check().is_ok());
}

#[test]
fn injected_files_beyond_the_record_are_a_usage_error() {
    let with = |count: usize| {
        let mut options = Options::default();
        let places = (0..count).map(|number| format!("/.hpcc/files/{number:0>200}"));
        let all = places.map(|place| Injection::new("host", place));
        options.injections = all.collect();
        options.check()
    };
    assert!(with(180).is_ok());
    let error = with(240).unwrap_err();
    assert!(error.is_usage(), "{error}");
    assert!(error.to_string().contains("240 injected files"), "{error}");
}

#[test]
fn mount_points_that_exclude_each_other_are_a_usage_error() {
    for points in [
        ["/x:file", "/x"],
        ["/x", "/x:file"],
        ["/x/y", "/x:file"],
        ["/x/y/z:file", "/x/y:file"],
    ] {
        let error = with_points(points.iter().map(ToString::to_string)).check();
        let error = error.unwrap_err();
        assert!(error.is_usage(), "{points:?}: {error}");
        assert!(error.to_string().contains("leave one out"), "{error}");
    }
    for points in [
        ["/x:file", "/x:file"],
        ["/x/y:file", "/x"],
        ["/x:file", "/xy/z"],
    ] {
        let points = points.iter().map(ToString::to_string);
        assert!(with_points(points).check().is_ok());
    }
}

#[test]
fn more_threads_than_can_compress_are_a_usage_error() {
    let with = |threads| Options {
        threads,
        ..Options::default()
    };
    assert!(with(Options::THREADS_MAX).check().is_ok());
    let error = with(NonZeroUsize::MAX).check().unwrap_err();
    assert!(error.is_usage(), "{error}");
    assert!(error.to_string().contains("at most 4096"), "{error}");
}
