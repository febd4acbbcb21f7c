//! SOCKS version 5 (RFC 1928), with a user and a password (RFC 1929).

use std::net::IpAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::connect::failure::ProxyFailure;
use crate::connect::stream::Io;
use crate::proxy::Proxy;

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const NONE_FITS: u8 = 0xff;
const CONNECT: u8 = 1;

/// Address that the proxy connects to.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    Address(IpAddr),
    Name(String),
}

/// Asks `proxy`, to which `io` leads, for a connection to `wanted` at `port`.
///
/// # Errors
/// Returns what the proxy answered if it refuses.
pub(crate) async fn open(
    io: &mut dyn Io,
    proxy: &Proxy,
    wanted: &Wanted,
    port: u16,
) -> Result<(), ProxyFailure> {
    let failure = |reason: String, is_final: bool| ProxyFailure {
        proxy: proxy.shown(),
        status: None,
        reason,
        is_final,
        is_of_login: false,
    };
    let broken =
        |error: std::io::Error| failure(format!("the SOCKS proxy broke off: {error}"), false);
    let refused = |what: &str| failure(format!("the SOCKS proxy {what}"), true);
    let login_refused = |what: &str| ProxyFailure {
        is_of_login: true,
        ..refused(what)
    };

    let hello: &[u8] = match &proxy.login {
        Some(_) => &[VERSION, 2, NO_LOGIN, PASSWORD],
        None => &[VERSION, 1, NO_LOGIN],
    };
    io.write_all(hello).await.map_err(broken)?;
    io.flush().await.map_err(broken)?;
    let mut answer = [0; 2];
    io.read_exact(&mut answer).await.map_err(broken)?;
    let [version, method] = answer;
    if version != VERSION {
        return Err(refused(
            "does not answer as SOCKS version 5 does; check the scheme of its URL",
        ));
    }
    match (method, &proxy.login) {
        (NO_LOGIN, _) => {}
        (PASSWORD, Some((user, password))) => {
            let mut login = vec![1];
            for word in [user, password] {
                login.push(
                    u8::try_from(word.len())
                        .map_err(|_| refused("takes 255 bytes of user and of password"))?,
                );
                login.extend_from_slice(word.as_bytes());
            }
            io.write_all(&login).await.map_err(broken)?;
            io.flush().await.map_err(broken)?;
            io.read_exact(&mut answer).await.map_err(broken)?;
            if answer != [1, 0] {
                return Err(login_refused(
                    "refused the user and the password in its URL",
                ));
            }
        }
        (NONE_FITS, None) => {
            return Err(login_refused(
                "requires a login; put USER:PASSWORD@ into its URL",
            ));
        }
        (PASSWORD, None) | (NONE_FITS, Some(_)) | (_, _) => {
            return Err(login_refused(
                "offers no way to log in that this program knows",
            ));
        }
    }

    let mut request = vec![VERSION, CONNECT, 0];
    match wanted {
        Wanted::Address(IpAddr::V4(address)) => {
            request.push(1);
            request.extend_from_slice(&address.octets());
        }
        Wanted::Address(IpAddr::V6(address)) => {
            request.push(4);
            request.extend_from_slice(&address.octets());
        }
        Wanted::Name(name) => {
            request.push(3);
            request
                .push(u8::try_from(name.len()).map_err(|_| refused("takes names of 255 bytes"))?);
            request.extend_from_slice(name.as_bytes());
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    io.write_all(&request).await.map_err(broken)?;
    io.flush().await.map_err(broken)?;

    let mut head = [0; 4];
    io.read_exact(&mut head).await.map_err(broken)?;
    let [version, reply, _, kind] = head;
    if version != VERSION {
        return Err(refused(
            "does not answer as SOCKS version 5 does; check the scheme of its URL",
        ));
    }
    if reply != 0 {
        let (what, is_final) = meaning(reply);
        return Err(failure(
            format!("the SOCKS proxy answered {reply} ({what})"),
            is_final,
        ));
    }
    // The address that the proxy connects from, which is of no use here.
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => usize::from(io.read_u8().await.map_err(broken)?),
        _ => return Err(refused("answers with an address of an unknown kind")),
    };
    let mut rest = vec![0; length + 2];
    io.read_exact(&mut rest).await.map_err(broken)?;
    Ok(())
}

/// Returns the meaning of a reply, and whether the next one will be the same.
fn meaning(reply: u8) -> (&'static str, bool) {
    match reply {
        2 => ("not allowed by its rules", true),
        3 => ("network unreachable", false),
        4 => ("host unreachable", false),
        5 => ("connection refused", false),
        6 => ("time to live expired", false),
        7 => ("command not supported", true),
        8 => ("kind of address not supported; try socks5h", true),
        _ => ("general failure", false),
    }
}
