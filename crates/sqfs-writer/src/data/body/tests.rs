use super::*;
use crate::{Compressor, DataWriter, Kind, Metadata, NodeId, Options, Tree};

type Step = fn(&mut Body<'_, Vec<u8>>) -> Result<(), Error>;

const STEPS: [(&str, Step); 4] = [
    ("append", |body| body.append(&b"world"[..]).map(drop)),
    ("append_bytes", |body| {
        body.append_bytes(Bytes::from_static(b"world"))
    }),
    ("hole", |body| body.hole(10)),
    ("write", |body| {
        let error = body.write_all(b"world").err();
        let inner = error.and_then(io::Error::into_inner);
        inner.map_or(Ok(()), |inner| Err(*inner.downcast().unwrap()))
    }),
];

#[test]
fn body_that_got_no_memory_is_discarded_and_the_writer_goes_on() {
    for (case, step) in STEPS {
        let options = Options {
            compressor: Compressor::None,
            ..Options::default()
        };
        let mut writer = DataWriter::new(Vec::new(), &options).unwrap();
        let mut body = writer.begin();
        // Kept without a block of its own, which the next step needs.
        body.append_bytes(Bytes::from_static(b"hello ")).unwrap();
        // No machine has this memory.
        let block_size = std::mem::replace(&mut body.plane.queue.block_size, usize::MAX);
        let short = step(&mut body);
        body.plane.queue.block_size = block_size;
        let is_short = matches!(short, Err(Error::Shortage { .. }));
        assert!(is_short, "{case}: {short:?}");
        for (next, step) in STEPS {
            let refused = step(&mut body);
            let discarded = matches!(refused, Err(Error::Discarded));
            assert!(discarded, "{case}, {next}: {refused:?}");
        }
        let finished = body.finish();
        let discarded = matches!(finished, Err(Error::Discarded));
        assert!(discarded, "{case}: {finished:?}");

        let neighbor = Kind::File(writer.add(&b"neighbor"[..]).unwrap());
        let mut tree = Tree::new(Metadata::new(0o755));
        tree.insert(NodeId::ROOT, b"f", Metadata::new(0o644), neighbor)
            .unwrap();
        let sealed = writer.finish(&tree).unwrap();
        assert!(sealed.sink.starts_with(b"neighbor"), "{case}");
        let summary = sealed.summary;
        assert_eq!((summary.body_bytes, summary.dead_bytes), (8, 0), "{case}");
    }
}
