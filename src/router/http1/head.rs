//! Heads: how one is written for a version, and what is read out of an answer's.

use std::io::Write as _;
use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use hyper::body::Body;
use hyper::ext::ReasonPhrase;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::http::{request, response};
use hyper::{HeaderMap, Response, StatusCode, Version};

use super::framing::{Chunk, Framing};
use super::sending::BodyFraming;
use super::{Broken, HEAD_BYTES_MAX};
use crate::router::upload::UpstreamBody;

/// More header fields than this are refused.
const FIELDS_MAX: usize = 100;

/// How the body of a request is to be told from what follows it.
pub(super) fn request_framing(head: &request::Parts, body: &UpstreamBody) -> BodyFraming {
    if body.is_end_stream() {
        return BodyFraming::None;
    }
    if head.headers.contains_key(TRANSFER_ENCODING) {
        return BodyFraming::Chunked;
    }
    match head.headers.get(CONTENT_LENGTH).map(|length| digits(length.as_bytes())) {
        Some(Some(length)) => BodyFraming::Length { left: length, is_said: true },
        // Whoever made the request has checked it; this is only for a body of known length without a header.
        Some(None) | None => match body.size_hint().exact() {
            Some(length) => BodyFraming::Length { left: length, is_said: false },
            None => BodyFraming::Chunked,
        },
    }
}

/// Writes a request's head.
pub(super) fn write_request(bytes: &mut Vec<u8>, head: &request::Parts, framing: BodyFraming) {
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    bytes.reserve(64 + target.len() + head.headers.len() * 48);
    bytes.extend_from_slice(head.method.as_str().as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(target.as_bytes());
    bytes.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in &head.headers {
        if framing == BodyFraming::None && *name == TRANSFER_ENCODING {
            continue;
        }
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    match framing {
        BodyFraming::Length { left, is_said: false } => {
            write!(bytes, "content-length: {left}\r\n").expect("a Vec takes what it is given");
        }
        BodyFraming::Chunked if !head.headers.contains_key(TRANSFER_ENCODING) => {
            bytes.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        _ => {}
    }
    bytes.extend_from_slice(b"\r\n");
}

/// The head of an answer, and what it means for the connection.
pub(super) struct Answer {
    pub head: response::Parts,
    pub framing: Framing,
    pub is_kept: bool,
}

/// Reads the head of the answer, once all of it is there; heads that are only informational are passed over.
///
/// Its headers take the room of `spare`.
pub(super) fn read_answer(
    input: &mut BytesMut,
    spare: &mut HeaderMap,
    wants_head_only: bool,
) -> Result<Option<Answer>, Broken> {
    loop {
        let Some(head) = read_head(input, spare)? else { return Ok(None) };
        let is_informational =
            head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS;
        if !is_informational {
            let framing = framing(&head, wants_head_only).map_err(Broken::Malformed)?;
            let is_kept = is_kept(&head) && framing != Framing::Close;
            return Ok(Some(Answer { head, framing, is_kept }));
        }
        if input.is_empty() {
            return Ok(None);
        }
    }
}

/// Where the name and the value of a field stand.
#[derive(Clone, Copy, Default)]
struct Field {
    name: (u32, u32),
    value: (u32, u32),
}

fn read_head(input: &mut BytesMut, spare: &mut HeaderMap) -> Result<Option<response::Parts>, Broken> {
    let mut fields = [Field::default(); FIELDS_MAX];
    let mut count = 0;
    let (length, status, reason, version) = {
        let mut parsed_fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut parsed, input, &mut parsed_fields) {
            Ok(httparse::Status::Complete(length)) if length <= HEAD_BYTES_MAX => {
                for (field, parsed) in fields.iter_mut().zip(parsed.headers.iter()) {
                    *field =
                        Field { name: span(input, parsed.name.as_bytes()), value: span(input, parsed.value) };
                    count += 1;
                }
                let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
                let status = status.ok_or(Broken::Malformed("its status is no number from 100 to 999"))?;
                let reason = parsed.reason.filter(|reason| Some(*reason) != status.canonical_reason());
                let reason = reason.map(|reason| Bytes::copy_from_slice(reason.as_bytes()));
                let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
                (length, status, reason, version)
            }
            Ok(httparse::Status::Partial) if input.len() < HEAD_BYTES_MAX => return Ok(None),
            Ok(_) => return Err(Broken::Malformed("its head is too long")),
            Err(httparse::Error::TooManyHeaders) => return Err(Broken::Malformed("it has too many headers")),
            Err(_) => return Err(Broken::Malformed("its head cannot be read")),
        }
    };
    let bytes = input.split_to(length).freeze();
    let (mut head, ()) = Response::new(()).into_parts();
    (head.status, head.version) = (status, version);
    head.headers = std::mem::take(spare);
    head.headers.clear();
    head.headers.reserve(count + 1);
    for Field { name, value } in &fields[..count] {
        let name = HeaderName::from_bytes(&bytes[name.0 as usize..name.1 as usize]);
        let value = HeaderValue::from_maybe_shared(bytes.slice(value.0 as usize..value.1 as usize));
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Broken::Malformed("a header has odd bytes"));
        };
        head.headers.append(name, value);
    }
    if let Some(reason) = reason.and_then(|reason| ReasonPhrase::try_from(reason).ok()) {
        head.extensions.insert(reason);
    }
    Ok(Some(head))
}

/// Where a part of the input stands in it.
fn span(whole: &[u8], part: &[u8]) -> (u32, u32) {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    (start as u32, (start + part.len()) as u32)
}

/// RFC 9112, 6.3: what tells the end of an answer's body.
fn framing(head: &response::Parts, wants_head_only: bool) -> Result<Framing, &'static str> {
    let has_no_body = wants_head_only
        || matches!(
            head.status,
            StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    if has_no_body {
        return Ok(Framing::None);
    }
    if let Some(last) = head.headers.get_all(TRANSFER_ENCODING).iter().next_back() {
        if head.version == Version::HTTP_10 {
            return Err("it has a transfer coding, and HTTP/1.0 knows none");
        }
        let is_chunked = last.as_bytes().rsplit(|byte| *byte == b',').next();
        let is_chunked = is_chunked.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        return Ok(if is_chunked { Framing::Chunked(Chunk::Line) } else { Framing::Close });
    }
    let mut length = None;
    for value in head.headers.get_all(CONTENT_LENGTH) {
        for part in value.as_bytes().split(|byte| *byte == b',') {
            let said = digits(part.trim_ascii()).ok_or("its Content-Length is no number")?;
            if length.replace(said).is_some_and(|before| before != said) {
                return Err("it has two lengths");
            }
        }
    }
    Ok(match length {
        None => Framing::Close,
        Some(0) => Framing::None,
        Some(length) => Framing::Length(length),
    })
}

/// Whether the version keeps the connection.
fn is_kept(head: &response::Parts) -> bool {
    let mut is_asked = false;
    for value in head.headers.get_all(CONNECTION) {
        for token in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"close") {
                return false;
            }
            is_asked |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    // A length beside a transfer coding is a mistake at best; nothing that follows is taken for an answer.
    let is_doubtful =
        head.headers.contains_key(TRANSFER_ENCODING) && head.headers.contains_key(CONTENT_LENGTH);
    !is_doubtful
        && head.status != StatusCode::SWITCHING_PROTOCOLS
        && (is_asked || head.version == Version::HTTP_11)
}

/// A number in plain digits.
fn digits(text: &[u8]) -> Option<u64> {
    let is_plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    str::from_utf8(text).ok().filter(|_| is_plain)?.parse().ok()
}
