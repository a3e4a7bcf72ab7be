//! The bodies of requests to the control listener, read whole and within budgets before anybody works with them.
//!
//! What is small stays in memory. What is not goes to disk as it comes, into a file that has no name and so is gone with
//! its last reader, and into memory only when all of it is here and it is its turn: however many uploads are begun, and
//! left standing, they take no memory. Its digest is taken on the way, for signatures.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::clients::Refused;
use super::error::{ApiError, Face};
use super::lambda::error::LambdaError;
use super::{Api, bytes_max};

/// Up to here a body stays in memory: there are as many at once as there are connections.
const SMALL_BYTES_MAX: usize = 64 * 1024;
/// What is written to disk at a time.
const PIECE_BYTES: usize = 256 * 1024;
/// What all files together may take.
const DISK_BYTES_MAX: usize = 1 << 30;
/// What the large bodies that are worked on may take of memory, those of invocations and all others.
const INVOKES_BYTES_MAX: usize = 64 << 20;
const OTHERS_BYTES_MAX: usize = 80 << 20;
/// How long a body that is here waits for its turn.
const TURN_MAX: Duration = Duration::from_secs(10);
/// Budgets are counted in this.
const KIB: usize = 1024;

/// What bodies may take.
pub struct Bodies {
    dir: PathBuf,
    files: Arc<Semaphore>,
    disk: Arc<Semaphore>,
    invokes: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

/// A body, all of it.
#[derive(Clone)]
pub struct Received {
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
    content: Content,
}

#[derive(Clone)]
enum Content {
    Memory(Bytes),
    Disk(Arc<Spool>),
}

struct Spool {
    file: File,
    bytes: usize,
    _permits: (OwnedSemaphorePermit, Vec<OwnedSemaphorePermit>),
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum NotReceived {
    /// It is longer than it may be.
    #[error("the body is longer than {0} bytes")]
    TooLarge(usize),
    /// It broke off, or took too long.
    #[error("the body could not be read: {0}")]
    Broken(axum::Error),
    /// As much as may be is under way.
    #[error("serin has as many uploads under way as it may have; try again later")]
    NoRoom,
    /// The disk does not take it.
    #[error("the body could not be set aside on disk: {0}")]
    Disk(io::Error),
}

impl NotReceived {
    /// As it is answered.
    pub fn response(self, api: &Api, path: &str) -> Response {
        let (text, face) = (self.to_string(), Face::of(path));
        match self {
            NotReceived::TooLarge(_) if face == Face::Lambda => {
                LambdaError::too_large(super::code_operation(path)).into_response()
            }
            NotReceived::TooLarge(_) | NotReceived::Broken(_) => {
                ApiError::invalid(text).on(face).into_response()
            }
            NotReceived::NoRoom | NotReceived::Disk(_) => {
                api.clients.refuse(Refused::Body);
                ApiError::unavailable(text).on(face).into_response()
            }
        }
    }
}

impl Bodies {
    /// Sets large bodies aside in `dir`, so many at once.
    pub fn new(dir: PathBuf, files_max: usize) -> Bodies {
        let of = |bytes: usize| Arc::new(Semaphore::new(bytes / KIB));
        Bodies {
            dir,
            files: Arc::new(Semaphore::new(files_max.max(1))),
            disk: of(DISK_BYTES_MAX),
            invokes: of(INVOKES_BYTES_MAX),
            others: of(OTHERS_BYTES_MAX),
        }
    }

    /// Reads a body to its end, which it must have within so many bytes.
    pub async fn receive(&self, mut body: Body, bytes_max: usize) -> Result<Received, NotReceived> {
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(NotReceived::TooLarge(bytes_max));
        }
        let (mut piece, mut sum, mut spooling) = (BytesMut::new(), 0, None);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(NotReceived::Broken)?.into_data() else { continue };
            sum += data.len();
            if sum > bytes_max {
                return Err(NotReceived::TooLarge(bytes_max));
            }
            piece.extend_from_slice(&data);
            if sum > SMALL_BYTES_MAX && spooling.is_none() {
                spooling = Some(self.spooling().await?);
            }
            if piece.len() >= PIECE_BYTES
                && let Some(begun) = spooling.take()
            {
                spooling = Some(self.write(begun, piece.split().freeze()).await?);
            }
        }
        let Some(begun) = spooling else {
            let bytes = piece.freeze();
            return Ok(Received { sha256: Sha256::digest(&bytes).into(), content: Content::Memory(bytes) });
        };
        let Spooling { file, hash, permits, .. } = self.write(begun, piece.freeze()).await?;
        let spool = Spool { file, bytes: sum, _permits: permits };
        Ok(Received { sha256: hash.finalize().into(), content: Content::Disk(Arc::new(spool)) })
    }

