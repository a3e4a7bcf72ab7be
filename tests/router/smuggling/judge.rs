//! Sends bytes to a router before a strict version, and judges whether the two, and the client, have read the same.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serin::router::settings::Timeouts;

use super::strict::{Fault, Request, Seen, StrictVersion, read_request};
use crate::support::router::{TestRouter, patient};

/// What a good client says last on every connection, so that it ends.
pub const END: &str = "GET /shop:live/end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
/// How many connections there are at a time, each with a router and a version of its own.
const LANES: usize = 8;
/// How many disagreements are told.
const SHOWN_MAX: usize = 20;

/// What may come of a case. `/case` is what it asks for, `/smuggled` what it hides, and `/end` follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The version hears of nothing, and the connection ends with at most one answer.
    Refused,
    /// The version hears of the case, and the connection goes on.
    One,
    /// The version hears of the case, and the connection ends there.
    OneThenClosed,
    /// There were two requests, by every reading, and the connection goes on.
    Two,
    /// There were two requests, by every reading, and the connection ends with the second.
    TwoThenClosed,
    /// The router's own answer, after which there is no doubt where the next request begins.
    Declined,
    /// Anything on which all agree, but for what is hidden: that is never served.
    Agreed,
    /// Anything on which all agree, where nobody knows what was meant.
    Anything,
}

impl Outcome {
    fn fits(self, targets: &[&str]) -> bool {
        match self {
            Outcome::Refused => targets.is_empty(),
            Outcome::One => targets == ["/case", "/end"],
            Outcome::OneThenClosed => targets == ["/case"],
            Outcome::Two => targets == ["/case", "/smuggled", "/end"],
            Outcome::TwoThenClosed => targets == ["/case", "/smuggled"],
            Outcome::Declined => targets == ["/end"],
            Outcome::Agreed => !targets.iter().any(|target| target.contains("smuggled")),
            Outcome::Anything => true,
        }
    }
}

/// Bytes of a client, and what may come of them.
#[derive(Clone)]
pub struct Case {
    /// What is odd about it.
    pub name: String,
    /// What is sent, but for what follows every case.
    pub bytes: Vec<u8>,
    /// Any of these.
    pub allowed: Vec<Outcome>,
}

/// An answer as the client sees it.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// What the version said it was asked for; `None` for an answer of the router's.
    target: Option<String>,
}

/// All that came back over one connection.
#[derive(Debug, Default)]
struct Heard {
    answers: Vec<Answer>,
    /// What could not be read as answers.
    nonsense: Option<String>,
    /// Whether the router ended the connection.
    has_ended: bool,
}

/// A router before a strict version.
pub struct Lane {
    version: StrictVersion,
    router: TestRouter,
}

impl Lane {
    /// Starts both; whoever keeps the router waiting is closed within `patience`.
    pub fn start(patience: Duration) -> Lane {
        let version = StrictVersion::start();
        let timeouts = Timeouts { client_header: patience, body_idle: patience, ..patient() };
        let router = TestRouter::serving(version.target(), timeouts);
        Lane { version, router }
    }

    /// Sends bytes and what follows every case over one connection, and says who disagrees, if anybody does.
    pub fn disagreement(&self, bytes: &[u8], allowed: &[Outcome]) -> Option<String> {
        let whole = [bytes, END.as_bytes()].concat();
        let heard = self.ask(&whole);
        let seen = self.version.take();
        let fault = disagreement(&whole, allowed, &heard, &seen)?;
        Some(format!("{fault}\n  sent {}\n  heard {heard:?}\n  seen {:?}", Shown(bytes), targets(&seen)))
    }

    fn ask(&self, bytes: &[u8]) -> Heard {
        let mut stream = TcpStream::connect(self.router.addr()).expect("the router accepts");
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // A router that has refused may not take the rest.
        let _ = stream.write_all(bytes);
        let mut received = Vec::new();
        let ended = stream.read_to_end(&mut received);
        let mut heard = answers(&received);
        heard.has_ended = ended.map_or_else(|error| error.kind() == io::ErrorKind::ConnectionReset, |_| true);
        heard
    }
}

fn targets(seen: &Seen) -> Vec<&str> {
    seen.requests.iter().map(|request| request.target.as_str()).collect()
}

