//! What a process that takes over was given, as it sees it.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use super::message::{Asked, Greeting, TABLE_FORMAT, ToPredecessor, ToSuccessor};
use super::successor::Sockets;
use super::wire;
use crate::config::Secrets;
use crate::metrics::recorder::Late;
use crate::router::table::Edit;

/// A predecessor that does not send what it announced is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that was handed over at first.
pub struct Inheritance {
    /// The sockets on which connections may wait already.
    pub sockets: Sockets,
    /// The edits that build the table; `None` where they are in a format that this binary does not know.
    pub table: Option<Vec<Edit>>,
    /// What requests come to after the evidence was stored; it ends when the process before does.
    pub late: mpsc::Receiver<Vec<Late>>,
    /// The version of the process before.
    pub from: String,
    /// Its process id.
    pub pid: u32,
    /// Who wanted the upgrade; `None` when the process before lost its successor and starts another.
    pub asked: Option<Asked>,
    /// The secrets that it had taken out of its environment.
    pub secrets: Secrets,
    /// By what it asked who asks.
    pub asks_for: Vec<String>,
    /// The way to go on talking.
    pub line: Line,
}

/// The line to the process that hands over.
pub struct Line {
    stream: UnixStream,
    heard: mpsc::Receiver<ToSuccessor>,
}

impl Inheritance {
    /// Takes what comes over standard input, which is nobody's afterwards.
    pub fn take() -> io::Result<Inheritance> {
        let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        // Fails where it is no socket.
        stream.local_addr()?;
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let greeting: Greeting = wire::receive(&stream)?;
        let mut descriptors = wire::receive_descriptors(&stream, greeting.routers + 1)?;
        let api = descriptors.pop().map(TcpListener::from);
        let api = api.ok_or_else(|| io::Error::other("the API's socket did not come"))?;
        let routers = descriptors.into_iter().map(TcpListener::from).collect();
        // A process that ended before it could send its table has left its sockets all the same.
        let first = wire::receive_bytes(&stream).unwrap_or_default();
        let table = match serde_json::from_slice(&first) {
            Ok(ToSuccessor::Table { edits }) if greeting.table_format == TABLE_FORMAT => Some(edits),
            _ => None,
        };
        stream.set_read_timeout(None)?;
        let (line, late) = Line::over(stream)?;
        let Greeting { serin: from, pid, asked, secrets, asks_for, .. } = greeting;
        let sockets = Sockets { routers, api };
        Ok(Inheritance { sockets, table, late, from, pid, asked, secrets, asks_for, line })
    }
}

impl Line {
    fn over(stream: UnixStream) -> io::Result<(Line, mpsc::Receiver<Vec<Late>>)> {
        let (comes_late, late) = mpsc::channel();
        let (hears, heard) = mpsc::channel();
        let reading = stream.try_clone()?;
        std::thread::Builder::new().name("handover".to_owned()).spawn(move || {
            while let Ok(bytes) = wire::receive_bytes(&reading) {
                // What another format says of its table is nothing to a process that has not taken it.
                let Ok(message) = serde_json::from_slice(&bytes) else { continue };
                // Whoever does not listen to the one may listen to the other.
                let _ = match message {
                    ToSuccessor::Late { counts } => comes_late.send(counts).is_ok(),
                    message => hears.send(message).is_ok(),
                };
            }
        })?;
        Ok((Line { stream, heard }, late))
    }

    /// Says something; a predecessor that is gone hears nothing.
    pub fn say(&self, message: &ToPredecessor) {
        let _ = wire::send(&self.stream, message);
    }

    /// Waits for a word; `None` when none comes in time, and an error when the other process is gone.
    pub fn hear(&self, patience: Duration) -> Result<Option<ToSuccessor>, Gone> {
        match self.heard.recv_timeout(patience) {
            Ok(message) => Ok(Some(message)),
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }
}

/// The process that hands over has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;
