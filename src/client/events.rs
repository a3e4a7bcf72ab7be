//! The journal as server-sent events: lines in, entries out.

use std::io::{BufRead, BufReader};

use ureq::http::Response;
use ureq::{Body, BodyReader};

use crate::api::wire::EventView;

/// No entry is longer; what is, is not from a serin.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Entries as they are written; ends when the connection does.
pub struct Events {
    lines: BufReader<BodyReader<'static>>,
}

impl Events {
    /// Reads an answer's body as events.
    pub fn new(response: Response<Body>) -> Events {
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Events { lines: BufReader::new(body) }
    }

    fn line(&mut self) -> std::io::Result<Option<String>> {
        let mut bytes = Vec::new();
        loop {
            let ready = self.lines.fill_buf()?;
            if ready.is_empty() {
                return Ok(None);
            }
            let (used, ended) = match ready.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (ready.len(), false),
            };
            bytes.extend_from_slice(&ready[..used]);
            self.lines.consume(used);
            if bytes.len() > LINE_BYTES_MAX {
                return Err(std::io::Error::other("a line without an end"));
            }
            if ended {
                let line = String::from_utf8_lossy(&bytes);
                return Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()));
            }
        }
    }
}

impl Iterator for Events {
    type Item = std::io::Result<EventView>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut data = String::new();
        loop {
            match self.line() {
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
                Ok(Some(line)) if line.is_empty() => {
                    if !data.is_empty() {
                        return Some(serde_json::from_str(&data).map_err(std::io::Error::other));
                    }
                }
                Ok(Some(line)) => {
                    if let Some(rest) = line.strip_prefix("data:") {
                        data.push_str(rest.strip_prefix(' ').unwrap_or(rest));
                        data.push('\n');
                    }
                }
            }
        }
    }
}
