//! The body of a request on its way to a version.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use hyper::HeaderMap;
use hyper::body::Body;
use hyper::rt::Write;

use crate::router::plain::PlainIo;
use crate::router::upload::{UploadBroken, UpstreamBody};

/// How a request's body is told from what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFraming {
    /// There is none.
    None,
    /// By its length; whether the head has it already.
    Length { left: u64, is_said: bool },
    /// In chunks.
    Chunked,
}

/// A request's body, until all of it was handed to the kernel.
pub(in crate::router) struct Sending {
    io: PlainIo,
    body: UpstreamBody,
    framing: BodyFraming,
    /// What the kernel has not taken yet of the last piece: its frame before and behind it included.
    piece: Chain<Chain<Bytes, Bytes>, Bytes>,
    is_at_end: bool,
}

/// How a body went up.
pub(in crate::router) struct Sent {
    /// Whether the version's side took all of it; if not, another request cannot follow.
    pub(in crate::router) is_whole: bool,
}

/// The client's side of a body broke off.
#[derive(Debug, thiserror::Error)]
pub(in crate::router) enum ClientBroke {
    /// It failed.
    #[error(transparent)]
    Failed(#[from] UploadBroken),
    /// It is longer or shorter than it was said to be.
    #[error("the client's request body is not as long as was said")]
    Length,
}

fn piece(before: Bytes, data: Bytes, behind: &'static [u8]) -> Chain<Chain<Bytes, Bytes>, Bytes> {
    before.chain(data).chain(Bytes::from_static(behind))
}

impl Sending {
    /// What is to be sent behind a head; `None` if that is nothing.
    pub(super) fn of(io: &PlainIo, body: UpstreamBody, framing: BodyFraming) -> Option<Sending> {
        if framing == BodyFraming::None {
            return None;
        }
        let piece = piece(Bytes::new(), Bytes::new(), b"");
        Some(Sending { io: io.share(), body, framing, piece, is_at_end: false })
    }

    /// Sends as much as goes; ready once there is no more to send, or nobody to send it to.
    pub(in crate::router) fn poll(&mut self, cx: &mut Context<'_>) -> Result<Poll<Sent>, ClientBroke> {
        loop {
            while self.piece.has_remaining() {
                match self.poll_write(cx) {
                    Poll::Ready(true) => {}
                    // It takes no more; what it has answered, if anything, is for the reader to find.
                    Poll::Ready(false) => return Ok(Poll::Ready(Sent { is_whole: false })),
                    Poll::Pending => return Ok(Poll::Pending),
                }
            }
            if self.is_at_end {
                return Ok(Poll::Ready(Sent { is_whole: true }));
            }
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(frame) => frame.transpose()?,
                Poll::Pending => return Ok(Poll::Pending),
            };
            match frame.map(|frame| frame.into_data()) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => self.frame(data)?,
                Some(Err(frame)) => self.end(&frame.into_trailers().unwrap_or_default())?,
                None => self.end(&HeaderMap::new())?,
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut slices = [IoSlice::new(&[]); 3];
        let count = self.piece.chunks_vectored(&mut slices);
        match ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..count])) {
            Ok(written @ 1..) => {
                self.piece.advance(written);
                Poll::Ready(true)
            }
            Ok(0) | Err(_) => Poll::Ready(false),
        }
    }

    /// Wraps the next piece of the body.
    fn frame(&mut self, data: Bytes) -> Result<(), ClientBroke> {
        match &mut self.framing {
            BodyFraming::Length { left, .. } => {
                *left = left.checked_sub(data.len() as u64).ok_or(ClientBroke::Length)?;
                self.is_at_end = *left == 0 && self.body.is_end_stream();
                self.piece = piece(Bytes::new(), data, b"");
            }
            BodyFraming::Chunked | BodyFraming::None => {
                let line = Bytes::from(format!("{:x}\r\n", data.len()));
                self.piece = piece(line, data, b"\r\n");
            }
        }
        Ok(())
    }

    /// Ends the body.
    fn end(&mut self, trailers: &HeaderMap) -> Result<(), ClientBroke> {
        self.is_at_end = true;
        match self.framing {
            BodyFraming::Length { left: 1.., .. } => return Err(ClientBroke::Length),
            BodyFraming::Length { left: 0, .. } | BodyFraming::None => {}
            BodyFraming::Chunked => {
                let mut end = b"0\r\n".to_vec();
                for (name, value) in trailers {
                    end.extend_from_slice(name.as_str().as_bytes());
                    end.extend_from_slice(b": ");
                    end.extend_from_slice(value.as_bytes());
                    end.extend_from_slice(b"\r\n");
                }
                self.piece = piece(Bytes::from(end), Bytes::new(), b"\r\n");
            }
        }
        Ok(())
    }
}
