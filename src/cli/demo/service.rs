//! The small HTTP service the demonstration is about: it answers, and fails as often as it is told.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::net::TcpListener;

use crate::chance;

/// How one version behaves.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Its number.
    pub version: &'static str,
    /// The share of requests it fails, 0 to 1.
    pub failures: f64,
    /// How long it takes to answer.
    pub latency: Duration,
    /// Which requests fail: the same ones for the same seed.
    pub seed: u64,
}

/// Serves a version on a free loopback port for as long as the runtime lives.
pub async fn serve(behaviour: Behaviour) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let lots = Arc::new(Mutex::new(chance::seeded(behaviour.seed)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let lots = Arc::clone(&lots);
            let service = service_fn(move |_: Request<Incoming>| answer(behaviour, Arc::clone(&lots)));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(None)
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    Ok(address)
}

async fn answer(
    behaviour: Behaviour,
    lots: Arc<Mutex<SmallRng>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let lot: f64 = lots.lock().unwrap_or_else(PoisonError::into_inner).random();
    tokio::time::sleep(behaviour.latency).await;
    let (status, word) = if lot < behaviour.failures {
        (StatusCode::INTERNAL_SERVER_ERROR, "failed")
    } else {
        (StatusCode::OK, "answered")
    };
    let text = format!("version {} {word}\n", behaviour.version);
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    Ok(response)
}
