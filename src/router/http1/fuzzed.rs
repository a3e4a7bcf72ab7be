//! What fuzzers are let in to of HTTP/1.1 with versions: whole requests and whole answers.

use bytes::BytesMut;
use hyper::HeaderMap;
use hyper::http::{request, response};

use super::framing::{Framing, Step};
use super::head::{read_answer, request_framing, write_request};
use super::sending::BodyFraming;
use crate::router::upload::UpstreamBody;

/// A request as it is written, its body in one piece.
pub(in crate::router) fn whole_request(
    head: &request::Parts,
    body: UpstreamBody,
    trailers: &HeaderMap,
) -> Vec<u8> {
    let framing = request_framing(head, &body);
    let mut bytes = Vec::new();
    write_request(&mut bytes, head, framing);
    let UpstreamBody::Whole(Some(body)) = body else { return bytes };
    match framing {
        BodyFraming::None => {}
        BodyFraming::Length { .. } => bytes.extend_from_slice(&body),
        BodyFraming::Chunked => {
            bytes.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(&body);
            bytes.extend_from_slice(b"\r\n0\r\n");
            for (name, value) in trailers {
                bytes.extend_from_slice(
                    &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat(),
                );
            }
            bytes.extend_from_slice(b"\r\n");
        }
    }
    bytes
}

/// Head, body, the number of trailers, how much is left behind it, and whether the connection is kept.
type Whole = (response::Parts, Vec<u8>, usize, usize, bool);

/// Reads an answer that comes in pieces; `None` where it is none, or breaks off.
pub(in crate::router) fn whole_answer(
    input: &mut BytesMut,
    bytes: &[u8],
    piece: usize,
    wants_head_only: bool,
) -> Option<Whole> {
    let mut pieces = bytes.chunks(piece);
    let mut answer = loop {
        if !input.is_empty()
            && let Some(answer) = read_answer(input, &mut HeaderMap::new(), wants_head_only).ok()?
        {
            break answer;
        }
        input.extend_from_slice(pieces.next()?);
    };
    let (mut body, mut trailers) = (Vec::new(), 0);
    loop {
        match answer.framing.step(input).ok()? {
            Step::Over => break,
            Step::Frame(frame) => match frame.into_data() {
                Ok(data) => body.extend_from_slice(&data),
                Err(frame) => trailers += frame.into_trailers().map_or(0, |trailers| trailers.len()),
            },
            Step::Wanting(_) => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None if answer.framing.ends_with_connection() => answer.framing = Framing::None,
                None => return None,
            },
        }
    }
    let left = input.len() + pieces.map(<[u8]>::len).sum::<usize>();
    Some((answer.head, body, trailers, left, answer.is_kept))
}
