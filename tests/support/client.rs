//! A blocking HTTP/1.1 client that sends what it is told, right or wrong, and says exactly what came back.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::uninterrupted;

/// A connection to a server.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How reading came to an end.
    ended: Option<io::Result<()>>,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status of the last head.
    pub status: u16,
    /// Names in lower case, in order of arrival.
    pub headers: Vec<(String, String)>,
    /// The body, decoded.
    pub body: Vec<u8>,
    /// Trailers after a chunked body.
    pub trailers: Vec<(String, String)>,
    /// Whether the body ended as its head promised; false for a broken one.
    pub is_whole: bool,
}

impl Answer {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a header.
    pub fn header_all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body")
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The version that the answer says it came from.
    pub fn version(&self) -> Option<&str> {
        self.header("x-amz-executed-version")
    }
}

impl Client {
    /// Connects; whatever takes longer than ten seconds later fails.
    pub fn connect(addr: SocketAddr) -> Client {
        Client::on(TcpStream::connect(addr).expect("the server listens"))
    }

    /// Speaks over a connection that is open.
    pub fn on(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, buffer: Vec::new(), ended: None }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server takes it");
    }

    /// Sends bytes and tells whether the server took them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Asks with a method, a target and extra header lines, without a body.
    #[track_caller]
    pub fn ask(&mut self, method: &str, target: &str, lines: &[&str]) -> Answer {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: test.example\r\n{lines}\r\n"));
        self.answer_to(method)
    }

    /// Gets a target.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Answer {
        self.ask("GET", target, &[])
    }

    /// Posts a body with its length.
    #[track_caller]
    pub fn post(&mut self, target: &str, lines: &[&str], body: impl AsRef<[u8]>) -> Answer {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let body = body.as_ref();
        self.send(format!(
            "POST {target} HTTP/1.1\r\nHost: test.example\r\nContent-Length: {}\r\n{lines}\r\n",
            body.len()
        ));
        self.send(body);
        self.answer_to("POST")
    }

    /// Reads an answer; panics if there is none.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// Reads an answer to a method; panics if there is none, and says why.
    #[expect(clippy::disallowed_methods, reason = "tests wait in real time")]
    #[track_caller]
    pub fn answer_to(&mut self, method: &str) -> Answer {
        let begun = Instant::now();
        self.try_answer_to(method).unwrap_or_else(|| {
            let (read, ended) = (String::from_utf8_lossy(&self.buffer), &self.ended);
            panic!("no answer within {:?}: {ended:?} after {read:?} on {:?}", begun.elapsed(), self.stream)
        })
    }

    /// Reads an answer; `None` if the connection ends before its head does.
    pub fn try_answer_to(&mut self, method: &str) -> Option<Answer> {
        loop {
            let mut answer = self.head()?;
            if (100..200).contains(&answer.status) {
                continue;
            }
            let has_body = method != "HEAD" && answer.status != 204 && answer.status != 304;
            answer.is_whole = !has_body || self.body(&mut answer).is_some();
            return Some(answer);
        }
    }

    /// Reads a head, an interim one included; `None` if the connection ends before it does.
    pub fn head(&mut self) -> Option<Answer> {
        let mut answer = Answer::default();
        let status_line = self.line()?;
        answer.status = status_line.split(' ').nth(1)?.parse().ok()?;
        answer.headers = self.header_lines()?;
        Some(answer)
    }

    /// Whether the server ends the connection; anything it still sends fails the test.
    #[track_caller]
    pub fn is_closed(&mut self) -> bool {
        assert!(self.buffer.is_empty(), "unread: {:?}", String::from_utf8_lossy(&self.buffer));
        let mut byte = [0];
        match uninterrupted(|| self.stream.read(&mut byte)) {
            Ok(0) => true,
            Ok(_) => panic!("more came: {byte:?}"),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// Reads what comes until the end; the flag tells a clean end from a reset.
    pub fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut rest = std::mem::take(&mut self.buffer);
        let is_clean = self.stream.read_to_end(&mut rest).is_ok();
        (rest, is_clean)
    }

    /// Reads at least one byte more of whatever comes; 0 at the end.
    pub fn read_some(&mut self) -> usize {
        if !self.buffer.is_empty() {
            return std::mem::take(&mut self.buffer).len();
        }
        let mut bytes = [0; 64 * 1024];
        uninterrupted(|| self.stream.read(&mut bytes)).unwrap_or(0)
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn body(&mut self, answer: &mut Answer) -> Option<()> {
        if answer.header("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            loop {
                let size = usize::from_str_radix(self.line()?.split(';').next()?, 16).ok()?;
                if size == 0 {
                    answer.trailers = self.header_lines()?;
                    return Some(());
                }
                let taken = self.take(size, &mut answer.body);
                taken?;
                self.line()?;
            }
        }
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().ok()?;
            return self.take(length, &mut answer.body);
        }
        let (rest, is_clean) = self.rest();
        answer.body = rest;
        is_clean.then_some(())
    }

    fn header_lines(&mut self) -> Option<Vec<(String, String)>> {
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(headers);
            }
            let (name, value) = line.split_once(':')?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Some(line);
            }
            self.fill()?;
        }
    }

    /// Moves `count` bytes to `out`, or as many as come.
    fn take(&mut self, mut count: usize, out: &mut Vec<u8>) -> Option<()> {
        loop {
            let ready = count.min(self.buffer.len());
            out.extend(self.buffer.drain(..ready));
            count -= ready;
            if count == 0 {
                return Some(());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Option<()> {
        let mut bytes = [0; 16 * 1024];
        match uninterrupted(|| self.stream.read(&mut bytes)) {
            Ok(count) if count > 0 => {
                self.buffer.extend_from_slice(&bytes[..count]);
                Some(())
            }
            other => {
                self.ended = Some(other.map(|_| ()));
                None
            }
        }
    }
}
