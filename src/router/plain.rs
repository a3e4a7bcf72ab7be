//! A TCP connection as hyper wants it, whose small messages leave together with everybody else's.
//!
//! What a worker has to say in one turn of its loop, it says at the end of that turn: all that is ready is read first,
//! then all that is due is sent. The kernel's way through a send is long, and going it many times in a row costs a
//! sixth less than going it between other work. It also makes one send of a head and its body, which hyper gives as
//! two slices. What is large goes out as it lies, and in turns (`turns`).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;
use tokio::task::unconstrained;

use super::turns::{Mover, Turns};

/// Up to this size messages wait for the end of the turn.
const SMALL_BYTES_MAX: usize = 2048;

/// So much may lie in the kernel that could not be sent yet, because the other end is slow to take it.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// Has the kernel take little more for a connection than it can send.
///
/// Else it takes megabytes for each reader that is slow, and to move those keeps everybody else on the worker waiting:
/// a quarter of a second, when seven hundred begin at once. Where the option is not to be had, it goes without.
pub(super) fn hold_little_unsent(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}

/// The connections of one worker that have something to send at the end of this turn.
#[derive(Default)]
pub(super) struct WriteBatcher {
    full: RefCell<Vec<Rc<Socket>>>,
    sender: RefCell<Option<Waker>>,
    turns: Turns,
}

/// A plain TCP connection.
pub(super) struct PlainIo {
    socket: Rc<Socket>,
    outbox: Rc<WriteBatcher>,
}

struct Socket {
    stream: RefCell<TokioIo<TcpStream>>,
    /// What is yet to be sent.
    unsent: RefCell<Vec<u8>>,
    /// Whom to wake if it cannot be.
    owner: RefCell<Option<Waker>>,
    /// Whether the outbox knows of it.
    is_queued: Cell<bool>,
    /// Whether a flush waits until all was sent.
    waits_for_flushes: Cell<bool>,
    /// When what is large may go.
    mover: Mover,
    /// Why it could not be sent; told at the next opportunity.
    fault: Cell<Option<io::Error>>,
}

impl WriteBatcher {
    /// Sends what is due whenever a turn ends, after what is to be done before; runs as long as the worker.
    pub(super) async fn run(&self, before: impl Fn()) {
        let mut sending = Vec::new();
        // A task may do so many operations in a turn, and this one does everybody's.
        unconstrained(poll_fn(|cx| {
            // Woken by the first message of a turn, it stands in line behind everything that was ready by then.
            before();
            std::mem::swap(&mut *self.full.borrow_mut(), &mut sending);
            for socket in sending.drain(..) {
                socket.is_queued.set(false);
                socket.send_for_owner();
            }
            let mut sender = self.sender.borrow_mut();
            if !sender.as_ref().is_some_and(|sender| sender.will_wake(cx.waker())) {
                *sender = Some(cx.waker().clone());
            }
            Poll::Pending
        }))
        .await
    }

    /// Lets what is large go in turns; runs as long as the worker.
    pub(super) async fn take_turns(&self) {
        self.turns.run().await
    }

    /// Has this turn have an end, though there may be nothing to send.
    pub(super) fn wake(&self) {
        if let Some(sender) = &*self.sender.borrow() {
            sender.wake_by_ref();
        }
    }

    fn queue(&self, socket: &Rc<Socket>) {
        if socket.is_queued.replace(true) {
            return;
        }
        let mut full = self.full.borrow_mut();
        if full.is_empty() {
            self.wake();
        }
        full.push(Rc::clone(socket));
    }
}

impl Socket {
    /// Sends what is unsent, and wakes the owner when the rest can be.
    fn send_for_owner(&self) {
        let owner = self.owner.borrow();
        let mut cx = Context::from_waker(owner.as_ref().unwrap_or(Waker::noop()));
        if let Poll::Ready(Err(error)) = self.poll_sent(&mut cx) {
            self.fault.set(Some(error));
            cx.waker().wake_by_ref();
        }
    }

