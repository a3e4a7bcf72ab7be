//! A service that fails as often as it is told, and users that call it at a steady pace.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rand::RngExt;
use serin::chance;

use super::client::Client;

/// A version of a service that fails a share of its requests.
pub struct Service {
    addr: SocketAddr,
    failures_ppm: Arc<AtomicU32>,
    _runtime: tokio::runtime::Runtime,
}

/// What it does with a request that does not fail.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// A gRPC status in the head, of an answer without a body.
    pub grpc_status: Option<&'static str>,
    /// After how long; `None` is never.
    pub after: Option<Duration>,
}

impl Answer {
    /// Well, and at once.
    pub const GOOD: Answer = Answer { status: 200, grpc_status: None, after: Some(Duration::ZERO) };

    fn response(self, fails: bool) -> Response<Full<Bytes>> {
        let mut response = Response::builder().status(if fails { 500 } else { self.status });
        let mut body = Bytes::from_static(b"{}");
        if let Some(status) = self.grpc_status {
            response = response.header("content-type", "application/grpc").header("grpc-status", status);
            body = Bytes::new();
        }
        response.body(Full::new(body)).unwrap()
    }
}

impl Service {
    /// Starts one; same seed, same failures.
    pub fn start(failures: f64, seed: u64) -> Service {
        Service::serve(failures, seed, |_| Answer::GOOD)
    }

    /// Starts one that answers its requests, the first of which is number 0, in its own way.
    pub fn answering(answer: impl Fn(u64) -> Answer + Send + Sync + 'static) -> Service {
        Service::serve(0.0, 1, answer)
    }

    fn serve(failures: f64, seed: u64, answer: impl Fn(u64) -> Answer + Send + Sync + 'static) -> Service {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let failures_ppm = Arc::new(AtomicU32::new((failures * 1e6) as u32));
        let told = Arc::clone(&failures_ppm);
        let luck = Arc::new(Mutex::new(chance::seeded(seed)));
        let (asked, answer) = (Arc::new(AtomicU64::new(0)), Arc::new(answer));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (told, luck) = (Arc::clone(&told), Arc::clone(&luck));
                let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
                let answer = service_fn(move |_| {
                    let share = f64::from(told.load(Ordering::Relaxed)) / 1e6;
                    let fails = luck.lock().unwrap().random::<f64>() < share;
                    let answer = answer(asked.fetch_add(1, Ordering::Relaxed));
                    async move {
                        match answer.after {
                            None => std::future::pending().await,
                            Some(Duration::ZERO) => {}
                            Some(after) => tokio::time::sleep(after).await,
                        }
                        Ok::<_, std::convert::Infallible>(answer.response(fails))
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Service { addr, failures_ppm, _runtime: runtime }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Changes how often it fails.
    pub fn set_failures(&self, failures: f64) {
        self.failures_ppm.store((failures * 1e6) as u32, Ordering::Relaxed);
    }
}

/// What users saw of one version: answers, and failed ones.
pub type Seen = BTreeMap<String, (u64, u64)>;

/// A steady load on one path, on a thread of its own, until it is dropped.
pub struct Load {
    stopping: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Sends requests one after another at a pace.
    pub fn start(router: SocketAddr, path: &str, requests_per_s: f64) -> Load {
        Load::by(router, path, requests_per_s, "")
    }

    /// The same by somebody who says who they are, in header lines that each end in CR LF.
    pub fn by(router: SocketAddr, path: &str, requests_per_s: f64, headers: &str) -> Load {
        Load::waiting(Duration::from_secs(10), router, path, requests_per_s, headers)
    }

    /// The same by somebody who waits no longer than that for any part of an answer, and then goes away.
    #[expect(clippy::disallowed_methods, reason = "tests pace themselves in real time")]
    pub fn waiting(
        patience: Duration,
        router: SocketAddr,
        path: &str,
        requests_per_s: f64,
        headers: &str,
    ) -> Load {
        let (stopping, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::new())));
        let (stop, count, path) = (Arc::clone(&stopping), Arc::clone(&seen), path.to_owned());
        let headers = headers.to_owned();
        let thread = std::thread::spawn(move || {
            let pace = Duration::from_secs_f64(1.0 / requests_per_s);
            let mut next = Instant::now();
            let mut client: Option<Client> = None;
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
                // A hiccup of the machine is not made up for in a burst.
                next = (next + pace).max(Instant::now() - pace);
                let answer = send(&mut client, router, patience, &path, &headers);
                let (version, failed) = answer.unwrap_or_default();
                let mut seen = count.lock().unwrap();
                let entry = seen.entry(version).or_default();
                entry.0 += 1;
                entry.1 += u64::from(failed);
            }
        });
        Load { stopping, seen, thread: Some(thread) }
    }

    /// What users saw so far, by executed version; the empty version stands for no answer.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// What users saw of a version: answers, and failed ones.
    pub fn of(&self, version: &str) -> (u64, u64) {
        self.seen().get(version).copied().unwrap_or_default()
    }
}

/// One request; `None` without an answer, and then the next one begins on a new connection.
fn send(
    client: &mut Option<Client>,
    router: SocketAddr,
    patience: Duration,
    path: &str,
    headers: &str,
) -> Option<(String, bool)> {
    if client.is_none() {
        if std::net::TcpStream::connect(router).is_err() {
            return None;
        }
        let connected = Client::connect(router);
        connected.stream().set_read_timeout(Some(patience)).unwrap();
        *client = Some(connected);
    }
    let connection = client.as_mut()?;
    let sent = connection.try_send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n{headers}\r\n"));
    let answer = if sent.is_ok() { connection.try_answer_to("GET") } else { None };
    match answer {
        Some(answer) => Some((answer.version().unwrap_or_default().to_owned(), answer.status >= 500)),
        None => {
            *client = None;
            None
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
