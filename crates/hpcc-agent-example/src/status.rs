//! Sends the exit code to a program of the host that listens on a vsock, for hosts where the console is only a log.

use std::io::Write as _;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// The address of the host (`VMADDR_CID_HOST`).
const HOST: u32 = 2;
/// How long the host may take to accept, and to read.
const LIMIT: Duration = Duration::from_secs(5);

/// Connects to `port` of the host and sends `exit CODE` and a line break.
pub(crate) fn send(port: u32, code: u8) -> std::io::Result<()> {
    let mut socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
    socket.connect_timeout(&SockAddr::vsock(HOST, port), LIMIT)?;
    socket.set_write_timeout(Some(LIMIT))?;
    socket.write_all(format!("exit {code}\n").as_bytes())?;
    // The host reads to the end of the stream, which must not be cut off by the end of the machine.
    socket.shutdown(std::net::Shutdown::Write)?;
    socket.set_read_timeout(Some(LIMIT))?;
    std::io::copy(
        &mut std::io::Read::take(&mut socket, 1),
        &mut std::io::sink(),
    )
    .map(drop)
}
