//! The PROXY protocol, versions 1 and 2: what a load balancer says of the client before the client speaks.
//!
//! Read to the byte, for what follows is the client's. Whoever can reach a listener that wants it is believed, so such a
//! listener belongs behind the load balancer alone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// How much may follow the first 16 bytes of version 2; what balancers add to the addresses is well below.
const REST_BYTES_MAX: usize = 4096;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Whoever connected: the balancer itself, or a client it cannot name.
    Connected,
    /// The client at this address.
    Client(SocketAddr),
}

/// Why a header is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// The connection ended.
    #[error("the connection ended within it")]
    Io(#[from] io::Error),
    /// It is not what the protocol says.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Reads the header of a connection, and nothing behind it.
pub(super) async fn read(stream: &mut TcpStream) -> Result<Source, ProxyError> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == *SIGNATURE {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if length > REST_BYTES_MAX {
            return Err(ProxyError::Malformed("a header of version 2 that is too long"));
        }
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await?;
        return version_2(head[0], head[1], &rest).map_err(ProxyError::Malformed);
    }
    if !start.starts_with(b"PROXY ") {
        return Err(ProxyError::Malformed("neither version of the protocol"));
    }
    let (mut line, mut len) = ([0; LINE_BYTES_MAX], start.len());
    line[..len].copy_from_slice(&start);
    while !line[..len].ends_with(b"\r\n") {
        // Looked at before it is taken, because what follows the line is the client's.
        let mut ahead = [0; LINE_BYTES_MAX];
        let seen = stream.peek(&mut ahead[..LINE_BYTES_MAX - len]).await?;
        if seen == 0 {
            let is_full = len == LINE_BYTES_MAX;
            return Err(match is_full {
                true => ProxyError::Malformed("a line of version 1 that is too long"),
                false => io::Error::from(io::ErrorKind::UnexpectedEof).into(),
            });
        }
        let taken = ahead[..seen].iter().position(|byte| *byte == b'\n').map_or(seen, |at| at + 1);
        stream.read_exact(&mut line[len..len + taken]).await?;
        len += taken;
        if line[..len].ends_with(b"\n") && !line[..len].ends_with(b"\r\n") {
            return Err(ProxyError::Malformed("a line of version 1 that does not end in CR LF"));
        }
    }
    version_1(&line[..len - 2]).map_err(ProxyError::Malformed)
}

/// Reads a header that is here as a whole; `None` where it is none, for fuzzers.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn whole(bytes: &[u8]) -> Option<Source> {
    match bytes.strip_prefix(SIGNATURE) {
        Some([command, family, _, _, rest @ ..]) => version_2(*command, *family, rest).ok(),
        Some(_) => None,
        None => version_1(bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes)).ok(),
    }
}

/// A line without its end.
fn version_1(line: &[u8]) -> Result<Source, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "a line of version 1 that is not ASCII")?;
    let parts: Vec<&str> = line.split(' ').collect();
    let address: IpAddr = match parts[..] {
        ["PROXY", "UNKNOWN", ..] => return Ok(Source::Connected),
        ["PROXY", "TCP4", from, to, _, _] => {
            to.parse::<Ipv4Addr>().map_err(|_| "no address of IPv4")?;
            from.parse::<Ipv4Addr>().map_err(|_| "no address of IPv4")?.into()
        }
        ["PROXY", "TCP6", from, to, _, _] => {
            to.parse::<Ipv6Addr>().map_err(|_| "no address of IPv6")?;
            from.parse::<Ipv6Addr>().map_err(|_| "no address of IPv6")?.into()
        }
        _ => return Err("a line of version 1 with other words"),
    };
    port(parts[5])?;
    Ok(Source::Client(SocketAddr::new(address, port(parts[4])?)))
}

fn port(text: &str) -> Result<u16, &'static str> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain).ok_or("no port")
}

