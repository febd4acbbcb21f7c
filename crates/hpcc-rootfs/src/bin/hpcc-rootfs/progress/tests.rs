use std::time::Duration;

use super::frame::frame;
use super::model::{Model, MovingLayer, Stage, View};
use crate::columns::width;

fn view(layers: usize, size: u64) -> View {
    let moving = |index| MovingLayer {
        number: index + 1,
        of: layers,
        digest: "sha256:0123456789ab".to_owned(),
        received: size / 3,
        size,
        per_second: size / 100,
        is_held: index % 7 == 6,
    };
    View {
        stage: Stage::Fetch,
        elapsed: Duration::from_secs(3725),
        received: size / 3,
        total: size,
        per_second: size / 50,
        eta: Some(Duration::from_secs(75)),
        note: Some("retry 3 in 12s: https://registry.example/v2/größe/日本/: 503".to_owned()),
        silent: None,
        moving: (0..layers).map(moving).collect(),
    }
}

#[test]
fn frame_fits_every_window() {
    for columns in (1..30).chain((30..150).step_by(7)) {
        for rows in [1, 2, 3, 4, 10, 24, 100] {
            for layers in [0, 1, 7, 60] {
                for size in [0, 1, 1 << 20, u64::MAX / 4] {
                    let lines = frame(&view(layers, size), columns, rows);
                    assert!(!lines.is_empty() && lines.len() < rows.max(2));
                    let most = columns.max(2) - 1;
                    let fits = |line: &String| width(line) <= most;
                    assert!(lines.iter().all(fits), "{columns}x{rows}: {lines:#?}");
                }
            }
        }
    }
}

#[test]
fn frame_of_80_columns_has_every_word() {
    let lines = frame(&view(3, 300 << 20), 81, 24);
    let expected = [
        "fetch    33%  100.0M of 300.0M  6.0M/s  ETA 1m15s  elapsed 1h2m",
        "  retry 3 in 12s: https://registry.example/v2/größe/日本/: 503",
        "  layer  1 of 3 sha256:0123456789ab  [======>             ]  100.0M of 300.0M",
    ];
    assert_eq!(lines[..2], expected[..2]);
    assert!(
        lines[2].starts_with("  layer  1 of 3 sha256:0123456789ab  "),
        "{lines:#?}"
    );
    let narrow = frame(&view(1, 300 << 20), 41, 10);
    assert_eq!(narrow[0], "fetch 100M/300M 6.0M/s ETA 1m15s 1h2m");
    let wide = frame(&view(1, 300 << 20), 121, 10);
    assert!(wide[0].contains("[======>             ]"), "{wide:#?}");
}

#[test]
fn more_layers_than_rows_are_counted() {
    let lines = frame(&view(60, 1 << 20), 80, 10);
    assert_eq!(lines.len(), 9);
    assert_eq!(lines[8], "  and 54 more layers");
}

#[test]
fn look_up_of_a_login_is_not_a_stalled_registry() {
    let at = Duration::from_secs;
    let mut model = Model::new();
    let resolving = hpcc_rootfs::Event::Resolving {
        image: "r.io/app",
        is_remote: true,
    };
    model.event(&resolving, at(0));
    model.login("r.io", false, at(1));
    assert_eq!(model.view(at(2)).note, None);
    let view = model.view(at(20));
    assert_eq!(view.silent, None);
    assert_eq!(
        view.note.as_deref(),
        Some("waiting for the credentials for r.io for 19s")
    );
    model.login("r.io", true, at(21));
    assert_eq!(model.view(at(22)).note, None);
    let view = model.view(at(30));
    assert_eq!(view.note.as_deref(), Some("registry silent for 9s"));
}
