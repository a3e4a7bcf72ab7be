//! What the daemon says on stderr, on its way there: a queue that nobody waits for, and the one thread that writes.
//!
//! Stderr may be a pipe that nobody reads, a terminal that is stopped, a file on a full disk or a socket whose other end
//! is gone. Whatever it is, whoever has something to say hands it over and goes on; what finds no room, or cannot be
//! written, is lost and counted, and that is said once something can be written again.
//!
//! `tracing-appender` has such a writer, too. It bounds lines and not bytes, tells nobody of its losses, and prints where
//! its queue is full at the end, which panics without a stdout; so this is our own.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// What waits to be written takes no more room than this.
const QUEUE_BYTES_MAX: usize = 1 << 20;
/// Losses are told when no more than this waits, so that the line that tells of them has room.
const TELL_BYTES_MAX: usize = QUEUE_BYTES_MAX / 2;
/// No line is longer; what is longer is cut.
const LINE_BYTES_MAX: usize = 32 << 10;
/// What a line takes beside its bytes.
const LINE_COST_BYTES: usize = 64;
/// A stderr that takes nothing, and says so instead of waiting, is asked again after this.
const ASK_AGAIN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

static OF_PROCESS: OnceLock<LogQueue> = OnceLock::new();

/// Has everything on stderr go through a queue from now on; `tell_lost` says how many lines were lost, in a line.
pub fn begin(tell_lost: fn(u64)) -> io::Result<&'static LogQueue> {
    if let Some(begun) = OF_PROCESS.get() {
        return Ok(begun);
    }
    let queue = LogQueue::start(rustix::stdio::stderr(), tell_lost)?;
    Ok(OF_PROCESS.get_or_init(|| queue))
}

/// The queue to stderr; `None` in a process that writes there itself.
pub fn of_process() -> Option<&'static LogQueue> {
    OF_PROCESS.get()
}

/// Lines on their way to a file.
#[derive(Clone, Debug)]
pub struct LogQueue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Something has come.
    came: Condvar,
    /// Nothing waits any more.
    went: Condvar,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    is_writing: bool,
}

impl LogQueue {
    fn start(to: BorrowedFd<'static>, tell_lost: fn(u64)) -> io::Result<LogQueue> {
        let shared = Arc::<Shared>::default();
        let desk = Desk { to, shared: Arc::clone(&shared), is_torn: false, told: 0, tell_lost };
        std::thread::Builder::new().name("log".to_owned()).spawn(move || desk.run())?;
        Ok(LogQueue { shared })
    }

    /// Hands over what is to be written, without waiting; what finds no room is lost.
    pub fn push(&self, line: &[u8]) {
        let line = cut(line);
        let mut waiting = self.shared.waiting();
        let bytes = waiting.bytes + line.len() + LINE_COST_BYTES;
        if bytes > QUEUE_BYTES_MAX {
            drop(waiting);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes = bytes;
        waiting.lines.push_back(line);
        drop(waiting);
        self.shared.came.notify_one();
    }

    /// How many lines were lost since the process began.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, but no longer than this.
    pub fn flush(&self, patience: Duration) {
        let is_busy = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        let waited = self.shared.went.wait_timeout_while(self.shared.waiting(), patience, is_busy);
        drop(waited);
    }
}

/// Writes each line whole into the queue, and never fails.
impl io::Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cut(line: &[u8]) -> Vec<u8> {
    if line.len() <= LINE_BYTES_MAX {
        return line.to_vec();
    }
    let mut short = line[..LINE_BYTES_MAX].to_vec();
    short.extend_from_slice(format!(" … and {} bytes more\n", line.len() - LINE_BYTES_MAX).as_bytes());
    short
}

/// The thread that writes, and alone waits.
struct Desk {
    to: BorrowedFd<'static>,
    shared: Arc<Shared>,
    /// Whether the last line was begun and not ended.
    is_torn: bool,
    told: u64,
    tell_lost: fn(u64),
}

impl Desk {
    fn run(mut self) {
        ignore_signals();
        loop {
            let line = self.take();
            let is_written = self.write(&line).is_ok();
            if !is_written {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
            }
            let mut waiting = self.shared.waiting();
            waiting.bytes -= line.len() + LINE_COST_BYTES;
            waiting.is_writing = false;
            let has_room = waiting.bytes <= TELL_BYTES_MAX;
            let is_idle = waiting.lines.is_empty();
            drop(waiting);
            let lost = self.shared.lost.load(Ordering::Relaxed);
            if is_written && has_room && lost > self.told {
                let untold = lost - self.told;
                self.told = lost;
                (self.tell_lost)(untold);
            } else if is_idle {
                self.shared.went.notify_all();
            }
        }
    }

    fn take(&self) -> Vec<u8> {
        let mut waiting = self.shared.waiting();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.is_writing = true;
                return line;
            }
            waiting = self.shared.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes a line, on a line of its own also where the one before was cut off.
    fn write(&mut self, line: &[u8]) -> Result<(), Errno> {
        if self.is_torn {
            self.write_all(b"\n")?;
        }
        self.write_all(line)
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            match rustix::io::write(self.to, bytes) {
                Ok(0) => return Err(Errno::NOSPC),
                Ok(written) => {
                    self.is_torn = bytes[written - 1] != b'\n';
                    bytes = &bytes[written..];
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    // Whoever shares it has made it so that writing does not wait. Here it may.
                    let mut to = [PollFd::new(&self.to, PollFlags::OUT)];
                    let _ = poll(&mut to, Some(&ASK_AGAIN));
                }
                Err(why) => return Err(why),
            }
        }
        Ok(())
    }
}

/// Keeps signals off this thread that writing can bring, and that would stop or end the process: SIGTTOU, from a
/// terminal that background jobs may not write to, and SIGXFSZ, from a file that has grown to its limit. Where they are
/// blocked, the terminal is written to, and writing to the file fails.
fn ignore_signals() {
    // SAFETY: the set is initialized by sigemptyset before it is read, and the mask is this thread's alone.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGTTOU);
        libc::sigaddset(&mut set, libc::SIGXFSZ);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    static TOLD: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn what_nobody_reads_is_lost_and_counted_and_told_once_somebody_does() {
        let (mut reader, writer) = io::pipe().unwrap();
        let writer: &'static io::PipeWriter = Box::leak(Box::new(writer));
        let tell = |lost| _ = TOLD.fetch_add(lost, Ordering::SeqCst);
        let queue = LogQueue::start(writer.as_fd(), tell).unwrap();
        let line = [vec![b'x'; 1000], vec![b'\n']].concat();
        for _ in 0..3000 {
            queue.push(&line);
        }
        let lost = queue.lost();
        let kept = 3000 - lost;
        assert!((900..1200).contains(&kept), "a MiB waits, and what the pipe has taken: {kept}");
        assert_eq!(TOLD.load(Ordering::SeqCst), 0);
        let mut bytes = vec![0; usize::try_from(kept).unwrap() * line.len()];
        reader.read_exact(&mut bytes).unwrap();
        assert!(bytes.chunks(line.len()).all(|read| read == line), "no line is torn");
        while TOLD.load(Ordering::SeqCst) < lost {
            std::thread::yield_now();
        }
        assert_eq!(TOLD.load(Ordering::SeqCst), lost);
    }

    #[test]
    fn a_long_line_is_cut() {
        let short = cut(&vec![b'x'; LINE_BYTES_MAX + 10]);
        assert!(short.ends_with(" … and 10 bytes more\n".as_bytes()) && short.len() < LINE_BYTES_MAX + 40);
    }
}
