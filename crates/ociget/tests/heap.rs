//! Memory that a blob in ranges takes from the heap: no more than the options allow.
//!
//! The allocator counts for the whole process, so this is a program of its own with a single test.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what its helpers are for"
)]

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use ociget::{Anonymous, Client, Descriptor, Digest, Options, SourceSpec};
use peak_alloc::PeakAlloc;

/// Counts the old and the new one while something moves to a larger allocation.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const PARALLEL: usize = 4;
const BYTES: usize = 256 << 10;
const SIZE: usize = PARALLEL * BYTES;
/// What connections take besides, in bytes: hyper reads up to 400 KiB at a time.
const REST: usize = 3 << 20;

/// Number of chunks in one write, which ranges have a multiple of.
const CHUNKS: usize = 1 << 10;

static ZEROS: [u8; SIZE] = [0; SIZE];

/// How the bytes of a range arrive.
#[derive(Clone, Copy)]
enum Arrival {
    /// Each in a chunk of its own.
    Chunks,
    /// Each in a write of its own.
    Packets,
}

/// Serves a blob of zeros. The first connection rests after a byte until `rest` ends; ranges come whole, and `done` gets
/// one message for each.
fn serve(
    stream: TcpStream,
    arrival: Arrival,
    rest: &mpsc::Receiver<()>,
    done: &mpsc::Sender<()>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut range = None;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if let Some(found) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            let (first, last) = found.split_once('-').unwrap();
            range = Some((
                first.parse::<usize>().unwrap(),
                last.parse::<usize>().unwrap(),
            ));
        }
        if line.is_empty() {
            break;
        }
    }
    let Some((first, last)) = range else {
        let head =
            format!("HTTP/1.1 200 X\r\ncontent-length: {SIZE}\r\naccept-ranges: bytes\r\n\r\n");
        writer.write_all(head.as_bytes())?;
        writer.write_all(&[0])?;
        rest.recv().unwrap();
        return writer.write_all(&ZEROS[1..]);
    };
    let length = last + 1 - first;
    let form = match arrival {
        Arrival::Chunks => "transfer-encoding: chunked".to_owned(),
        Arrival::Packets => format!("content-length: {length}"),
    };
    let head =
        format!("HTTP/1.1 206 X\r\n{form}\r\ncontent-range: bytes {first}-{last}/{SIZE}\r\n\r\n");
    writer.write_all(head.as_bytes())?;
    match arrival {
        Arrival::Chunks => {
            let chunks = b"1\r\n\0\r\n".repeat(CHUNKS);
            for _ in 0..length / CHUNKS {
                writer.write_all(&chunks)?;
            }
            writer.write_all(b"0\r\n\r\n")?;
        }
        Arrival::Packets => {
            for _ in 0..length {
                writer.write_all(&[0])?;
            }
        }
    }
    done.send(()).unwrap();
    Ok(())
}

/// Reads the blob, whose first byte is followed by all ranges and only then by the second byte. Returns the bytes that
/// were taken from the heap at the peak.
fn read(arrival: Arrival) -> usize {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!("{}/app:v1", listener.local_addr().unwrap());
    let (go_on, rest) = mpsc::channel();
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        let mut rest = Some(rest);
        for stream in listener.incoming() {
            let (rest, done) = (
                rest.take().unwrap_or_else(|| mpsc::channel().1),
                done.clone(),
            );
            thread::spawn(move || drop(serve(stream.unwrap(), arrival, &rest, &done)));
        }
    });
    let mut options = Options::default();
    options.credentials = std::sync::Arc::new(Anonymous::default());
    options.ranges.parallel = u32::try_from(PARALLEL).unwrap();
    options.ranges.bytes = BYTES as u64;
    options.ranges.above = 0;
    let media_type = "application/vnd.oci.image.layer.v1.tar";
    let descriptor = Descriptor::new(media_type, Digest::of(&ZEROS), SIZE as u64);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let spec: SourceSpec = name.parse().unwrap();
        let source = spec.open(&Client::new(options).unwrap()).unwrap();
        HEAP.reset_peak_usage();
        let before = HEAP.current_usage();
        let mut blob = source.blob(&descriptor).await.unwrap();
        assert!(blob.chunk().await.unwrap().is_some());
        for _ in 1..PARALLEL {
            is_done.recv().unwrap();
        }
        go_on.send(()).unwrap();
        let mut length = 1;
        while let Some(chunk) = blob.chunk().await.unwrap() {
            length += chunk.len();
        }
        assert_eq!(length, SIZE);
        assert_eq!(blob.finish().await.unwrap().get(), &descriptor.digest);
        HEAP.peak_usage() - before
    })
}

// cloudflare/workerd#7424
#[test]
fn ranges_that_wait_take_no_more_than_their_bytes() {
    for (arrival, name) in [(Arrival::Chunks, "chunks"), (Arrival::Packets, "packets")] {
        let peak = read(arrival);
        assert!(peak <= PARALLEL * BYTES + REST, "{name}: {peak}");
    }
}
