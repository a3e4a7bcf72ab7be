//! Frames and descriptors over a socket pair.
//!
//! A frame is its length in four bytes, the greatest first, and JSON. Descriptors go beside single bytes between frames.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Ten thousand aliases take some five megabytes.
const FRAME_BYTES_MAX: usize = 1 << 30;
/// The kernel takes 253 at once.
const DESCRIPTORS_AT_ONCE: usize = 64;

/// Sends one frame.
pub(super) fn send(mut stream: &UnixStream, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).ok().filter(|length| *length as usize <= FRAME_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("the message is too long to be handed over"))?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&text)
}

/// Receives one frame as it is.
pub(super) fn receive_bytes(mut stream: &UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of more than a gibibyte"));
    }
    let mut text = Vec::new();
    stream.take(length as u64).read_to_end(&mut text)?;
    if text.len() < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(text) }
}

/// Receives one frame and reads it.
pub(super) fn receive<T: DeserializeOwned>(stream: &UnixStream) -> io::Result<T> {
    Ok(serde_json::from_slice(&receive_bytes(stream)?)?)
}

/// Sends descriptors; the receiver gets its own ones for the same open files.
pub(super) fn send_descriptors(stream: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    for some in descriptors.chunks(DESCRIPTORS_AT_ONCE) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_AT_ONCE))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !beside.push(SendAncillaryMessage::ScmRights(some)) {
            return Err(io::Error::other("the descriptors do not fit beside a byte"));
        }
        loop {
            match sendmsg(stream, &[IoSlice::new(&[0])], &mut beside, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                sent => {
                    sent?;
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Receives so many descriptors, none of which a program that is started later inherits.
pub(super) fn receive_descriptors(stream: &UnixStream, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut received = Vec::new();
    while received.len() < count {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_AT_ONCE))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let got = loop {
            match recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut beside, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                got => break got?,
            }
        };
        let before = received.len();
        received.extend(beside.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<_>>(),
            _ => Vec::new(),
        }));
        if got.bytes == 0 || received.len() == before {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "sockets were announced and did not come",
            ));
        }
    }
    Ok(received)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn sockets_and_frames_arrive_in_their_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let listeners: Vec<TcpListener> =
            (0..130).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let descriptors: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
        send(&ours, &"before").unwrap();
        send_descriptors(&ours, &descriptors).unwrap();
        send(&ours, &"after").unwrap();
        drop(ours);
        assert_eq!(receive::<String>(&theirs).unwrap(), "before");
        let received = receive_descriptors(&theirs, 130).unwrap();
        for (sent, received) in listeners.iter().zip(received) {
            let received = TcpListener::from(received);
            assert_eq!(received.local_addr().unwrap(), sent.local_addr().unwrap());
        }
        assert_eq!(receive::<String>(&theirs).unwrap(), "after");
        assert_eq!(receive_bytes(&theirs).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_breaks_off_or_lies_is_an_error() {
        let broken = |bytes: &[u8]| {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(bytes).unwrap();
            drop(ours);
            receive::<String>(&theirs).unwrap_err().kind()
        };
        assert_eq!(broken(&[0, 0]), io::ErrorKind::UnexpectedEof);
        assert_eq!(broken(&[0, 0, 0, 9, b'"']), io::ErrorKind::UnexpectedEof);
        assert_eq!(broken(&[255, 0, 0, 0, b'"']), io::ErrorKind::InvalidData);
        assert_eq!(broken(&[0, 0, 0, 1, b'?']), io::ErrorKind::InvalidData);
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&ours).write_all(b"no descriptor").unwrap();
        assert!(receive_descriptors(&theirs, 1).is_err());
    }
}
