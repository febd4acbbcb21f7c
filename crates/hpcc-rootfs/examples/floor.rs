//! The unavoidable computation between a registry and a squashfs: read the blobs of an image, hash them, inflate them,
//! hash the output, compress it in blocks. `cargo xtask bench` measures its CPU time as the floor.
//!
//! `floor HOST:PORT REPOSITORY DIGEST`; plain HTTP, gzip layers, one thread.

#![expect(
    clippy::print_stdout,
    reason = "what it adds up to is all it has to say"
)]

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;

use flate2::bufread::MultiGzDecoder;
use ociget::{Algorithm, Hasher};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const BLOCK: usize = 128 << 10;
const LEVEL: i32 = 3;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [host, repository, digest] = &arguments[..] else {
        return Err("usage: floor HOST:PORT REPOSITORY DIGEST".into());
    };
    let mut manifest = Vec::new();
    get(host, &format!("/v2/{repository}/manifests/{digest}"))?.read_to_end(&mut manifest)?;
    let manifest: serde_json::Value = serde_json::from_slice(&manifest)?;
    let layers = manifest["layers"].as_array().ok_or("no image manifest")?;
    let mut compressed = 0;
    for layer in layers {
        let digest = layer["digest"].as_str().ok_or("a layer without digest")?;
        compressed += squeeze(get(host, &format!("/v2/{repository}/blobs/{digest}"))?)?;
    }
    println!("{} layers, {compressed} bytes in blocks", layers.len());
    Ok(())
}

/// Returns the body of an answer.
fn get(host: &str, path: &str) -> Result<impl Read + use<>> {
    let mut stream = TcpStream::connect(host)?;
    let accept = "application/vnd.oci.image.manifest.v1+json, */*";
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    )?;
    let mut body = BufReader::with_capacity(256 << 10, stream);
    let mut line = String::new();
    body.read_line(&mut line)?;
    if !line.contains(" 200 ") {
        return Err(format!("{path}: {line}").into());
    }
    while !line.trim().is_empty() {
        line.clear();
        body.read_line(&mut line)?;
    }
    Ok(body)
}

/// Hash, inflate, hash, compress; how many bytes are left.
fn squeeze(blob: impl Read) -> Result<usize> {
    let hashed = Hashed {
        source: blob,
        hasher: Algorithm::Sha256.hasher(),
    };
    let mut inflated = MultiGzDecoder::new(BufReader::with_capacity(256 << 10, hashed));
    let mut hasher = Algorithm::Sha256.hasher();
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    let mut block = vec![0; BLOCK];
    let mut out = vec![0; zstd::zstd_safe::compress_bound(BLOCK)];
    let mut total = 0;
    loop {
        let mut length = 0;
        while length < BLOCK {
            match inflated.read(&mut block[length..])? {
                0 => break,
                more => length += more,
            }
        }
        if length == 0 {
            return Ok(total);
        }
        hasher.update(&block[..length]);
        let squeezed = compressor.compress_to_buffer(&block[..length], &mut out[..])?;
        total += squeezed.min(length);
    }
}

/// Hashes what passes.
struct Hashed<R> {
    source: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}
