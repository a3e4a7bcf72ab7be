//! Where the body of an answer ends: after so many bytes, after its last chunk, or with the connection.

use bytes::{Buf, Bytes, BytesMut};
use hyper::HeaderMap;
use hyper::body::{Frame, SizeHint};
use hyper::header::{HeaderName, HeaderValue};

use super::HEAD_BYTES_MAX;

/// The longest line that says how long a chunk is, extensions included.
const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// More fields than this are no trailers.
const TRAILERS_MAX: usize = 100;

/// What is yet to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Nothing.
    None,
    /// So many bytes, at least one.
    Length(u64),
    /// Chunks, and how far they have come.
    Chunked(Chunk),
    /// All until the version closes the connection.
    Close,
}

/// What comes next of a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// The line that says how long the next chunk is.
    Line,
    /// So many bytes of a chunk.
    Data(u64),
    /// The end of a chunk's line.
    End,
    /// Fields behind the last chunk, and the empty line.
    Trailers,
}

/// What one look at the input gives.
pub(super) enum Step {
    /// A piece of the body.
    Frame(Frame<Bytes>),
    /// There is no more.
    Over,
    /// More must be read first, about so much.
    Wanting(usize),
}

impl Framing {
    /// Takes the next piece out of what was read; fails with what is wrong with it.
    pub(super) fn step(&mut self, input: &mut BytesMut) -> Result<Step, &'static str> {
        match self {
            Framing::None => Ok(Step::Over),
            Framing::Length(left) => {
                if input.is_empty() {
                    return Ok(Step::Wanting(usize::try_from(*left).unwrap_or(usize::MAX)));
                }
                let piece = take(input, left);
                if *left == 0 {
                    *self = Framing::None;
                }
                Ok(Step::Frame(Frame::data(piece)))
            }
            Framing::Close if input.is_empty() => Ok(Step::Wanting(0)),
            Framing::Close => Ok(Step::Frame(Frame::data(input.split().freeze()))),
            Framing::Chunked(_) => self.step_chunks(input),
        }
    }

    fn step_chunks(&mut self, input: &mut BytesMut) -> Result<Step, &'static str> {
        loop {
            let Framing::Chunked(chunk) = self else { return Ok(Step::Over) };
            match chunk {
                Chunk::Line => match chunk_length(input)? {
                    None => return Ok(Step::Wanting(0)),
                    Some(0) => *chunk = Chunk::Trailers,
                    Some(length) => *chunk = Chunk::Data(length),
                },
                Chunk::Data(left) => {
                    if input.is_empty() {
                        return Ok(Step::Wanting(usize::try_from(*left).unwrap_or(usize::MAX)));
                    }
                    let piece = take(input, left);
                    if *left == 0 {
                        *chunk = Chunk::End;
                        self.end_early(input)?;
                    }
                    return Ok(Step::Frame(Frame::data(piece)));
                }
                Chunk::End => {
                    if !end_of_chunk(input)? {
                        return Ok(Step::Wanting(0));
                    }
                    *chunk = Chunk::Line;
                }
                Chunk::Trailers => {
                    let Some(trailers) = trailers(input)? else { return Ok(Step::Wanting(0)) };
                    *self = Framing::None;
                    let has_any = !trailers.is_empty();
                    return Ok(if has_any { Step::Frame(Frame::trailers(trailers)) } else { Step::Over });
                }
            }
        }
    }

    /// Sees the end behind the last chunk at once if it has come and has no trailers: nobody need ask for more.
    fn end_early(&mut self, input: &mut BytesMut) -> Result<(), &'static str> {
        const END: &[u8] = b"\r\n0\r\n\r\n";
        if input.starts_with(END) {
            input.advance(END.len());
            *self = Framing::None;
        }
        Ok(())
    }

    /// Whether the end of the connection is the end of the body.
    pub(super) fn ends_with_connection(&self) -> bool {
        *self == Framing::Close
    }

    /// How long the rest is, where that was said.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Framing::None => SizeHint::with_exact(0),
            Framing::Length(left) => SizeHint::with_exact(*left),
            Framing::Chunked(_) | Framing::Close => SizeHint::default(),
        }
    }
}

/// Takes at most `left` bytes, and counts them off.
fn take(input: &mut BytesMut, left: &mut u64) -> Bytes {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    *left -= count as u64;
    input.split_to(count).freeze()
}

/// The length that the next line gives, once it is there; what stands behind it is passed over.
fn chunk_length(input: &mut BytesMut) -> Result<Option<u64>, &'static str> {
    let Some(end) = input.iter().take(CHUNK_LINE_BYTES_MAX).position(|byte| *byte == b'\n') else {
        let is_too_long = input.len() >= CHUNK_LINE_BYTES_MAX;
        return if is_too_long { Err("the line before a chunk does not end") } else { Ok(None) };
    };
    let line = input[..end].strip_suffix(b"\r").ok_or("the line before a chunk ends without a CR")?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let behind = line[digits..].trim_ascii_start();
    let is_extension = behind.first().is_none_or(|first| *first == b';');
    if digits == 0 || digits > 16 || !is_extension || line.contains(&b'\r') {
        return Err("a chunk's length is no number");
    }
    let text = str::from_utf8(&line[..digits]).map_err(|_| "a chunk's length is no number")?;
    let length = u64::from_str_radix(text, 16).map_err(|_| "a chunk's length is no number")?;
    input.advance(end + 1);
    Ok(Some(length))
}

/// Takes the line end behind a chunk, once it is there.
fn end_of_chunk(input: &mut BytesMut) -> Result<bool, &'static str> {
    match input[..] {
        [] | [b'\r'] => Ok(false),
        [b'\r', b'\n', ..] => {
            input.advance(2);
            Ok(true)
        }
        _ => Err("a chunk is longer than was said"),
    }
}

/// Reads the fields behind the last chunk, once all are there.
fn trailers(input: &mut BytesMut) -> Result<Option<HeaderMap>, &'static str> {
    if input.starts_with(b"\r\n") {
        input.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let mut fields = [httparse::EMPTY_HEADER; TRAILERS_MAX];
    let (length, map) = match httparse::parse_headers(input, &mut fields) {
        Ok(httparse::Status::Complete((length, fields))) => {
            let mut map = HeaderMap::new();
            for field in fields {
                let name =
                    HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| "a trailer has no name")?;
                let value = HeaderValue::from_bytes(field.value).map_err(|_| "a trailer has odd bytes")?;
                map.append(name, value);
            }
            (length, map)
        }
        Ok(httparse::Status::Partial) if input.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("the trailers are too long"),
        Err(_) => return Err("the trailers cannot be read"),
    };
    input.advance(length);
    Ok(Some(map))
}
