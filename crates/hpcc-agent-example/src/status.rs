//! Sends the exit code to a program of the host that listens on a vsock, for hosts where the console is only a log.
//!
//! Every process of the guest can connect to every port of the host. So this program connects before the command starts,
//! and the first connection that the host accepts is this program's.

use std::io::{self, Read as _, Write as _};
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

    /// Sends `exit CODE` and a line break over the connection, or over another one if it cannot be written to: the host
    /// may have restored a snapshot.
    pub(crate) fn send(self, code: u8) {
        let Some(port) = self.port else {
            return;
        };
        let problem = match write_to_either(self.held, || connect(port), code) {
            Ok(socket) => wait(&socket).err().map(|error| {
                format!("port {port} of the host did not confirm the exit code: {error}")
            }),
            Err(error) => Some(format!(
                "cannot send the exit code to port {port} of the host: {error}"
            )),
        };
        if let Some(problem) = problem {
            say(&format!("warning: {problem}"));
        }
    }
}

fn connect(port: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
    socket.connect_timeout(&SockAddr::vsock(HOST, port), LIMIT)?;
    Ok(socket)
}

/// Writes the code to the connection that is held, or to another one if that fails, and returns the one that has it.
fn write_to_either(
    held: Option<Socket>,
    connect: impl FnOnce() -> io::Result<Socket>,
    code: u8,
) -> io::Result<Socket> {
    match held.map(|held| write(held, code)) {
        Some(Ok(socket)) => Ok(socket),
        _ => connect().and_then(|socket| write(socket, code)),
    }
}

fn write(mut socket: Socket, code: u8) -> io::Result<Socket> {
    socket.set_write_timeout(Some(LIMIT))?;
    socket.write_all(format!("exit {code}\n").as_bytes())?;
    Ok(socket)
}

/// Waits until the host has read to the end of the stream, which must not be cut off by the end of the machine.
fn wait(socket: &Socket) -> io::Result<()> {
    socket.shutdown(std::net::Shutdown::Write)?;
    socket.set_read_timeout(Some(LIMIT))?;
    io::copy(&mut socket.take(1), &mut io::sink()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Socket, Socket) {
        Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap()
    }

    #[test]
    fn code_that_was_written_is_not_sent_again() {
        let (held, mut host) = pair();
        let unused = || unreachable!("the first connection took the code");
        let socket = write_to_either(Some(held), unused, 7).unwrap();
        let mut first = [0];
        host.read_exact(&mut first).unwrap();
        // The host resets the connection, because it has not read the rest.
        drop(host);
        assert!(wait(&socket).is_err());
    }

    #[test]
    fn code_goes_to_another_connection_if_the_first_is_lost() {
        let (held, lost) = pair();
        drop(lost);
        for held in [Some(held), None] {
            let (other, mut host) = pair();
            let socket = write_to_either(held, || Ok(other), 7).unwrap();
            let host = std::thread::spawn(move || {
                let mut line = String::new();
                host.read_to_string(&mut line).unwrap();
                line
            });
            wait(&socket).unwrap();
            assert_eq!(host.join().unwrap(), "exit 7\n");
        }
    }
}