    /// Sends what is unsent; ready once nothing is.
    fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.fault.take() {
            return Poll::Ready(Err(error));
        }
        let mut unsent = self.unsent.borrow_mut();
        while !unsent.is_empty() {
            let mut stream = self.stream.borrow_mut();
            let sent = ready!(Pin::new(&mut *stream).poll_write(cx, &unsent));
            match sent {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => drop(unsent.drain(..count)),
                Err(error) => {
                    // It never will be.
                    unsent.clear();
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl PlainIo {
    /// A connection that hyper can read and write; `outbox` is run by the same thread.
    pub(super) fn new(stream: TcpStream, outbox: &Rc<WriteBatcher>) -> PlainIo {
        let socket = Socket {
            stream: RefCell::new(TokioIo::new(stream)),
            unsent: RefCell::default(),
            owner: RefCell::default(),
            is_queued: Cell::new(false),
            waits_for_flushes: Cell::new(false),
            mover: Mover::default(),
            fault: Cell::new(None),
        };
        PlainIo { socket: Rc::new(socket), outbox: Rc::clone(outbox) }
    }

    /// Another handle on the same connection, to take it when the first one is gone.
    pub(super) fn share(&self) -> PlainIo {
        PlainIo { socket: Rc::clone(&self.socket), outbox: Rc::clone(&self.outbox) }
    }

    /// Has a flush send what is unsent and wait for it, for users who do not flush again when they are woken.
    pub(super) fn wait_for_flushes(&self) {
        self.socket.waits_for_flushes.set(true);
    }

    /// Whether the other end has reset the connection, as far as the kernel has told; nothing is read for that.
    pub(super) fn was_reset(&self) -> bool {
        self.socket.stream.borrow().inner().try_io(Interest::ERROR, || Ok(())).is_ok()
    }

    /// Whether nothing waits to be sent, and nothing has come that was not read.
    pub(super) fn is_quiet(&self) -> bool {
        let stream = self.socket.stream.borrow();
        let seen = SockRef::from(stream.inner()).peek(&mut [MaybeUninit::uninit()]);
        !self.has_unsent() && seen.is_err_and(|why| why.kind() == io::ErrorKind::WouldBlock)
    }

    /// Lends the connection itself, to set its options.
    pub(super) fn with_stream(&self, set: impl FnOnce(&TcpStream)) {
        set(self.socket.stream.borrow().inner());
    }

    /// Reads what has come into the spare room of a buffer; none means that the other end says no more.
    pub(super) fn poll_fill(&self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut stream = self.socket.stream.borrow_mut();
        pin!(stream.inner_mut().read_buf(buffer)).poll(cx)
    }

    /// Adds a message to what is sent at the end of the turn, however long it is.
    pub(super) fn compose(&self, cx: &Context<'_>, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.socket.unsent.borrow_mut());
        self.own(cx);
        self.outbox.queue(&self.socket);
    }

    /// Goes on with what the kernel did not take at the end of the turn; ready also where that is yet to come.
    pub(super) fn poll_unsent(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.socket.is_queued.get() { Poll::Ready(Ok(())) } else { self.socket.poll_sent(cx) }
    }

    /// Whether something waits to be sent.
    pub(super) fn has_unsent(&self) -> bool {
        !self.socket.unsent.borrow().is_empty()
    }

    /// Ready when so much may be sent at once.
    fn poll_turn(&self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
        let Socket { mover, stream, .. } = &*self.socket;
        if !mover.is_in_line() {
            // Whoever can send nothing waits for the other end, and not for its turn.
            ready!(stream.borrow().inner().poll_write_ready(cx))?;
        }
        self.outbox.turns.poll_turn(cx, mover, bytes).map(Ok)
    }

    fn own(&self, cx: &Context<'_>) {
        let mut owner = self.socket.owner.borrow_mut();
        if !owner.as_ref().is_some_and(|owner| owner.will_wake(cx.waker())) {
            *owner = Some(cx.waker().clone());
        }
    }

    /// Keeps slices for the end of the turn, if they are small and nothing is in their way.
    fn take_small(&self, cx: &Context<'_>, slices: &[IoSlice<'_>]) -> Option<usize> {
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut unsent = self.socket.unsent.borrow_mut();
        if unsent.len() + len > SMALL_BYTES_MAX {
            return None;
        }
        for slice in slices {
            unsent.extend_from_slice(slice);
        }
        self.own(cx);
        self.outbox.queue(&self.socket);
        Some(len)
    }
}

impl Read for PlainIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket.stream.borrow_mut()).poll_read(cx, buffer)
    }
}

