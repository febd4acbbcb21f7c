//! What the client costs: `cargo run --release -p ociget --example overhead -- [MEGABYTES] [ROUNDS]`.
//!
//! Reads one blob over loopback, in turns through the client and as plainly as it can be done: the
//! bytes of a `reqwest` response and SHA-256 over them. Prints the processor time of each (user and
//! system, of this process; the server is another one), their ratio, and the peak of memory.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ociget::{Client, Digest, Options, SourceSpec};
use rustix::time::{ClockId, clock_gettime};
use sha2::Digest as _;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// What the server sends again and again, so that it costs the same whatever the length.
const PIECE: usize = 1 << 20;

fn main() -> ExitCode {
    let numbers: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let megabytes = numbers.first().copied().unwrap_or(1000);
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("serve") => serve(megabytes),
        _ => compare(megabytes, numbers.get(1).copied().unwrap_or(5)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(megabytes: usize, rounds: usize) -> Fallible<()> {
    let server = Server::start(megabytes)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    // The client brings a provider of its own; the plain one has none without this.
    drop(rustls::crypto::ring::default_provider().install_default());
    let (piece, mut hasher) = (piece(), sha2::Sha256::new());
    let (hashing, _) = measured(|| {
        for _ in 0..megabytes {
            hasher.update(&piece);
        }
        Ok(())
    })?;
    let digest: String = hasher
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let digest: Digest = format!("sha256:{digest}").parse()?;
    let rate = f64::from(u32::try_from(megabytes)?) * 1.048_576 / hashing.as_secs_f64();
    println!("sha256 alone: {hashing:.3?} for {megabytes} MiB, {rate:.0} MB/s");

    // Whatever is set up once is set up before the clock runs.
    runtime.block_on(pull(&server, &digest, megabytes))?;
    runtime.block_on(plain(&server, &digest))?;
    let (mut own, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let (cpu, wall) = measured(|| runtime.block_on(pull(&server, &digest, megabytes)))?;
        let (plain_cpu, plain_wall) = measured(|| runtime.block_on(plain(&server, &digest)))?;
        println!(
            "{round}: ociget {cpu:.3?} ({wall:.3?} wall), plain {plain_cpu:.3?} ({plain_wall:.3?} wall)"
        );
        own.push(cpu);
        theirs.push(plain_cpu);
    }
    let (own, theirs) = (median(own), median(theirs));
    let ratio = own.as_secs_f64() / theirs.as_secs_f64();
    println!("median: ociget {own:.3?}, plain {theirs:.3?}, ratio {ratio:.3}");
    println!("peak memory: {}", peak()?);
    Ok(())
}

/// Through the client: manifest, config and the one layer, which is what weighs.
async fn pull(server: &Server, digest: &Digest, megabytes: usize) -> Fallible<()> {
    let mut options = Options::default();
    options.credentials = Arc::new(ociget::Anonymous::default());
    if let Some(parallel) = std::env::var_os("RANGES").and_then(|n| n.to_str()?.parse().ok()) {
        options.ranges.parallel = parallel;
    }
    let client = Client::new(options)?;
    let reference = format!("{}/bench:{digest}", server.host).replace("sha256:", "sha256-");
    let source = reference.parse::<SourceSpec>()?.open(&client)?;
    let image = ociget::resolve(source.as_ref(), None, &"linux/amd64".parse()?).await?;
    let layer = image.layers.first().ok_or("no layer")?;
    let mut blob = source.blob(&layer.descriptor).await?;
    let mut bytes = 0;
    while let Some(chunk) = blob.chunk().await? {
        bytes += chunk.len();
    }
    let proof = blob.finish().await?;
    if bytes != megabytes * PIECE || proof.get() != digest {
        return Err("that was not the blob".into());
    }
    Ok(())
}

/// As plainly as it can be done.
async fn plain(server: &Server, digest: &Digest) -> Fallible<()> {
    let url = format!("http://{}/v2/bench/blobs/{digest}", server.host);
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut response = client.get(url).send().await?;
    let mut hasher = sha2::Sha256::new();
    while let Some(chunk) = response.chunk().await? {
        hasher.update(&chunk);
    }
    let hex: String = hasher
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    match digest.to_string() == format!("sha256:{hex}") {
        true => Ok(()),
        false => Err("that was not the blob".into()),
    }
}

/// Processor time of this process, and time on the wall.
fn measured(work: impl FnOnce() -> Fallible<()>) -> Fallible<(Duration, Duration)> {
    let cpu = || {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        Duration::try_from(now)
    };
    let (start, wall) = (cpu()?, Instant::now());
    work()?;
    Ok((cpu()? - start, wall.elapsed()))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn peak() -> Fallible<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.unwrap_or("not known here").trim().to_owned())
}

fn piece() -> Vec<u8> {
    (0..PIECE).map(|at| (at % 251).to_le_bytes()[0]).collect()
}

/// A registry of one image, in a process of its own.
struct Server {
    child: Child,
    host: String,
}

impl Server {
    fn start(megabytes: usize) -> Fallible<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", &megabytes.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut host = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut host)?;
        let host = host.trim().to_owned();
        Ok(Self { child, host })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Tags are `sha256-HEX` of the layer, so that the server need not hash it.
fn serve(megabytes: usize) -> Fallible<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    println!("{}", listener.local_addr()?);
    let layer = Arc::<Mutex<String>>::default();
    for stream in listener.incoming() {
        let (stream, layer) = (stream?, Arc::clone(&layer));
        std::thread::spawn(move || drop(answer_all(&stream, megabytes, &layer)));
    }
    Ok(())
}

fn answer_all(stream: &TcpStream, megabytes: usize, layer: &Mutex<String>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let piece = piece();
    loop {
        let (mut first, mut range) = (String::new(), None);
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some(asked) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                range = asked.trim().split_once('-').and_then(|(from, last)| {
                    Some((from.parse().ok()?, last.parse::<usize>().ok()? + 1))
                });
            }
        }
        let mut words = first.split(' ');
        let (method, path) = (words.next(), words.next().unwrap_or_default());
        let is_head = method == Some("HEAD");
        let mut stream = stream;
        let layer = {
            let mut layer = layer.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, tag)) = path.split_once("/manifests/sha256-") {
                *layer = format!("sha256:{tag}");
            }
            layer.clone()
        };
        let config = format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{layer}"]}}}}"#
        );
        let config_digest = Digest::of(config.as_bytes()).to_string();
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config_digest}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{}}}]}}"#,
            config.len(),
            megabytes * PIECE
        );
        let small = match path {
            path if path.contains("/manifests/") => Some(&manifest),
            path if path.ends_with(&config_digest) => Some(&config),
            _ => None,
        };
        if let Some(text) = small {
            let digest = Digest::of(text.as_bytes());
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\ndocker-content-digest: {digest}\r\n\r\n{}",
                text.len(),
                if is_head { "" } else { text }
            )?;
            continue;
        }
        let size = megabytes * PIECE;
        let (mut from, until) = range.unwrap_or((0, size));
        let status = match range {
            Some(_) => format!(
                "206 Partial Content\r\ncontent-range: bytes {from}-{}/{size}",
                until - 1
            ),
            None => "200 OK".to_owned(),
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\naccept-ranges: bytes\r\ncontent-length: {}\r\n\r\n",
            until - from
        )?;
        while from < until {
            let (at, most) = (from % PIECE, until - from);
            let rest = piece.get(at..).unwrap_or_default();
            let rest = rest.get(..most.min(rest.len())).unwrap_or_default();
            stream.write_all(rest)?;
            from += rest.len();
        }
    }
}
