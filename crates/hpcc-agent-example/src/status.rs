//! Sends the exit code to a program of the host that listens on a vsock, for hosts where the console is only a log.
//!
//! Every process of the guest can connect to every port of the host. So this program connects before the command starts,
//! and the first connection that the host accepts is this program's.

use std::io::Write as _;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::{line, say};

/// The address of the host (`VMADDR_CID_HOST`).
const HOST: u32 = 2;
/// How long the host may take to accept, and to read.
const LIMIT: Duration = Duration::from_secs(5);

/// The place that the exit code is sent to.
#[derive(Default)]
pub(crate) struct Report {
    port: Option<u32>,
    /// Connected before the command started. The command does not inherit it.
    held: Option<Socket>,
}

impl Report {
    /// Reads the port from the line of this machine, without connecting.
    pub(crate) fn of_machine() -> Self {
        let port = line::status_of_machine();
        Self { port, held: None }
    }

    /// Connects, if the line names a port, and keeps the connection.
    pub(crate) fn connect(&mut self) {
        let Some(port) = self.port else {
            return;
        };
        match connect(port) {
            Ok(socket) => self.held = Some(socket),
            Err(error) => say(&format!(
                "warning: cannot connect to port {port} of the host before the command starts: {error}"
            )),
        }
    }

    /// Sends `exit CODE` and a line break over the connection, or over another one if it was lost: the host may have
    /// restored a snapshot.
    pub(crate) fn send(self, code: u8) {
        let Some(port) = self.port else {
            return;
        };
        let sent = match self.held.map(|held| send(held, code)) {
            Some(Ok(())) => Ok(()),
            _ => connect(port).and_then(|socket| send(socket, code)),
        };
        if let Err(error) = sent {
            say(&format!(
                "warning: cannot send the exit code to port {port} of the host: {error}"
            ));
        }
    }
}

fn connect(port: u32) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
    socket.connect_timeout(&SockAddr::vsock(HOST, port), LIMIT)?;
    Ok(socket)
}

fn send(mut socket: Socket, code: u8) -> std::io::Result<()> {
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
