//! A registry on loopback that misbehaves on request, and images to put into it.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ociget::{Anonymous, Client, Digest, Options, Source, SourceSpec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// With query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// How the body is sent.
#[derive(Clone, Debug)]
pub(crate) enum Delivery {
    Whole,
    /// The connection ends after this number of bytes.
    Cut(usize),
    /// Nothing more comes after this number of bytes, and the connection stays open.
    Stall(usize),
    /// The rest comes byte by byte, with a pause before each.
    Trickle(usize, Duration),
    /// In chunks, without a length, again and again.
    Endless,
    /// In one chunk, without a length.
    Chunked,
    /// In one chunk without the last one, and the connection stays open.
    OpenChunk,
    /// Without a length, and the connection stays open.
    Open,
    /// Also in the answer to a `HEAD`, after this pause.
    AfterHead(Duration),
}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    delivery: Delivery,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            delivery: Delivery::Whole,
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn sent(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    async fn write(&self, stream: &mut TcpStream, to_head: bool) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} X\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let own_length = self
            .headers
            .iter()
            .any(|(name, _)| name == "content-length");
        match self.delivery {
            Delivery::Endless | Delivery::Chunked | Delivery::OpenChunk => {
                head.push_str("transfer-encoding: chunked\r\n");
            }
            _ if own_length || matches!(self.delivery, Delivery::Open) => {}
            _ => head.push_str(&format!("content-length: {}\r\n", self.body.len())),
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).await?;
        if to_head {
            if let Delivery::AfterHead(pause) = self.delivery {
                tokio::time::sleep(pause).await;
                stream.write_all(&self.body).await?;
            }
            return Ok(());
        }
        match self.delivery {
            Delivery::Whole | Delivery::AfterHead(_) => stream.write_all(&self.body).await,
            Delivery::Cut(at) => {
                stream
                    .write_all(&self.body[..at.min(self.body.len())])
                    .await?;
                stream.shutdown().await
            }
            Delivery::Stall(at) => {
                stream
                    .write_all(&self.body[..at.min(self.body.len())])
                    .await?;
                std::future::pending().await
            }
            Delivery::Trickle(at, pause) => {
                let (start, rest) = self.body.split_at(at.min(self.body.len()));
                stream.write_all(start).await?;
                for byte in rest {
                    tokio::time::sleep(pause).await;
                    stream.write_all(&[*byte]).await?;
                }
                Ok(())
            }
            Delivery::Chunked => {
                let size = format!("{:x}\r\n", self.body.len());
                stream.write_all(size.as_bytes()).await?;
                stream.write_all(&self.body).await?;
                stream.write_all(b"\r\n0\r\n\r\n").await
            }
            Delivery::OpenChunk => {
                let size = format!("{:x}\r\n", self.body.len());
                stream.write_all(size.as_bytes()).await?;
                stream.write_all(&self.body).await?;
                std::future::pending().await
            }
            Delivery::Open => {
                stream.write_all(&self.body).await?;
                std::future::pending().await
            }
            Delivery::Endless => loop {
                let size = format!("{:x}\r\n", self.body.len());
                stream.write_all(size.as_bytes()).await?;
                stream.write_all(&self.body).await?;
                stream.write_all(b"\r\n").await?;
            },
        }
    }
}

type Handler = dyn Fn(&Seen) -> Option<Reply> + Send + Sync;

