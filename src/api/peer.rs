//! Who is at the other end of a connection to the control listener: functions' processes are told from everybody else.

use tokio::net::TcpStream;

use crate::runtime::Runtimes;

/// Whose connection it is, as far as matters here; every request on it carries this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Whether it is a process of a function.
    pub is_function: bool,
}

impl Peer {
    /// Looks at a connection that was just accepted.
    pub fn of(stream: &TcpStream, runtimes: &Runtimes) -> Peer {
        let ends = stream.peer_addr().and_then(|peer| Ok((peer, stream.local_addr()?)));
        let is_function = ends.is_ok_and(|(peer, here)| runtimes.is_function(peer, here));
        // One that was reset frees its addresses, and then the kernel may have told of somebody else's connection.
        Peer { is_function: is_function || stream.peer_addr().is_err() }
    }
}
