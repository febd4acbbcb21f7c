//! Enables the loopback device, without which nothing on 127.0.0.1 can be reached.

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

/// Returns a request of rtnetlink(7) to set the flag `IFF_UP` of device 1, which is the loopback device in every
/// network namespace.
fn request() -> Vec<u8> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_AND_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    const LENGTH: u32 = 32;
    let mut request = Vec::new();
    // struct nlmsghdr: length, type, flags, sequence, port.
    request.extend(LENGTH.to_ne_bytes());
    request.extend(RTM_NEWLINK.to_ne_bytes());
    request.extend(NLM_F_REQUEST_AND_ACK.to_ne_bytes());
    request.extend([0; 8]);
    // struct ifinfomsg: family and padding, type, index, flags, mask of the flags to change.
    request.extend([0; 4]);
    request.extend(1u32.to_ne_bytes());
    request.extend(IFF_UP.to_ne_bytes());
    request.extend(IFF_UP.to_ne_bytes());
    request
}

pub(crate) fn up() -> Result<(), Errno> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // NETLINK_ROUTE is protocol 0.
        None,
    )?;
    sendto(
        &socket,
        &request(),
        SendFlags::empty(),
        &SocketAddrNetlink::new(0, 0),
    )?;
    let mut answer = [0; 64];
    let (_, length) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    // struct nlmsgerr follows the header of 16 bytes and begins with a negative error number, or 0.
    let error = answer.get(..length).and_then(|answer| answer.get(16..20));
    let error = error
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes);
    match error {
        Some(0) => Ok(()),
        Some(error) => Err(Errno::from_raw_os_error(error.wrapping_neg())),
        None => Err(Errno::BADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_as_long_as_it_says() {
        let request = request();
        let length = u32::try_from(request.len()).unwrap();
        assert_eq!(request[..4], length.to_ne_bytes());
    }
}