/// Serves what is in it over HTTP/1.1; a handler may answer first.
pub(crate) struct Server {
    /// `127.0.0.1:port`
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Connections that the other side closed while a body was being sent.
    pub(crate) aborted: Arc<Mutex<u32>>,
    /// Connections that are open.
    pub(crate) open: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(
        content: &Content,
        handler: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let aborted = Arc::<Mutex<u32>>::default();
        let open = Arc::<AtomicUsize>::default();
        let (log, lost, count) = (Arc::clone(&seen), Arc::clone(&aborted), Arc::clone(&open));
        let handler: Arc<Handler> = Arc::new(handler);
        let content = Arc::new(content.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, lost) = (Arc::clone(&log), Arc::clone(&lost));
                let (handler, content) = (Arc::clone(&handler), Arc::clone(&content));
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    count.fetch_add(1, SeqCst);
                    if serve(stream, &log, &*handler, &content).await.is_err() {
                        *lost.lock().unwrap() += 1;
                    }
                    count.fetch_sub(1, SeqCst);
                });
            }
        });
        Self {
            host,
            seen,
            aborted,
            open,
            task,
        }
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Requests whose path holds `part`.
    pub(crate) fn seen_at(&self, part: &str) -> Vec<Seen> {
        self.seen()
            .into_iter()
            .filter(|seen| seen.path.contains(part))
            .collect()
    }

    /// The image `app:v1` here.
    pub(crate) fn source(&self, options: Options) -> Box<dyn Source> {
        self.named("app:v1", options)
    }

    pub(crate) fn named(&self, name: &str, options: Options) -> Box<dyn Source> {
        let spec: SourceSpec = format!("{}/{name}", self.host).parse().unwrap();
        spec.open(&Client::new(options).unwrap()).unwrap()
    }
}

async fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<Seen>>,
    handler: &Handler,
    content: &Content,
) -> std::io::Result<()> {
    while let Some(seen) = read_request(&mut stream).await? {
        log.lock().unwrap().push(seen.clone());
        let reply = handler(&seen).unwrap_or_else(|| content.reply(&seen));
        reply.write(&mut stream, seen.method == "HEAD").await?;
    }
    Ok(())
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<Seen>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            // The first byte of a TLS handshake. Servers without TLS say so in clear.
            Ok(0x16) if head.is_empty() => {
                stream.write_all(b"HTTP/1.1 400 X\r\n\r\n").await?;
                return Ok(None);
            }
            Ok(byte) => head.push(byte),
            Err(_) => return Ok(None),
        }
    }
    let text = String::from_utf8(head).unwrap();
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut seen = Seen {
        method: method.to_owned(),
        path: path.to_owned(),
        headers,
        body: String::new(),
    };
    let length = seen
        .header("content-length")
        .map_or(0, |value| value.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    seen.body = String::from_utf8(body).unwrap();
    Ok(Some(seen))
}

/// Blobs and manifests of the repository `app`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    manifests: BTreeMap<String, (String, Vec<u8>)>,
}

