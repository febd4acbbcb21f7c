use ociget::DiffId;

use super::*;

#[test]
fn caps_of_the_contract_are_found_by_type() {
    let error = |what| {
        let diff_id = DiffId(Digest::of(b"layer"));
        let at = layer::At {
            position: 512,
            entry: b"file".as_slice().into(),
        };
        let (value, max) = (8, 7);
        Error::from(flatten::Error::Layer {
            layer: flatten::LayerName {
                index: 0,
                spec: Box::new(flatten::LayerSpec {
                    size: 7,
                    diff_id,
                    blob: None,
                }),
            },
            source: layer::Error::Limit {
                at,
                what,
                value,
                max,
            },
        })
    };
    let entries = error(Measure::Entries);
    assert!(matches!(
        entries,
        Error::TarEntryCountExceeded { max: 7, .. }
    ));
    let bytes = error(Measure::LogicalBytes);
    assert!(matches!(
        bytes,
        Error::TarTotalBytesExceeded {
            value: 8,
            max: 7,
            ..
        }
    ));
    let other = error(Measure::Depth);
    assert!(matches!(other, Error::Image(_)));
    for error in [entries, bytes, other] {
        assert!(!error.is_transient() && !error.is_usage(), "{error}");
    }
}

#[test]
fn lack_of_descriptors_and_memory_is_blamed_on_reuse() {
    let io = |errno: Errno| io::Error::from(errno);
    for (errno, expected) in [
        (Errno::MFILE, true),
        (Errno::NFILE, true),
        (Errno::NOMEM, true),
        (Errno::ACCESS, false),
        (Errno::NOSPC, false),
    ] {
        let store = Error::store("write to", Path::new("/x"), io(errno));
        assert_eq!(store.is_of_reuse(), expected, "{errno:?}");
        let agent = Error::Agent {
            path: "agent".into(),
            source: Arc::new(io(errno)),
        };
        assert_eq!(agent.is_of_reuse(), expected, "{errno:?}");
        let inner = ociget::Error::Io {
            path: "/x".into(),
            source: io(errno),
        };
        assert_eq!(Error::from(inner).is_of_reuse(), expected, "{errno:?}");
    }
}

#[test]
fn transient_errors_are_distinguished() {
    let store = |errno: Errno| Error::store("write to", Path::new("/x"), errno.into());
    for (errno, transient) in [
        (Errno::MFILE, true),
        (Errno::NOMEM, true),
        (Errno::ACCESS, false),
        (Errno::ROFS, false),
        (Errno::IO, false),
        (Errno::NOSPC, false),
    ] {
        assert_eq!(store(errno).is_transient(), transient, "{errno:?}");
    }
    for (errno, transient) in [(Errno::MFILE, true), (Errno::ACCESS, false)] {
        let error = Error::from(&Unspooled {
            directory: "/spool".into(),
            source: errno.into(),
        });
        assert_eq!(error.is_transient(), transient, "{error:?}");
    }
    for full in [Errno::NOSPC, Errno::DQUOT] {
        assert!(matches!(store(full), Error::NoSpace { .. }), "{full:?}");
    }
    assert!(matches!(store(Errno::IO), Error::Store { .. }));
}

/// Permissions are not at fault, so advice about them would lead astray.
#[test]
fn failing_disks_and_immutable_files_have_hints_of_their_own() {
    let hint = |errno: Errno| {
        let error = Error::store("remove the artifact", Path::new("/x"), errno.into());
        error.hint().unwrap()
    };
    assert!(hint(Errno::IO).contains("the kernel's log"));
    assert!(hint(Errno::PERM).contains("lsattr"));
    assert_eq!(
        hint(Errno::ACCESS),
        "check the path, its owner and its permissions"
    );
}
