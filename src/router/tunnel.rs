//! What follows a change of protocol: bytes both ways, until both ends are done.
//!
//! Nothing is a tunnel before the version has answered 101 to a request that asked for one, in the protocol it asked
//! for. From then on the router knows nothing of what is said, so nothing of it is judged; the request counts as
//! ended when the tunnel does.

use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::time::timeout;

use super::exchange::Transit;
use super::plain::PlainIo;

/// How long the ends of a tunnel that is closed may take to hear of it.
const CLOSING_MAX: Duration = Duration::from_secs(1);
/// How long an end may be silent before the kernel asks whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A version's end of a connection that has changed its protocol.
pub(super) struct Tunnel {
    transit: Transit,
    version: PlainIo,
    /// What the version has said since its 101.
    early: Bytes,
}

impl Tunnel {
    /// The version's end, with what came on it behind the head of the answer.
    pub(super) fn new(transit: Transit, version: PlainIo, early: Bytes) -> Tunnel {
        Tunnel { transit, version, early }
    }

    /// Carries bytes until both ends are done or one is gone; `early` is what the client has said since its request.
    ///
    /// An end that is silent is left in peace for as long as it is there.
    pub(super) async fn run(self, mut client: impl AsyncRead + AsyncWrite + Unpin, early: Bytes) {
        let Tunnel { transit, version, early: from_version } = self;
        prepare(&version);
        let mut version = TokioIo::new(version);
        let carried = async {
            client.write_all(&from_version).await?;
            client.flush().await?;
            version.write_all(&early).await?;
            version.flush().await?;
            copy_bidirectional(&mut client, &mut version).await
        };
        let stay = transit.enter_tunnels();
        let is_closed = tokio::select! {
            // However it ends, nobody is left to be told.
            _ = carried => false,
            () = stay.over() => true,
        };
        drop(stay);
        if is_closed {
            let closing = async {
                // One that is gone need not be told.
                let _ = client.shutdown().await;
                let _ = version.shutdown().await;
            };
            let _ = timeout(CLOSING_MAX, closing).await;
        }
        transit.complete();
    }
}

/// Makes an end of a connection that of a tunnel.
pub(super) fn prepare(end: &PlainIo) {
    end.wait_for_flushes();
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 6);
    // An end that vanished without a word is noticed by the kernel; where it does not look, when the other one speaks.
    end.with_stream(|stream| drop(SockRef::from(stream).set_tcp_keepalive(&keepalive)));
}