pub(crate) const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Content {
    /// An image of one layer, as `app:v1`.
    pub(crate) fn image(layer: &[u8]) -> (Self, Digest) {
        let mut content = Self::default();
        let manifest = content.add_image("linux", "amd64", &[layer]);
        content.tag("v1", &manifest);
        (content, manifest)
    }

    /// An image, by its manifest's digest. Its layers claim to be plain tars.
    pub(crate) fn add_image(&mut self, os: &str, architecture: &str, layers: &[&[u8]]) -> Digest {
        let ids: Vec<String> = layers
            .iter()
            .map(|l| format!("{:?}", Digest::of(l).to_string()))
            .collect();
        let config = format!(
            r#"{{"os":"{os}","architecture":"{architecture}","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            ids.join(",")
        );
        let config = self.add_blob(
            "application/vnd.oci.image.config.v1+json",
            config.as_bytes(),
        );
        let layers: Vec<String> = layers
            .iter()
            .map(|layer| self.add_blob("application/vnd.oci.image.layer.v1.tar", layer))
            .collect();
        let layers = layers.join(",");
        self.add_manifest(
            OCI,
            &format!(
                r#"{{"schemaVersion":2,"mediaType":"{OCI}","config":{config},"layers":[{layers}]}}"#
            ),
        )
    }

    /// An index of entries such as `("linux/amd64", digest)`; no platform if the name is empty.
    pub(crate) fn add_index(&mut self, entries: &[(&str, &Digest)]) -> Digest {
        let entries: Vec<String> = entries
            .iter()
            .map(|(platform, digest)| {
                let (media_type, bytes) = &self.manifests[&digest.to_string()];
                let platform = platform
                    .split_once('/')
                    .map_or(String::new(), |(os, arch)| {
                        format!(r#","platform":{{"os":"{os}","architecture":"{arch}"}}"#)
                    });
                descriptor(media_type, bytes, &platform)
            })
            .collect();
        let entries = entries.join(",");
        self.add_manifest(
            OCI_INDEX,
            &format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{entries}]}}"#),
        )
    }

    pub(crate) fn add_manifest(&mut self, media_type: &str, text: &str) -> Digest {
        let digest = Digest::of(text.as_bytes());
        self.manifests
            .insert(digest.to_string(), (media_type.to_owned(), text.into()));
        digest
    }

    /// A blob; its descriptor comes back.
    pub(crate) fn add_blob(&mut self, media_type: &str, bytes: &[u8]) -> String {
        self.blobs
            .insert(Digest::of(bytes).to_string(), bytes.to_vec());
        descriptor(media_type, bytes, "")
    }

    pub(crate) fn tag(&mut self, tag: &str, digest: &Digest) {
        let manifest = self.manifests[&digest.to_string()].clone();
        self.manifests.insert(tag.to_owned(), manifest);
    }

    pub(crate) fn manifest(&self, name: &str) -> &[u8] {
        &self.manifests[name].1
    }

    /// All of it by digest, as a layout keeps it.
    pub(crate) fn by_digest(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let manifests = self
            .manifests
            .iter()
            .map(|(name, (_, bytes))| (name.as_str(), bytes.as_slice()));
        let blobs = self
            .blobs
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        manifests
            .chain(blobs)
            .filter(|(name, _)| name.contains(':'))
    }

    fn reply(&self, seen: &Seen) -> Reply {
        let missing = |code: &str| {
            Reply::new(
                404,
                format!(r#"{{"errors":[{{"code":"{code}","message":"it is unknown"}}]}}"#),
            )
        };
        // The query tells a mirror which registry is meant.
        let path = seen.path.split("?ns=").next().unwrap_or_default();
        if let Some(name) = path.strip_prefix("/v2/app/manifests/") {
            return match self.manifests.get(name) {
                Some((media_type, bytes)) => Reply::new(200, bytes.clone())
                    .with("content-type", media_type)
                    .with("docker-content-digest", Digest::of(bytes).to_string()),
                None => missing("MANIFEST_UNKNOWN"),
            };
        }
        if let Some(name) = path.strip_prefix("/v2/app/blobs/") {
            return match self.blobs.get(name) {
                Some(bytes) => ranged(bytes, seen.header("range")),
                None => missing("BLOB_UNKNOWN"),
            };
        }
        missing("NAME_UNKNOWN")
    }
}

/// All of it, or what a `Range: bytes=N-` or `bytes=N-M` asks for.
pub(crate) fn ranged(bytes: &[u8], range: Option<&str>) -> Reply {
    let Some(range) = range else {
        return Reply::new(200, bytes).with("accept-ranges", "bytes");
    };
    let (start, last) = range
        .strip_prefix("bytes=")
        .unwrap()
        .split_once('-')
        .unwrap();
    let start: usize = start.parse().unwrap();
    let end = match last {
        "" => bytes.len(),
        last => last.parse::<usize>().unwrap() + 1,
    };
    let range = format!("bytes {start}-{}/{}", end - 1, bytes.len());
    Reply::new(206, &bytes[start..end]).with("content-range", range)
}

fn descriptor(media_type: &str, bytes: &[u8], rest: &str) -> String {
    format!(
        r#"{{"mediaType":"{media_type}","digest":"{}","size":{}{rest}}}"#,
        Digest::of(bytes),
        bytes.len()
    )
}

/// How long nothing may come before a client of [`quick`] takes it for a break.
pub(crate) const STALL: Duration = Duration::from_secs(2);

/// Options of a client that gives up soon and has no credentials. Not as soon as a busy machine may pause a process.
pub(crate) fn quick() -> Options {
    let mut options = Options::default();
    options.credentials = Arc::new(Anonymous::default());
    options.retries = 1;
    options.stall_timeout = STALL;
    options
}

/// Bytes without a pattern that a mix-up could hide in.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Resolves for linux/amd64 and reads every layer.
pub(crate) async fn pull(source: &dyn Source) -> Result<Vec<Vec<u8>>, ociget::Error> {
    let image = ociget::resolve(source, None, &"linux/amd64".parse().unwrap()).await?;
    let mut layers = Vec::new();
    for layer in &image.layers {
        let mut blob = source.blob(&layer.descriptor).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = blob.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        assert_eq!(blob.finish().await?.get(), &layer.descriptor.digest);
        layers.push(bytes);
    }
    Ok(layers)
}