    async fn spooling(&self) -> Result<Spooling, NotReceived> {
        let permit = Arc::clone(&self.files).try_acquire_owned().map_err(|_| NotReceived::NoRoom)?;
        let dir = self.dir.clone();
        let file = blocking(move || tempfile::tempfile_in(dir)).await?;
        Ok(Spooling { file, hash: Sha256::new(), permits: (permit, Vec::new()) })
    }

    async fn write(&self, mut begun: Spooling, piece: Bytes) -> Result<Spooling, NotReceived> {
        let kib = u32::try_from(piece.len().div_ceil(KIB)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.disk).try_acquire_many_owned(kib).map_err(|_| NotReceived::NoRoom)?;
        begun.permits.1.push(room);
        blocking(move || {
            begun.hash.update(&piece);
            begun.file.write_all(&piece)?;
            Ok(begun)
        })
        .await
    }

    /// Brings a body into memory when it is its turn; its room is kept for as long as the second part lives.
    async fn load(
        &self,
        received: Received,
        is_invoke: bool,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), NotReceived> {
        let spool = match received.content {
            Content::Memory(bytes) => return Ok((bytes, None)),
            Content::Disk(spool) => spool,
        };
        let (budget, max) = match is_invoke {
            true => (&self.invokes, INVOKES_BYTES_MAX),
            false => (&self.others, OTHERS_BYTES_MAX),
        };
        let kib = u32::try_from(spool.bytes.min(max) / KIB).unwrap_or(u32::MAX);
        let turn = timeout(TURN_MAX, Arc::clone(budget).acquire_many_owned(kib)).await;
        let room = turn.ok().and_then(Result::ok).ok_or(NotReceived::NoRoom)?;
        let bytes = blocking(move || {
            let mut bytes = Vec::with_capacity(spool.bytes);
            let mut file = &spool.file;
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            Ok(Bytes::from(bytes))
        });
        Ok((bytes.await?, Some(room)))
    }
}

/// A body on its way to disk.
struct Spooling {
    file: File,
    hash: Sha256,
    permits: (OwnedSemaphorePermit, Vec<OwnedSemaphorePermit>),
}

/// Does what may wait for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, NotReceived> {
    match spawn_blocking(work).await {
        Ok(done) => done.map_err(NotReceived::Disk),
        Err(panicked) => Err(NotReceived::Disk(io::Error::other(panicked))),
    }
}

/// Lets nobody work with a request before its body is here and it is its turn.
///
/// A body that was read before, because a signature covers it, comes as an extension.
pub async fn hold(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let (is_invoke, bytes_max) = (super::is_payload(&path), bytes_max(&path));
    let received = match request.extensions_mut().remove::<Received>() {
        Some(received) => Ok(received),
        None if request.body().is_end_stream() => return next.run(request).await,
        None => {
            let body = std::mem::take(request.body_mut());
            api.bodies.receive(body, bytes_max).await
        }
    };
    let loaded = match received {
        Ok(received) => api.bodies.load(received, is_invoke).await,
        Err(why) => Err(why),
    };
    match loaded {
        Ok((bytes, room)) => {
            let response = next.run(request.map(|_| Body::from(bytes))).await;
            drop(room);
            response
        }
        Err(why) => why.response(&api, &path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn large_bodies_are_on_disk_until_it_is_their_turn() {
        let dir = tempfile::tempdir().unwrap();
        let bodies = Bodies::new(dir.path().to_owned(), 2);
        let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        for bytes in [&large[..0], &large[..SMALL_BYTES_MAX], &large[..SMALL_BYTES_MAX + 1], &large] {
            let received = bodies.receive(Body::from(bytes.to_vec()), large.len()).await.unwrap();
            assert_eq!(received.sha256, sha256(bytes));
            let is_on_disk = matches!(received.content, Content::Disk(_));
            assert_eq!(is_on_disk, bytes.len() > SMALL_BYTES_MAX);
            let (loaded, room) = bodies.load(received, false).await.unwrap();
            assert_eq!((loaded, room.is_some()), (Bytes::copy_from_slice(bytes), is_on_disk));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no file has a name");
        assert_eq!(bodies.disk.available_permits(), DISK_BYTES_MAX / KIB, "and none is left");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_too_much_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let bodies = Bodies::new(dir.path().to_owned(), 1);
        let body = || Body::from(vec![0; 200_000]);
        assert!(matches!(bodies.receive(body(), 199_999).await, Err(NotReceived::TooLarge(199_999))));
        let first = bodies.receive(body(), 200_000).await.unwrap();
        assert!(
            matches!(bodies.receive(body(), 200_000).await, Err(NotReceived::NoRoom)),
            "one file at once"
        );
        drop(first);
        bodies.receive(body(), 200_000).await.unwrap();
        let nowhere = Bodies::new(dir.path().join("nowhere"), 1);
        assert!(matches!(nowhere.receive(body(), 200_000).await, Err(NotReceived::Disk(_))));
    }
}
