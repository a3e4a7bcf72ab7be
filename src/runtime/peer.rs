//! Whose a connection from this machine is, as the kernel says.
//!
//! The socket at the other end is looked up by its addresses, through sock_diag, or in `/proc/net` where that may not be
//! asked. A socket that its process has let go of is nobody's any more, and the kernel may show it as root's: whoever
//! asks must not take that for an answer.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// At the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A process of this user, by a socket of this number.
    Process {
        /// The user.
        user: u32,
        /// The socket's inode.
        socket: u32,
    },
    /// A process of this machine that has let go of the connection already.
    Nobody,
    /// Another machine.
    Elsewhere,
}

/// Who is at the other end of a connection that was accepted at `here`.
pub(super) fn owner(peer: SocketAddr, here: SocketAddr) -> io::Result<Owner> {
    let (peer, here) = (plain(peer), plain(here));
    let found = match ask_kernel(peer, here) {
        Ok(found) => found,
        Err(_) => look_up(peer, here)?,
    };
    Ok(match found {
        Some((user, socket)) if socket != 0 => Owner::Process { user, socket },
        Some(_) => Owner::Nobody,
        None if is_of_this_machine(peer.ip()) => Owner::Nobody,
        None => Owner::Elsewhere,
    })
}

/// Whether a process holds a socket, or another one in its namespace of processes does.
///
/// Fails closed: what cannot be looked into holds nothing.
pub(super) fn is_held_by(process: u32, socket: u32) -> bool {
    let wanted = PathBuf::from(format!("socket:[{socket}]"));
    let holds = |process: &Path| {
        let files = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        files.map(|file| file.path()).any(|file| std::fs::read_link(file).is_ok_and(|file| file == wanted))
    };
    let process = Path::new("/proc").join(process.to_string());
    if holds(&process) {
        return true;
    }
    let namespace = |process: &Path| std::fs::read_link(process.join("ns/pid")).ok();
    let Some(own) = namespace(&process) else { return false };
    let others = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    others.filter(|other| namespace(other).as_ref() == Some(&own)).any(|other| holds(&other))
}

/// An address of IPv4 as one, also where a listener of IPv6 names it.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn is_of_this_machine(address: IpAddr) -> bool {
    // Only addresses of this machine can be bound.
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}

/// User and inode of the socket that is bound to `peer` and connected to `here`.
///
/// The message is `inet_diag_req_v2` of `linux/inet_diag.h`, the answer `inet_diag_msg`.
fn ask_kernel(peer: SocketAddr, here: SocketAddr) -> io::Result<Option<(u32, u32)>> {
    const BY_FAMILY: u16 = 20;
    const REQUEST: u16 = 1;
    const LISTENING: u8 = 10;
    const HEADER: usize = 16;
    const UID_AT: usize = HEADER + 64;
    let mut message = Vec::with_capacity(HEADER + 56);
    message.extend_from_slice(&72_u32.to_ne_bytes());
    message.extend_from_slice(&BY_FAMILY.to_ne_bytes());
    message.extend_from_slice(&REQUEST.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    let family = if peer.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    message.extend_from_slice(&[family.as_raw() as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    message.extend_from_slice(&u32::MAX.to_ne_bytes());
    message.extend_from_slice(&peer.port().to_be_bytes());
    message.extend_from_slice(&here.port().to_be_bytes());
    for address in [peer.ip(), here.ip()] {
        let mut bytes = [0; 16];
        match address {
            IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => bytes = address.octets(),
        }
        message.extend_from_slice(&bytes);
    }
    let interface = if let SocketAddr::V6(peer) = peer { peer.scope_id() } else { 0 };
    message.extend_from_slice(&interface.to_ne_bytes());
    // No cookie.
    message.extend_from_slice(&[0xff; 8]);

    let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, Some(netlink::SOCK_DIAG))?;
    rustix::net::sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 1024];
    // The kernel has answered by now.
    let (count, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::DONTWAIT)?;
    let answer = &answer[..count];
    let number = |at: usize| {
        let bytes = answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_ne_bytes).ok_or_else(|| io::Error::other("the kernel's answer is too short"))
    };
    if number(4)? & 0xffff == u32::from(BY_FAMILY) {
        // Where nobody is connected so, whoever listens there is found.
        let is_listening = answer.get(HEADER + 1) == Some(&LISTENING);
        return Ok(if is_listening { None } else { Some((number(UID_AT)?, number(UID_AT + 4)?)) });
    }
    match Errno::from_raw_os_error(number(HEADER)?.cast_signed().wrapping_neg()) {
        Errno::NOENT => Ok(None),
        other => Err(other.into()),
    }
}

/// The same by reading all connections there are.
fn look_up(peer: SocketAddr, here: SocketAddr) -> io::Result<Option<(u32, u32)>> {
    let in_hex = |address: SocketAddr| {
        let words: Vec<u8> = match address.ip() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let words = words.chunks_exact(4).map(|word| {
            let word = word.try_into().expect("chunks of four");
            format!("{:08X}", u32::from_ne_bytes(word))
        });
        format!("{}:{:04X}", words.collect::<String>(), address.port())
    };
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    let wanted = [
        ("/proc/thread-self/net/tcp", in_hex(peer), in_hex(here)),
        ("/proc/thread-self/net/tcp6", in_hex(mapped(peer)), in_hex(mapped(here))),
    ];
    for (table, peer, here) in wanted {
        let table = match std::fs::read_to_string(table) {
            // A machine without IPv6.
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
            table => table?,
        };
        let found = table.lines().skip(1).find_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let is_it = fields.next()? == peer && fields.next()? == here;
            // State, queues, timer and retransmissions stand between; timeouts between the two.
            let uid = fields.nth(4).filter(|_| is_it)?.parse().ok()?;
            Some((uid, fields.nth(1)?.parse().ok()?))
        });
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_user_at_the_other_end_is_known_and_nobody_is_not_taken_for_root() {
        let user = rustix::process::getuid().as_raw();
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            // A machine may have no IPv6.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            let here: IpAddr = if address.starts_with("127") || address == "[::]:0" {
                [127, 0, 0, 1].into()
            } else {
                listener.local_addr().unwrap().ip()
            };
            let client = TcpStream::connect((here, port)).unwrap();
            let (server, peer) = listener.accept().unwrap();
            let here = server.local_addr().unwrap();
            let Ok(Owner::Process { user: found, socket }) = owner(peer, here) else { panic!("{address}") };
            assert_eq!(found, user, "{address}");
            assert!(is_held_by(std::process::id(), socket), "{address}");
            assert!(!is_held_by(std::process::id(), u32::MAX), "{address}");
            let (plain_peer, plain_here) = (plain(peer), plain(here));
            let by_kernel = ask_kernel(plain_peer, plain_here).unwrap();
            assert_eq!(look_up(plain_peer, plain_here).unwrap(), by_kernel, "{address}");
            // Closed with nothing left to say, it is still connected from here.
            drop(client);
            assert_eq!(owner(peer, here).unwrap(), Owner::Nobody, "{address}");
        }
        let here = "127.0.0.1:1".parse().unwrap();
        assert_eq!(owner("127.0.0.1:1".parse().unwrap(), here).unwrap(), Owner::Nobody);
        assert_eq!(owner("192.0.2.1:1".parse().unwrap(), here).unwrap(), Owner::Elsewhere);
    }
}
