//! A network slower than loopback: a proxy whose connections share a number of bytes per second.
//!
//! What servers send is held up; what clients send, a few requests, is not. A connection whose client
//! does not read takes nothing of the link, as on a real one once its window is full.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes that have the link at once.
const PIECE: usize = 16 << 10;

/// What a late wake-up may be made good for: without that, every one of them would be lost bandwidth.
const SLACK: Duration = Duration::from_millis(5);

/// Listens until it is dropped.
pub(super) struct Throttle {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Throttle {
    /// Forwards to `upstream`, with `rate` bytes per second for all connections together.
    pub(super) fn start(upstream: SocketAddr, rate: u32) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let addr = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let link = Arc::new(Link {
            rate,
            free: Mutex::new(Instant::now()),
        });
        let thread = thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let link = Arc::clone(&link);
                // A connection that breaks is its client's to notice.
                thread::spawn(move || client.and_then(|client| carry(&client, upstream, &link)));
            }
        });
        Ok(Self {
            addr,
            stop,
            thread: Some(thread),
        })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread, which is waiting for the next client.
        let woken = TcpStream::connect(self.addr).is_ok();
        if let Some(thread) = self.thread.take()
            && woken
        {
            drop(thread.join());
        }
    }
}

fn carry(client: &TcpStream, upstream: SocketAddr, link: &Link) -> io::Result<()> {
    let server = TcpStream::connect(upstream)?;
    for end in [client, &server] {
        end.set_nodelay(true)?;
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            let sent = copy(client, &server, |_| {});
            drop(server.shutdown(Shutdown::Write));
            sent
        });
        let received = copy(&server, client, |bytes| link.wait(bytes));
        // Both ways: the other thread may be waiting for a request that never comes.
        drop(client.shutdown(Shutdown::Both));
        drop(server.shutdown(Shutdown::Both));
        received
    })
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, wait: impl Fn(usize)) -> io::Result<()> {
    let mut buffer = [0; PIECE];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            length => {
                wait(length);
                to.write_all(&buffer[..length])?;
            }
        }
    }
}

/// What all connections go through.
struct Link {
    /// Bytes a second.
    rate: u32,
    /// When all that was accepted is through.
    free: Mutex<Instant>,
}

impl Link {
    /// Returns when `bytes` more bytes are through.
    fn wait(&self, bytes: usize) {
        let through = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let start = now.checked_sub(SLACK).map_or(now, |past| past.max(*free));
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            *free = start + Duration::from_secs(1) * bytes / self.rate;
            *free
        };
        thread::sleep(through.saturating_duration_since(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_whole_and_no_faster_than_the_link() {
        const BYTES: usize = 300_000;
        let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let throttle = Throttle::start(server.local_addr().unwrap(), 1_000_000).unwrap();
        let serving = thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = server.accept().unwrap();
                let mut request = [0; 3];
                stream.read_exact(&mut request).unwrap();
                stream.write_all(&vec![request[0]; BYTES]).unwrap();
            }
        });
        let start = Instant::now();
        for request in [b"abc", b"xyz"] {
            let mut stream = TcpStream::connect(throttle.addr()).unwrap();
            stream.write_all(request).unwrap();
            let mut read = Vec::new();
            stream.read_to_end(&mut read).unwrap();
            assert!(read == vec![request[0]; BYTES]);
        }
        // Less the slack of each; that it may take longer is the machine's affair.
        assert!(start.elapsed() >= Duration::from_millis(590));
        serving.join().unwrap();
    }
}
