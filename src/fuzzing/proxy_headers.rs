//! What a balancer says of a client before its connection begins, in either version of PROXY.

use crate::router::fuzzed::proxy_header;

/// An address that is taken is said in a line of the first version so that the same is taken.
pub(super) fn run(data: &[u8]) {
    let Some(Some(address)) = proxy_header(data) else { return };
    let (family, to) = if address.is_ipv4() { ("TCP4", "10.0.0.1") } else { ("TCP6", "::1") };
    let line = format!("PROXY {family} {} {to} {} 443", address.ip(), address.port());
    let again = proxy_header(line.as_bytes());
    let same = again.flatten().map(|again| (again.ip(), again.port()));
    assert_eq!(same, Some((address.ip(), address.port())), "{line}");
}