/// What follows the signature: version and command, family and transport, and so many bytes as were announced.
fn version_2(command: u8, family: u8, rest: &[u8]) -> Result<Source, &'static str> {
    match command {
        // LOCAL: the balancer's own, to see whether somebody is there; whatever follows says nothing.
        0x20 => return Ok(Source::Connected),
        0x21 => {}
        _ => return Err("a version or command that is not known"),
    }
    let short = "addresses that are cut short";
    let port = |at: usize| rest.get(at..at + 2).map(|port| u16::from_be_bytes([port[0], port[1]]));
    match family {
        0x11 => {
            let from: [u8; 4] = rest.get(..4).and_then(|from| from.try_into().ok()).ok_or(short)?;
            port(10).ok_or(short)?;
            Ok(Source::Client((Ipv4Addr::from(from), port(8).ok_or(short)?).into()))
        }
        0x21 => {
            let from: [u8; 16] = rest.get(..16).and_then(|from| from.try_into().ok()).ok_or(short)?;
            port(34).ok_or(short)?;
            Ok(Source::Client((Ipv6Addr::from(from), port(32).ok_or(short)?).into()))
        }
        // Unspecified, and a stream of a Unix socket: a client without an address.
        0x00 => Ok(Source::Connected),
        0x31 if rest.len() >= 216 => Ok(Source::Connected),
        0x31 => Err(short),
        _ => Err("a family or transport that no TCP connection has"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Option<Source> {
        Some(Source::Client(text.parse().unwrap()))
    }

    #[test]
    fn lines_of_version_1() {
        for (line, source) in [
            ("PROXY TCP4 192.0.2.7 10.0.0.1 5000 443", client("192.0.2.7:5000")),
            ("PROXY TCP6 2001:db8::7 ::1 5000 443", client("[2001:db8::7]:5000")),
            ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535", client("255.255.255.255:65535")),
            ("PROXY UNKNOWN", Some(Source::Connected)),
            ("PROXY UNKNOWN ffff::1 ffff::2 65535 65535", Some(Source::Connected)),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 5000", None),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 5000 443 1", None),
            ("PROXY TCP4  192.0.2.7 10.0.0.1 5000 443", None),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 65536 443", None),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 +1 443", None),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 080 443", None),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 5000 ", None),
            ("PROXY TCP4 192.0.2.07 10.0.0.1 5000 443", None),
            ("PROXY TCP4 192.0.2.256 10.0.0.1 5000 443", None),
            ("PROXY TCP4 2001:db8::7 ::1 5000 443", None),
            ("PROXY TCP6 192.0.2.7 10.0.0.1 5000 443", None),
            ("PROXY UDP4 192.0.2.7 10.0.0.1 5000 443", None),
            ("proxy TCP4 192.0.2.7 10.0.0.1 5000 443", None),
            ("PROXY", None),
        ] {
            assert_eq!(version_1(line.as_bytes()).ok(), source, "{line}");
        }
        assert!(version_1(b"PROXY TCP4 \xff").is_err());
    }

    #[test]
    fn heads_of_version_2() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x13, 0x88, 1, 0xbb];
        let v6: Vec<u8> = [[0x20; 16], [1; 16]].concat().into_iter().chain([0x13, 0x88, 1, 0xbb]).collect();
        let beside = [&v4[..], &[4, 0, 3, 1, 2, 3]].concat();
        let unix = [0; 216];
        for (what, command, family, rest, source) in [
            ("IPv4", 0x21, 0x11, &v4[..], client("192.0.2.7:5000")),
            ("IPv4 and more", 0x21, 0x11, &beside, client("192.0.2.7:5000")),
            ("IPv6", 0x21, 0x21, &v6, client("[2020:2020:2020:2020:2020:2020:2020:2020]:5000")),
            ("LOCAL", 0x20, 0x00, &[], Some(Source::Connected)),
            ("LOCAL with addresses", 0x20, 0x11, &v4, Some(Source::Connected)),
            ("unspecified", 0x21, 0x00, &[], Some(Source::Connected)),
            ("Unix", 0x21, 0x31, &unix, Some(Source::Connected)),
            ("Unix, short", 0x21, 0x31, &unix[1..], None),
            ("IPv4, short", 0x21, 0x11, &v4[..11], None),
            ("IPv6, short", 0x21, 0x21, &v6[..35], None),
            ("UDP", 0x21, 0x12, &v4, None),
            ("another command", 0x22, 0x11, &v4, None),
            ("another version", 0x11, 0x11, &v4, None),
            ("another family", 0x21, 0x41, &v4, None),
        ] {
            assert_eq!(version_2(command, family, rest).ok(), source, "{what}");
        }
    }
}
