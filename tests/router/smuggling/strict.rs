//! A reader of HTTP/1.1 requests that takes one spelling of everything and nothing else, and a version made of it.
//!
//! It shares no code with the router or with hyper. What it would refuse is noted, so that two readers in a row can
//! disagree nowhere without this one seeing it.

use std::io::{BufReader, Read};
use std::sync::{Arc, Mutex};

use serin_core::lambda::function::Target;

use crate::support::upstream::{Script, write};

/// Longer than anything that the router lets through.
const LINE_BYTES_MAX: usize = 80_000;

/// Names and values, in order.
type Lines = Vec<(String, String)>;

/// A request as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As it was written; case counts.
    pub method: String,
    /// In origin form.
    pub target: String,
    /// Names as they were written, values without the blanks around them.
    pub headers: Vec<(String, String)>,
    /// Without its framing.
    pub body: Vec<u8>,
    /// What followed a chunked body.
    pub trailers: Vec<(String, String)>,
}

/// Why there is no (further) request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ended in the midst of a body.
    BrokenOff,
    /// It is not HTTP/1.1 as its strictest reader has it.
    Refused(String),
}

fn refused<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Refused(why.into()))
}

/// Reads one request; `None` at the end of the connection.
pub fn read_request(source: &mut impl Read) -> Result<Option<Request>, Fault> {
    let Some(first) = byte(source) else { return Ok(None) };
    let request_line = line(source, Some(first), || Fault::Refused("ended in its request line".to_owned()))?;
    let parts: Vec<&[u8]> = request_line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = parts.as_slice() else {
        return refused(format!("a request line of {} parts", parts.len()));
    };
    if !is_token(method) {
        return refused("a method that is no token");
    }
    if *version != b"HTTP/1.1" {
        return refused("another version than HTTP/1.1");
    }
    if !target.starts_with(b"/")
        || !target.iter().all(|byte| matches!(byte, 0x21..=0x7e | 0x80..) && !b"#".contains(byte))
    {
        return refused("a target that is not in origin form");
    }
    let headers = header_lines(source, || Fault::Refused("ended in its head".to_owned()))?;
    let of = |wanted: &str| -> Vec<&str> {
        let named = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        named.map(|(_, value)| value.as_str()).collect()
    };
    if of("host").len() != 1 {
        return refused(format!("{} Host headers", of("host").len()));
    }
    let (body, trailers) = match (of("content-length").as_slice(), of("transfer-encoding").as_slice()) {
        ([], []) => (Vec::new(), Vec::new()),
        ([length], []) => {
            let is_plain = !length.is_empty()
                && length.parse().is_ok_and(|length: i64| length >= 0)
                && length.bytes().all(|byte| byte.is_ascii_digit())
                && (length.len() == 1 || !length.starts_with('0'));
            if !is_plain {
                return refused(format!("a length of {length:?}"));
            }
            (exactly(source, length.parse().expect("digits"))?, Vec::new())
        }
        ([], ["chunked"]) => chunks(source)?,
        (lengths, codings) => return refused(format!("framed by {lengths:?} and {codings:?}")),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Some(Request { method: text(method), target: text(target), headers, body, trailers }))
}

/// What a version behind the router refuses on top: headers that only the router may set, or should have taken off.
fn check_forwarded(request: &Request) -> Result<(), String> {
    const CONNECTION: [&str; 5] = ["keep-alive", "proxy-connection", "upgrade", "expect", "te"];
    const OURS: [&str; 4] =
        ["x-forwarded-for", "x-forwarded-host", "x-forwarded-prefix", "x-forwarded-proto"];
    const FRAMING: [&str; 4] = ["content-length", "transfer-encoding", "host", "connection"];
    let nominated: Vec<&str> = request
        .headers
        .iter()
        .filter(|(name, _)| name == "connection")
        .flat_map(|(_, value)| value.split(','))
        .map(str::trim)
        .collect();
    for (name, value) in &request.headers {
        // A CGI-like server reads both alike.
        let read = name.replace('_', "-").to_ascii_lowercase();
        let is_ours = OURS.contains(&name.as_str());
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(format!("{name} was not read as a name"));
        }
        if CONNECTION.contains(&read.as_str()) && !nominated.contains(&name.as_str()) {
            return Err(format!("{name} is about the client's connection"));
        }
        if read == "x-amz-executed-version" || read == "x-serin-error" || read == "forwarded" {
            return Err(format!("{name} is forged"));
        }
        if (read.starts_with("x-forwarded-") && !is_ours)
            || (FRAMING.contains(&read.as_str()) && read != *name)
        {
            return Err(format!("{name} may be read as {read}"));
        }
        let is_authority = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%:[]".contains(&byte);
        if (name == "x-forwarded-host" || name == "host") && !value.bytes().all(is_authority) {
            return Err(format!("{name}: {value} is no host"));
        }
        if is_ours && request.headers.iter().filter(|(other, _)| other == name).count() > 1 {
            return Err(format!("{name} twice"));
        }
    }
    for (name, _) in &request.trailers {
        let read = name.replace('_', "-").to_ascii_lowercase();
        let is_about_the_message = FRAMING.contains(&read.as_str())
            || CONNECTION.contains(&read.as_str())
            || read.starts_with("x-forwarded-")
            || read == "x-amz-executed-version"
            || ["authorization", "forwarded", "trailer", "x-serin-error", "cookie"].contains(&read.as_str());
        if is_about_the_message {
            return Err(format!("a trailer named {name}"));
        }
    }
    Ok(())
}