impl Write for PlainIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    /// Ready also while a message waits for the end of the turn, which needs nobody to wait for it.
    ///
    /// What the kernel does not take then is sent by the next flush, and hyper flushes whenever it is woken.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.socket.waits_for_flushes.get() { self.socket.poll_sent(cx) } else { self.poll_unsent(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.socket.poll_sent(cx))?;
        Pin::new(&mut *self.socket.stream.borrow_mut()).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(len) = self.take_small(cx, slices) {
            return Poll::Ready(Ok(len));
        }
        ready!(self.socket.poll_sent(cx))?;
        if let Some(len) = self.take_small(cx, slices) {
            return Poll::Ready(Ok(len));
        }
        ready!(self.poll_turn(cx, slices.iter().map(|slice| slice.len()).sum()))?;
        Pin::new(&mut *self.socket.stream.borrow_mut()).poll_write_vectored(cx, slices)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional, duplex};
    use tokio::net::TcpListener;
    use tokio::runtime;
    use tokio::task::{spawn_local, yield_now};
    use tokio::time::timeout;

    use super::*;

    static LARGE: [u8; 128 * 1024] = [7; 128 * 1024];

    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (here, there) = tokio::join!(TcpStream::connect(addr), listener.accept());
        (here.expect("it listens"), there.expect("it comes").0)
    }

    /// Runs tasks beside what a worker runs for its outbox.
    fn with_outbox(test: impl AsyncFnOnce(Rc<WriteBatcher>)) {
        let runtime = runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
        runtime.expect("a runtime").block_on(async {
            let outbox = Rc::<WriteBatcher>::default();
            let (sending, turning) = (Rc::clone(&outbox), Rc::clone(&outbox));
            spawn_local(async move { sending.run(|| ()).await });
            spawn_local(async move { turning.take_turns().await });
            test(outbox).await;
        });
    }

    #[test]
    fn what_is_flushed_goes_on_when_there_is_room_though_nobody_says_more() {
        with_outbox(async |outbox| {
            let (stream, mut reader) = connected().await;
            hold_little_unsent(&stream);
            let io = PlainIo::new(stream, &outbox);
            io.wait_for_flushes();
            let socket = io.share();
            let (mut here, mut there) = duplex(4096);
            spawn_local(async move { copy_bidirectional(&mut there, &mut TokioIo::new(io)).await });
            let mut sent = 0;
            while !socket.has_unsent() {
                here.write_all(&[7; 1000]).await.expect("room");
                sent += 1000;
                for _ in 0..10 {
                    yield_now().await;
                }
            }
            let reading = async { reader.read_exact(&mut vec![0; sent]).await };
            let read = timeout(Duration::from_secs(20), reading).await.expect("all of it comes");
            assert_eq!(read.expect("nobody closes"), sent);
        });
    }

    #[test]
    fn whoever_can_send_nothing_waits_for_room_and_not_for_its_turn() {
        with_outbox(async |outbox| {
            let mut readers = Vec::new();
            let polls = Rc::new(Cell::new(0));
            for _ in 0..20 {
                let (stream, reader) = connected().await;
                readers.push(reader);
                let (mut io, polls) = (PlainIo::new(stream, &outbox), Rc::clone(&polls));
                spawn_local(poll_fn(move |cx| -> Poll<()> {
                    polls.set(polls.get() + 1);
                    while let Poll::Ready(sent) = Pin::new(&mut io).poll_write(cx, &LARGE) {
                        sent.expect("nobody closes");
                    }
                    // As hyper does, which asks again when it has looked at everything else.
                    let again = Pin::new(&mut io).poll_write(cx, &LARGE);
                    assert!(again.is_pending());
                    Poll::Pending
                }));
            }
            // Nobody reads, so sooner or later all is full; from then on there is nothing to do.
            let rests = async || {
                polls.set(0);
                for _ in 0..1000 {
                    yield_now().await;
                }
                polls.get() == 0
            };
            let mut attempts = 0..100;
            while !rests().await {
                assert!(attempts.next().is_some(), "who cannot send is asked over and over");
            }
            let mut taken = vec![0; 16 * 1024 * 1024];
            readers[0].read_exact(&mut taken).await.expect("it goes on when there is room");
        });
    }
}
