//! The small HTTP service the demonstration is about: it answers, and fails as often as it is told.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rand::RngExt;
use tokio::net::TcpListener;

use crate::chance;

/// How one version behaves.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// What it calls itself.
    pub name: &'static str,
    /// The share of requests it fails, 0 to 1.
    pub failures: f64,
    /// How long it takes to answer.
    pub latency: Duration,
}

/// Serves a version on a free loopback port for as long as the runtime lives.
pub async fn serve(behaviour: Behaviour) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let service = service_fn(move |request| answer(behaviour, request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(None)
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    Ok(address)
}

async fn answer(behaviour: Behaviour, _: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    tokio::time::sleep(behaviour.latency).await;
    let fails = chance::ticket_source().random::<f64>() < behaviour.failures;
    let (status, text) = if fails {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{} failed\n", behaviour.name))
    } else {
        (StatusCode::OK, format!("hello from {}\n", behaviour.name))
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    Ok(response)
}