fn byte(source: &mut impl Read) -> Option<u8> {
    let mut byte = [0];
    source.read_exact(&mut byte).ok().map(|()| byte[0])
}

/// Reads to CR LF, in which no other CR, LF or control byte but a tab may stand.
fn line(source: &mut impl Read, first: Option<u8>, ended: impl Fn() -> Fault) -> Result<Vec<u8>, Fault> {
    let mut line = Vec::new();
    let mut next = first;
    loop {
        match next.take().or_else(|| byte(source)).ok_or_else(&ended)? {
            b'\r' => {
                return match byte(source).ok_or_else(&ended)? {
                    b'\n' => Ok(line),
                    _ => refused(format!("a bare CR after {:?}", String::from_utf8_lossy(&line))),
                };
            }
            b'\n' => return refused(format!("a bare LF after {:?}", String::from_utf8_lossy(&line))),
            control @ (0..=8 | 11..=31 | 127) => return refused(format!("a control byte, {control}")),
            byte => line.push(byte),
        }
        if line.len() > LINE_BYTES_MAX {
            return refused("a line without end");
        }
    }
}

fn header_lines(source: &mut impl Read, ended: impl Fn() -> Fault) -> Result<Vec<(String, String)>, Fault> {
    let mut headers = Vec::new();
    loop {
        let line = line(source, None, &ended)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let shown = String::from_utf8_lossy(&line).into_owned();
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return refused(format!("no colon in {shown:?}"));
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !is_token(name) {
            return refused(format!("no name in {shown:?}"));
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        headers.push((text(name), text(value)));
    }
}

fn chunks(source: &mut impl Read) -> Result<(Vec<u8>, Lines), Fault> {
    let mut body = Vec::new();
    loop {
        let size = line(source, None, || Fault::BrokenOff)?;
        let is_plain = (1..=15).contains(&size.len()) && size.iter().all(u8::is_ascii_hexdigit);
        if !is_plain {
            return refused(format!("a chunk's size of {:?}", String::from_utf8_lossy(&size)));
        }
        let size = usize::from_str_radix(&String::from_utf8_lossy(&size), 16).expect("digits");
        if size == 0 {
            return Ok((body, header_lines(source, || Fault::BrokenOff)?));
        }
        body.extend(exactly(source, size)?);
        if exactly(source, 2)? != b"\r\n" {
            return refused("a chunk that is longer than its size");
        }
    }
}

fn exactly(source: &mut impl Read, count: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    match source.take(count as u64).read_to_end(&mut bytes) {
        Ok(read) if read == count => Ok(bytes),
        _ => Err(Fault::BrokenOff),
    }
}

fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}

/// What a version has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Whole requests, in order.
    pub requests: Vec<Request>,
    /// What it would not have taken, in words.
    pub refused: Vec<String>,
}

/// A version that reads strictly, answers every whole request with its target in `x-target`, and hangs up on the rest.
pub struct StrictVersion {
    script: Script,
    seen: Arc<Mutex<Seen>>,
}

impl StrictVersion {
    /// Starts one.
    pub fn start() -> StrictVersion {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noting = Arc::clone(&seen);
        let script = Script::start(move |mut stream, _| {
            stream.set_nodelay(true).unwrap();
            let mut source = BufReader::new(stream.try_clone().unwrap());
            loop {
                let request = match read_request(&mut source) {
                    Ok(Some(request)) => request,
                    Ok(None) | Err(Fault::BrokenOff) => return,
                    Err(Fault::Refused(why)) => {
                        noting.lock().unwrap().refused.push(why);
                        return write(&mut stream, "HTTP/1.1 400 Strict\r\nContent-Length: 0\r\n\r\n");
                    }
                };
                let target = request.target.clone();
                let mut seen = noting.lock().unwrap();
                if let Err(why) = check_forwarded(&request) {
                    seen.refused.push(why);
                }
                seen.requests.push(request);
                drop(seen);
                write(
                    &mut stream,
                    format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Target: {target}\r\n\r\n"),
                );
            }
        });
        StrictVersion { script, seen }
    }

    /// As a version is published.
    pub fn target(&self) -> Target {
        self.script.target()
    }

    /// What it has seen since it was asked last.
    pub fn take(&self) -> Seen {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

#[test]
fn the_strict_reader_is_strict() {
    let read = |text: &str| {
        let mut source = text.as_bytes();
        let mut requests = Vec::new();
        loop {
            match read_request(&mut source) {
                Ok(Some(request)) => requests.push(String::from_utf8(request.body).unwrap()),
                Ok(None) => return Ok(requests),
                Err(fault) => return Err(fault),
            }
        }
    };
    let head = "POST / HTTP/1.1\r\nHost: a\r\n";
    let twice = format!(
        "{head}Content-Length: 3\r\n\r\nabc{head}Transfer-Encoding: chunked\r\n\r\n1\r\nd\r\n0\r\n\r\n"
    );
    assert_eq!(read(&twice), Ok(vec!["abc".to_owned(), "d".to_owned()]));
    assert_eq!(read(&format!("{head}Content-Length: 4\r\n\r\nabc")), Err(Fault::BrokenOff));
    for wrong in [
        "\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 03\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nd\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\ndd\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\nd\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nd\r\n0\r\n\r\n",
    ] {
        assert!(matches!(read(wrong), Err(Fault::Refused(_))), "{wrong:?} {:?}", read(wrong));
    }
}
