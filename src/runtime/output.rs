//! What a process says, line by line: into the log, and the end of it into the tail of the invocation under way.

use std::collections::VecDeque;
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::net::unix::pipe::Receiver;

use crate::clock;
use serin_core::lambda::log::{LogLine, LogSink};
use serin_core::model::arn::{FunctionName, VersionId};

/// How much of an invocation's log its caller may see.
const TAIL_BYTES: usize = 4096;
/// The longest line; the rest is the next line. CloudWatch's longest event.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// The outputs of one process.
pub(super) struct Output {
    pipe: Option<Receiver>,
    partial: Vec<u8>,
    tail: VecDeque<u8>,
    function: FunctionName,
    version: VersionId,
    stream: Arc<str>,
    sink: Option<LogSink>,
}

impl Output {
    /// Reads from a process that runs a version, once there is one; its lines go to `stream`.
    pub(super) fn new(
        pipe: Option<PipeReader>,
        (function, version): (FunctionName, VersionId),
        stream: Arc<str>,
        sink: Option<LogSink>,
    ) -> io::Result<Output> {
        let pipe = pipe.map(|pipe| Receiver::from_owned_fd(OwnedFd::from(pipe))).transpose()?;
        Ok(Output { pipe, partial: Vec::new(), tail: VecDeque::new(), function, version, stream, sink })
    }

    /// Takes what the process says, as long as it is polled; never ends.
    pub(super) async fn pump(&mut self) {
        loop {
            let Some(pipe) = &self.pipe else { return std::future::pending().await };
            if pipe.readable().await.is_err() {
                self.pipe = None;
            }
            self.take();
            // Whoever talks without a pause must not keep the thread from everybody else.
            tokio::task::yield_now().await;
        }
    }

    /// The same until nobody can say anything any more.
    pub(super) async fn pump_to_end(&mut self) {
        while let Some(pipe) = &self.pipe {
            if pipe.readable().await.is_err() {
                self.pipe = None;
            }
            self.take();
            tokio::task::yield_now().await;
        }
    }

    /// Takes what the process has said by now, and not what it says meanwhile.
    pub(super) fn take(&mut self) {
        let mut bytes = [0; 16 * 1024];
        let mut left = self.said_bytes();
        while let Some(pipe) = &self.pipe {
            match pipe.try_read(&mut bytes) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    self.heard(&bytes[..count]);
                    left = left.saturating_sub(count);
                    if left == 0 && self.said_bytes() > 0 {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
        self.end_line();
    }

    /// How much is in the pipe.
    fn said_bytes(&self) -> usize {
        let bytes = self.pipe.as_ref().and_then(|pipe| rustix::io::ioctl_fionread(pipe).ok());
        bytes.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Says something on Lambda's own behalf, after what the process said.
    pub(super) fn say(&mut self, text: &str) {
        self.end_line();
        self.keep(text.as_bytes());
        self.log(text.to_owned());
    }

    /// Begins the tail of another invocation.
    pub(super) fn begin_tail(&mut self) {
        self.end_line();
        self.tail.clear();
    }

    /// The end of what was logged since then.
    ///
    /// Python's client ends the lines of a traceback with `\r`, where on Lambda they end as lines do.
    pub(super) fn tail(&self) -> Vec<u8> {
        let mut tail: Vec<u8> = self.tail.iter().copied().collect();
        for line in tail.split_mut(|byte| *byte == b'\n').filter(|line| line.starts_with(b"[ERROR]")) {
            line.iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
        }
        tail
    }

    /// Says something on Lambda's own behalf that is of no invocation.
    pub(super) fn say_apart(&mut self, text: String) {
        self.end_line();
        self.log(text);
    }

    fn heard(&mut self, mut bytes: &[u8]) {
        self.keep(bytes);
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(&bytes[..=end]);
            bytes = &bytes[end + 1..];
            self.log_partial();
        }
        self.partial.extend_from_slice(bytes);
        if self.partial.len() >= LINE_BYTES_MAX {
            self.log_partial();
        }
    }

    /// Ends a line that the process did not.
    fn end_line(&mut self) {
        if !self.partial.is_empty() {
            self.partial.push(b'\n');
            self.keep(b"\n");
            self.log_partial();
        }
    }

    fn log_partial(&mut self) {
        let text = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        self.log(text);
    }

    fn log(&self, text: String) {
        if let Some(sink) = &self.sink {
            let (function, stream) = (self.function.clone(), Arc::clone(&self.stream));
            sink(LogLine { function, version: self.version, stream, at: clock::wall_now(), text });
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let superfluous = (self.tail.len() + bytes.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..superfluous);
        self.tail.extend(bytes);
    }
}
