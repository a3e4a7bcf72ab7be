//! What clients send on one connection: the first byte says how it comes apart, and whether they are trusted.

use crate::router::fuzzed::requests;

/// Headers that are about one connection, or that a client may not say.
const NEVER_SENT: [&str; 9] = [
    "expect",
    "keep-alive",
    "proxy-connection",
    "forwarded",
    "x-amz-executed-version",
    "x-serin-error",
    "x-serin-mirrored",
    "x_forwarded_for",
    "transfer_encoding",
];

/// A version reads each request as one, to its end, and never of a client's what is the router's to say.
pub(super) fn run(data: &[u8]) {
    let Some((pick, bytes)) = data.split_first() else { return };
    let is_trusted = pick & 0x80 != 0;
    let (sent, answered) = requests(bytes, usize::from(pick & 0x7f), is_trusted);
    for request in &sent {
        read_strictly(request, is_trusted).unwrap_or_else(|why| panic!("{why}: {}", request.escape_ascii()));
    }
    let whole = requests(bytes, bytes.len(), is_trusted);
    assert_eq!(whole.0.len(), sent.len(), "requests by how they come apart");
    assert!(whole.0 == sent, "requests differ by how they come apart");
    // Each request has one answer, and whatever is none has one at most.
    let answers = answered.windows(9).filter(|window| window.starts_with(b"HTTP/1.")).count();
    assert!(answers >= sent.len(), "{answers} answers to {} requests", sent.len());
}

fn read_strictly(bytes: &[u8], is_trusted: bool) -> Result<(), String> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no end of the head")?;
    let mut lines =
        bytes[..end].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().ok_or("nothing")?;
    let parts: Vec<&[u8]> = first.split(|byte| *byte == b' ').collect();
    let [method, target, b"HTTP/1.1"] = parts[..] else { return Err("no request line".to_owned()) };
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if method.is_empty() || !method.iter().all(is_token) {
        return Err("an odd method".to_owned());
    }
    if !target.starts_with(b"/base") || target.iter().any(|byte| byte.is_ascii_control() || *byte == b' ') {
        return Err("an odd target".to_owned());
    }
    let (mut hosts, mut lengths, mut codings, mut origins) = (0, Vec::new(), 0, 0);
    for line in lines {
        let at = line.iter().position(|byte| *byte == b':').ok_or("a line without a colon")?;
        let (name, value) = (&line[..at], line[at + 1..].trim_ascii());
        if name.is_empty() || !name.iter().all(is_token) {
            return Err("an odd name".to_owned());
        }
        if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err("an odd value".to_owned());
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if NEVER_SENT.contains(&name.as_str()) {
            return Err(format!("{name} is sent"));
        }
        match name.as_str() {
            "host" => {
                hosts += 1;
                if value != b"version:80" {
                    return Err("another host".to_owned());
                }
            }
            "content-length" => {
                let text = std::str::from_utf8(value).map_err(|why| why.to_string())?;
                let length: usize = text.parse().map_err(|_| format!("the length {text:?}"))?;
                if length.to_string() != text {
                    return Err(format!("the length {text:?}"));
                }
                lengths.push(length);
            }
            "transfer-encoding" if value == b"chunked" => codings += 1,
            "transfer-encoding" => return Err("another coding".to_owned()),
            "connection" if value != b"te" && value != b"upgrade" => {
                return Err("connection names something else".to_owned());
            }
            "x-forwarded-for" => {
                origins += 1;
                let is_ours = if is_trusted { value.ends_with(b"192.0.2.1") } else { value == b"192.0.2.1" };
                if !is_ours {
                    return Err("another origin".to_owned());
                }
            }
            _ => {}
        }
    }
    let body = &bytes[end + 4..];
    match (hosts, &lengths[..], codings, origins) {
        (1, [], 0, 1) if body.is_empty() => Ok(()),
        (1, [length], 0, 1) if body.len() == *length || body.is_empty() => Ok(()),
        (1, [], 1, 1) => read_chunks(body),
        what => Err(format!("hosts, lengths, codings, origins: {what:?}, with {} bytes", body.len())),
    }
}

/// Reads what `whole_request` writes of a body in chunks, to its very end.
fn read_chunks(body: &[u8]) -> Result<(), String> {
    let at = body.windows(2).position(|two| two == b"\r\n").ok_or("no length of a chunk")?;
    let text = std::str::from_utf8(&body[..at]).map_err(|why| why.to_string())?;
    let length = usize::from_str_radix(text, 16).map_err(|why| why.to_string())?;
    let rest = body.get(at + 2 + length..).ok_or("a chunk that is cut")?;
    let rest = if length == 0 { rest } else { rest.strip_prefix(b"\r\n0\r\n").ok_or("no last chunk")? };
    let is_over = rest == b"\r\n" || rest.ends_with(b"\r\n\r\n") || rest == b"\r\n0\r\n\r\n";
    if is_over { Ok(()) } else { Err(format!("trailers that do not end: {}", rest.escape_ascii())) }
}
