//! Users at a steady pace who forgive nothing: whoever gets no whole, right answer to a request counts it as failed.
//!
//! It needs the standard library alone, because `examples/upgrades.rs` uses it, too. Some users keep a connection and
//! speak on it often, some seldom, and some come anew for every request. Nobody sends anything twice: a kept connection
//! that ends without having said so costs its user a request.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A version of a service that answers with its own name.
pub fn service(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream, name));
        }
    });
    addr
}

fn answer(mut stream: TcpStream, name: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
    let mut buffer = Vec::new();
    loop {
        head(&mut stream, &mut buffer)?;
        stream.write_all(whole.as_bytes())?;
    }
}

/// Reads to the end of a head, which is taken out of the buffer.
fn head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            buffer.drain(..end + 4);
            return Ok(head);
        }
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => buffer.extend_from_slice(&bytes[..count]),
            // The end of a child of this process is a signal, and the kernel begins nothing anew that has a time limit.
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
}

/// What users got.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Whole answers, by the version that gave them.
    pub versions: BTreeMap<String, u64>,
    /// Requests without one.
    pub failed: u64,
    /// The same, by the phase they began in; where it is another when they end, by the later one of the two.
    pub failed_in: BTreeMap<usize, u64>,
    /// Why the first few of those failed.
    pub faults: Vec<String>,
    /// How long answers took, in µs, by the phase they began in.
    pub took_us: BTreeMap<usize, Vec<u32>>,
}

impl Tally {
    /// All requests.
    pub fn requests(&self) -> u64 {
        self.failed + self.versions.values().sum::<u64>()
    }
}

/// How many users of each kind there are, and how many requests they make together in a second.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// They keep a connection and speak often.
    pub keepers: usize,
    /// They keep a connection and speak about once a second.
    pub idlers: usize,
    /// They connect anew for each request.
    pub strangers: usize,
    /// How many requests they make together, in a second.
    pub requests_per_s: f64,
}

/// The users, until they are dropped.
pub struct Users {
    tally: Arc<Mutex<Tally>>,
    /// Which phase answers are put down to.
    pub phase: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Users {
    /// Sends them to a path.
    #[expect(clippy::disallowed_methods, reason = "users pace themselves in real time")]
    pub fn start(router: SocketAddr, path: &str, crowd: Crowd) -> Users {
        let (tally, stop) = (Arc::new(Mutex::new(Tally::default())), Arc::new(AtomicBool::new(false)));
        let phase = Arc::new(AtomicUsize::new(0));
        let pace = Duration::from_secs_f64((crowd.keepers + crowd.strangers) as f64 / crowd.requests_per_s);
        let count = crowd.keepers + crowd.idlers + crowd.strangers;
        let threads = (0..count).map(|index| {
            let keeps = index < crowd.keepers + crowd.idlers;
            let is_idle = keeps && index >= crowd.keepers;
            let pace = if is_idle { Duration::from_millis(700 + 53 * index as u64 % 600) } else { pace };
            let connection = if keeps { "keep-alive" } else { "close" };
            let request = format!("GET {path} HTTP/1.1\r\nhost: users\r\nconnection: {connection}\r\n\r\n");
            let (tally, stop, phase) = (Arc::clone(&tally), Arc::clone(&stop), Arc::clone(&phase));
            std::thread::spawn(move || {
                let mut next = Instant::now() + pace.mul_f64(index as f64 / count as f64);
                let mut kept = None;
                while !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(next.saturating_duration_since(Instant::now()).min(pace));
                    // A hiccup of the machine is not made up for in a burst.
                    next = (next + pace).max(Instant::now() - pace);
                    let (begun, began_in) = (Instant::now(), phase.load(Ordering::Relaxed));
                    let got = ask(&mut kept, router, &request, keeps);
                    let took_us = begun.elapsed().as_micros() as u32;
                    let mut tally = tally.lock().unwrap();
                    match got {
                        Ok(version) => {
                            *tally.versions.entry(version).or_default() += 1;
                            tally.took_us.entry(began_in).or_default().push(took_us);
                        }
                        Err(why) => {
                            tally.failed += 1;
                            let ended_in = phase.load(Ordering::Relaxed);
                            *tally.failed_in.entry(began_in.max(ended_in)).or_default() += 1;
                            if tally.faults.len() < 10 {
                                tally.faults.push(why);
                            }
                        }
                    }
                }
            })
        });
        let threads = threads.collect();
        Users { tally, phase, stop, threads }
    }

    /// What they got so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Sends them home, and says what they got in all.
    pub fn end(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        self.tally()
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One request; the name of the version that answered it.
fn ask(
    kept: &mut Option<TcpStream>,
    router: SocketAddr,
    request: &str,
    keeps: bool,
) -> Result<String, String> {
    let was_kept = kept.is_some();
    let told = |what: &str, why: io::Error| {
        format!("{what} on a {} connection: {why}", if was_kept { "kept" } else { "new" })
    };
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(router).map_err(|why| told("connecting", why))?;
            let patience = Some(Duration::from_secs(10));
            stream
                .set_read_timeout(patience)
                .and_then(|()| stream.set_nodelay(true))
                .map_err(|why| told("connecting", why))?;
            stream
        }
    };
    stream.write_all(request.as_bytes()).map_err(|why| told("sending", why))?;
    let mut buffer = Vec::new();
    let head = head(&mut stream, &mut buffer).map_err(|why| told("reading the head", why))?;
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length: usize = header("content-length:").and_then(|text| text.parse().ok()).ok_or(head.clone())?;
    let mut body = vec![0; length];
    let ready = length.min(buffer.len());
    body[..ready].copy_from_slice(&buffer[..ready]);
    stream.read_exact(&mut body[ready..]).map_err(|why| told("reading the body", why))?;
    let body = String::from_utf8_lossy(&body).into_owned();
    if !head.starts_with("http/1.1 200") {
        return Err(format!("{head}\n{body}"));
    }
    if header("x-amz-executed-version:") != Some(body.as_str()) {
        return Err(format!("version {body} answered, and the label is another: {head}"));
    }
    if keeps && header("connection:") != Some("close") {
        *kept = Some(stream);
    }
    Ok(body)
}
