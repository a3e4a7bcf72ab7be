//! AWS's event stream, as InvokeWithResponseStream answers: frames with a checksum each, and a channel that carries them.
//!
//! A frame is its length, the length of its headers, a checksum of both, the headers, what it carries, and a checksum of
//! all of that.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::{Body, Frame};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

/// The type of such an answer.
pub(super) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";
/// How many frames wait for a client that is slower than its version.
const WAITING_MAX: usize = 8;
/// What a frame carries at most; more of an answer that comes at once is several.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// The lengths and the checksums of a frame.
const AROUND_BYTES: usize = 16;
/// The kind of a header's value that is text.
const TEXT: u8 = 7;

/// The body of a streamed answer: frames as they are made.
pub struct Pieces(mpsc::Receiver<Bytes>);

/// Where the frames of an answer go.
pub(super) struct Feed(mpsc::Sender<Bytes>);

/// The client has gone away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// What became of a stream.
#[derive(Debug, Default)]
pub(super) struct Completed {
    /// The error it ended in, as JSON.
    pub(super) error: Option<Bytes>,
    /// The end of the log in base64, where the client wants it.
    pub(super) log: Option<String>,
}

/// A body that is yet to come, and where it comes from.
pub(super) fn channel() -> (Feed, Pieces) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Feed(sender), Pieces(receiver))
}

impl Feed {
    /// Sends a piece of the answer; waits while the client is behind.
    pub(super) async fn piece(&self, mut bytes: Bytes) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PAYLOAD_BYTES_MAX));
            self.send(frame("PayloadChunk", "application/octet-stream", &piece)).await?;
        }
        Ok(())
    }

    /// Ends the stream.
    pub(super) async fn complete(&self, completed: Completed) -> Result<(), Gone> {
        let mut members = Map::new();
        if let Some(error) = completed.error {
            members.insert("ErrorCode".to_owned(), "Unhandled".into());
            let details = String::from_utf8_lossy(&error).into_owned();
            members.insert("ErrorDetails".to_owned(), details.into());
        }
        if let Some(log) = completed.log {
            members.insert("LogResult".to_owned(), log.into());
        }
        let payload = Value::Object(members).to_string();
        self.send(frame("InvokeComplete", "application/json", payload.as_bytes())).await
    }

    /// Waits until nobody wants any more of it.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }

    async fn send(&self, frame: Bytes) -> Result<(), Gone> {
        self.0.send(frame).await.map_err(|_| Gone)
    }
}

fn frame(event: &str, content_type: &str, payload: &[u8]) -> Bytes {
    let mut headers = BytesMut::new();
    for (name, value) in [(":event-type", event), (":content-type", content_type), (":message-type", "event")]
    {
        headers.put_u8(length(name.len()));
        headers.put_slice(name.as_bytes());
        headers.put_u8(TEXT);
        headers.put_u16(u16::from(length(value.len())));
        headers.put_slice(value.as_bytes());
    }
    let length = |bytes: usize| u32::try_from(bytes).expect("a frame carries a MiB at most");
    let mut frame = BytesMut::with_capacity(AROUND_BYTES + headers.len() + payload.len());
    frame.put_u32(length(AROUND_BYTES + headers.len() + payload.len()));
    frame.put_u32(length(headers.len()));
    frame.put_u32(crc32fast::hash(&frame));
    frame.put_slice(&headers);
    frame.put_slice(payload);
    frame.put_u32(crc32fast::hash(&frame));
    frame.freeze()
}

fn length(bytes: usize) -> u8 {
    u8::try_from(bytes).expect("the names and values of these headers are short")
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        self.get_mut().0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_aws() {
        // Made by botocore's own tests' rule: lengths, checksum, headers, payload, checksum.
        let made = frame("PayloadChunk", "application/octet-stream", b"hello");
        let total = u32::from_be_bytes(made[..4].try_into().unwrap()) as usize;
        let headers = u32::from_be_bytes(made[4..8].try_into().unwrap()) as usize;
        assert_eq!((total, total - headers - AROUND_BYTES), (made.len(), 5));
        assert_eq!(made[8..12], crc32fast::hash(&made[..8]).to_be_bytes());
        assert_eq!(made[12..24], *b"\x0b:event-type");
        assert_eq!(made[24..27], [TEXT, 0, 12]);
        assert_eq!(made[27..39], *b"PayloadChunk");
        assert_eq!(made[total - 9..total - 4], *b"hello");
        assert_eq!(made[total - 4..], crc32fast::hash(&made[..total - 4]).to_be_bytes());
    }
}