fn disagreement(whole: &[u8], allowed: &[Outcome], heard: &Heard, seen: &Seen) -> Option<String> {
    let of_version: Vec<&str> = heard.answers.iter().filter_map(|answer| answer.target.as_deref()).collect();
    let targets = targets(seen);
    if let Some(why) = seen.refused.first() {
        return Some(format!("the version refuses: {why}"));
    }
    if let Some(nonsense) = &heard.nonsense {
        return Some(format!("the client cannot read {nonsense}"));
    }
    if of_version != targets {
        return Some(format!("the version saw {targets:?}, and {of_version:?} were answered"));
    }
    if !heard.has_ended {
        return Some("the connection does not end".to_owned());
    }
    if !allowed.iter().any(|outcome| outcome.fits(&targets)) {
        return Some(format!("allowed is {allowed:?}"));
    }
    if allowed == [Outcome::Refused] && heard.answers.len() > 1 {
        return Some("the connection goes on after what was refused".to_owned());
    }
    let own = heard.answers.iter().filter(|answer| answer.target.is_none());
    if let Some(answer) = own.clone().find(|answer| !(400..600).contains(&answer.status)) {
        return Some(format!("{} is no refusal", answer.status));
    }
    read_alike(whole, targets.len(), own.count(), seen)
}

/// Where a strict reader takes all of the client's bytes, what was served is what it reads: method, target and body.
fn read_alike(mut whole: &[u8], served: usize, own: usize, seen: &Seen) -> Option<String> {
    let mut read = Vec::new();
    loop {
        match read_request(&mut whole) {
            Ok(Some(request)) => read.push(request),
            Ok(None) => break,
            Err(Fault::BrokenOff | Fault::Refused(_)) => return None,
        }
    }
    // A refusal may stand for one of them, or for it and all that follow.
    if own > 0 || served != read.len() {
        return None;
    }
    // An Invoke is another request to its version.
    let behind = |target: &str| {
        let rest = target.strip_prefix("/shop:live")?;
        Some(if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") })
    };
    let is_alike = |read: &Request, seen: &Request| {
        behind(&read.target).is_none_or(|target| {
            (&read.method, &target, &read.body) == (&seen.method, &seen.target, &seen.body)
        })
    };
    let pair = read.iter().zip(&seen.requests).find(|(read, seen)| !is_alike(read, seen));
    pair.map(|(read, seen)| format!("{read:?} became {seen:?}"))
}

/// Reads answers, of which a version's have no body and the router's a JSON one, if any.
fn answers(mut bytes: &[u8]) -> Heard {
    let mut heard = Heard::default();
    while !bytes.is_empty() {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            heard.nonsense = Some(Shown(bytes).to_string());
            break;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| head.strip_prefix("HTTP/1.0 "))
            .and_then(|rest| rest.get(..3)?.parse().ok());
        let Some(status) = status else {
            heard.nonsense = Some(Shown(bytes).to_string());
            break;
        };
        bytes = &bytes[end + 4..];
        if (100..200).contains(&status) {
            continue;
        }
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        let header = |wanted: &str| {
            let mut named = lines.clone().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            named.next().map(|(_, value)| value.trim())
        };
        // The answer to a HEAD says how long its body would be.
        let has_body = !bytes.is_empty() && !bytes.starts_with(b"HTTP/1.");
        let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if has_body {
            match bytes.get(length..) {
                Some(rest) => bytes = rest,
                None => heard.nonsense = Some(format!("half a body, {}", Shown(bytes))),
            }
        }
        // An answer to an Invoke has its version's body and nothing else of it.
        let is_invoked = header("x-amz-executed-version").is_some() && header("x-serin-error").is_none();
        let target = header("x-target").or(is_invoked.then_some("/")).map(str::to_owned);
        heard.answers.push(Answer { status, target });
        if heard.nonsense.is_some() {
            break;
        }
    }
    heard
}

/// Runs cases over several connections at a time; tells what disagrees, a few at most.
pub fn judge(cases: &[Case], patience: Duration) -> Vec<String> {
    judge_each(cases.len(), patience, |lane, index| {
        let case = &cases[index];
        lane.disagreement(&case.bytes, &case.allowed).map(|fault| format!("{}: {fault}", case.name))
    })
}

/// The same, with cases that are made one by one.
pub fn judge_each(
    count: usize,
    patience: Duration,
    run: impl Fn(&Lane, usize) -> Option<String> + Sync,
) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let lane = || {
        let (lane, mut faults) = (Lane::start(patience), Vec::new());
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count || faults.len() >= SHOWN_MAX {
                // Whatever the last one left behind would be read into this.
                faults.extend(lane.disagreement(b"", &[Outcome::Declined]));
                return faults;
            }
            faults.extend(run(&lane, index));
            // Good requests are served on, whatever came before.
            if index % 64 == 63 {
                faults.extend(lane.disagreement(b"", &[Outcome::Declined]));
            }
        }
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    })
}

/// Fails the test with what disagrees.
#[track_caller]
pub fn assert_agreed(what: &str, faults: &[String]) {
    println!("{what}, {} disagreements", faults.len());
    let shown: Vec<&str> = faults.iter().take(SHOWN_MAX).map(String::as_str).collect();
    assert!(faults.is_empty(), "{} disagreements\n{}", faults.len(), shown.join("\n"));
}

/// Bytes as a person can read them, the beginning at least.
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0[..self.0.len().min(700)].escape_ascii())
    }
}
