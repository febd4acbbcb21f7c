//! A proxy inside the process: HTTP with `CONNECT` and forwarding, or SOCKS 5.
//!
//! Whatever host is requested, it connects to one address, so that tests can use names that do not resolve.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Answers of a proxy.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// `Basic` credentials in base64, or `user:password` for SOCKS, that it requires.
    pub login: Option<String>,
    /// Responses that are sent in place of the first connections, each as raw bytes.
    pub refusals: Vec<String>,
    /// Whether the refusals never end: the last one is repeated.
    pub always: bool,
}

/// A proxy that serves until the process ends.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Serves HTTP and leads to `target`.
    pub fn http(target: SocketAddr, answers: Answers) -> io::Result<Self> {
        Self::serve(move |stream, log, number| http(stream, target, &answers, log, number))
    }

    /// Serves SOCKS 5 and leads to `target`.
    pub fn socks(target: SocketAddr, answers: Answers) -> io::Result<Self> {
        Self::serve(move |stream, log, _| socks(stream, target, &answers, log))
    }

    fn serve(
        handle: impl Fn(TcpStream, &Mutex<Vec<String>>, usize) -> io::Result<()> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let addr = listener.local_addr()?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let (kept, handle) = (Arc::clone(&log), Arc::new(handle));
        thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let (log, handle) = (Arc::clone(&kept), Arc::clone(&handle));
                // A client that goes away is no failure of the proxy's.
                thread::spawn(move || drop(handle(stream, &log, number)));
            }
        });
        Ok(Self { addr, log })
    }

    /// Returns where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the requests, a line for each connection: the head of the request, or the host of SOCKS.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        lock(&self.log).clone()
    }
}

fn lock(log: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

fn http(
    mut client: TcpStream,
    target: SocketAddr,
    answers: &Answers,
    log: &Mutex<Vec<String>>,
    number: usize,
) -> io::Result<()> {
    let head = head(&mut client)?;
    lock(log).push(head.clone());
    let last = answers.refusals.last().filter(|_| answers.always);
    if let Some(refusal) = answers.refusals.get(number).or(last) {
        client.write_all(refusal.as_bytes())?;
        return client.shutdown(Shutdown::Write);
    }
    let lower = head.to_ascii_lowercase();
    if let Some(login) = &answers.login
        && !head.contains(&format!("Basic {login}"))
    {
        client.write_all(
            b"HTTP/1.0 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        )?;
        return client.shutdown(Shutdown::Write);
    }
    let mut server = TcpStream::connect(target)?;
    if lower.starts_with("connect ") {
        client.write_all(b"HTTP/1.0 200 Connection established\r\n\r\n")?;
    } else {
        // Each connection carries one request: the answer ends with the connection.
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let mut words = first.split(' ');
        let (method, url) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        let kept: Vec<&str> = lines
            .filter(|line| !line.to_ascii_lowercase().starts_with("proxy-"))
            .filter(|line| !line.is_empty())
            .collect();
        let request = format!(
            "{method} /{path} HTTP/1.1\r\n{}\r\nConnection: close\r\n\r\n",
            kept.join("\r\n")
        );
        server.write_all(request.as_bytes())?;
    }
    relay(client, server)
}

/// Everything up to the empty line.
fn head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn socks(
    mut client: TcpStream,
    target: SocketAddr,
    answers: &Answers,
    log: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut two = [0; 2];
    client.read_exact(&mut two)?;
    let mut methods = vec![0; usize::from(two[1])];
    client.read_exact(&mut methods)?;
    match &answers.login {
        Some(login) if methods.contains(&2) => {
            client.write_all(&[5, 2])?;
            client.read_exact(&mut two)?;
            let mut user = vec![0; usize::from(two[1])];
            client.read_exact(&mut user)?;
            let mut length = [0];
            client.read_exact(&mut length)?;
            let mut password = vec![0; usize::from(length[0])];
            client.read_exact(&mut password)?;
            let found = [&user[..], b":", &password[..]].concat();
            let is_right = found == login.as_bytes();
            client.write_all(&[1, u8::from(!is_right)])?;
            if !is_right {
                lock(log).push("wrong login".to_owned());
                return Ok(());
            }
        }
        Some(_) => {
            client.write_all(&[5, 0xff])?;
            return Ok(());
        }
        None => client.write_all(&[5, 0])?,
    }
    let mut start = [0; 4];
    client.read_exact(&mut start)?;
    let length = match start[3] {
        1 => 4,
        4 => 16,
        _ => {
            let mut length = [0];
            client.read_exact(&mut length)?;
            usize::from(length[0])
        }
    };
    let mut host = vec![0; length];
    client.read_exact(&mut host)?;
    let mut port = [0; 2];
    client.read_exact(&mut port)?;
    let host = match start[3] {
        3 => String::from_utf8_lossy(&host).into_owned(),
        _ => format!("{host:?}"),
    };
    lock(log).push(host);
    if let Some(reply) = answers.refusals.first() {
        let reply = reply.parse().unwrap_or(1);
        return client.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
    let server = TcpStream::connect(target)?;
    client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0])?;
    relay(client, server)
}

fn relay(client: TcpStream, server: TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let up = thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (server, client);
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    let _ = up.join();
    Ok(())
}
