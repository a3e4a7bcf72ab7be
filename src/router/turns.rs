//! Large messages one after another: how much of them a worker moves before it looks at its sockets again.
//!
//! A worker does what is ready in the order in which it became so. When hundreds of slow readers have room at the same
//! moment, every small request that comes after them would wait until a piece for each was copied. So only the first of
//! a turn are served in it, and the rest stand in a line of their own.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::task::yield_now;

/// So much is moved in a turn: a tenth of a millisecond's worth.
const TURN_BYTES_MAX: usize = 512 * 1024;

/// How much may still be moved in this turn, and who waits for the next.
pub(super) struct Turns {
    left_bytes: Cell<usize>,
    line: RefCell<VecDeque<Rc<Waiting>>>,
    /// Who ends turns, while none has begun.
    ender: Cell<Option<Waker>>,
}

/// Who wants to move much, and whether that has to wait.
#[derive(Default)]
pub(super) struct Mover {
    waiting: RefCell<Option<Rc<Waiting>>>,
}

/// A place in the line.
struct Waiting {
    bytes: usize,
    is_called: Cell<bool>,
    waker: RefCell<Waker>,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns { left_bytes: Cell::new(TURN_BYTES_MAX), line: RefCell::default(), ender: Cell::default() }
    }
}

impl Turns {
    /// Ends turns, and calls who waits for the next; runs as long as the worker.
    pub(super) async fn run(&self) {
        loop {
            poll_fn(|cx| {
                if self.has_begun() {
                    return Poll::Ready(());
                }
                self.ender.set(Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
            // Woken by the first message of a turn, it stands behind everything that was ready by then.
            self.left_bytes.set(TURN_BYTES_MAX);
            while !self.line.borrow().is_empty() {
                // What came meanwhile goes first.
                yield_now().await;
                self.left_bytes.set(TURN_BYTES_MAX);
                self.call();
            }
        }
    }

    /// Ready when so many bytes may be moved; `mover` is woken for that.
    ///
    /// Whoever is ready has had its turn, also if it moves less: ask only where the kernel would take anything.
    pub(super) fn poll_turn(&self, cx: &Context<'_>, mover: &Mover, bytes: usize) -> Poll<()> {
        let mut waiting = mover.waiting.borrow_mut();
        if let Some(place) = &*waiting {
            if place.is_called.get() {
                *waiting = None;
                return Poll::Ready(());
            }
            place.waker.borrow_mut().clone_from(cx.waker());
            return Poll::Pending;
        }
        let (had_begun, left_bytes) = (self.has_begun(), self.left_bytes.get());
        if left_bytes > 0 && self.line.borrow().is_empty() {
            self.left_bytes.set(left_bytes.saturating_sub(bytes));
            if !had_begun && let Some(ender) = self.ender.take() {
                ender.wake();
            }
            return Poll::Ready(());
        }
        let place = Waiting { bytes, is_called: Cell::new(false), waker: RefCell::new(cx.waker().clone()) };
        self.line.borrow_mut().push_back(Rc::clone(waiting.insert(Rc::new(place))));
        Poll::Pending
    }

    fn has_begun(&self) -> bool {
        self.left_bytes.get() < TURN_BYTES_MAX
    }

    /// Calls as many from the line as may move in one turn.
    fn call(&self) {
        while self.left_bytes.get() > 0
            && let Some(next) = self.line.borrow_mut().pop_front()
        {
            self.left_bytes.set(self.left_bytes.get().saturating_sub(next.bytes));
            next.is_called.set(true);
            next.waker.borrow().wake_by_ref();
        }
    }
}

impl Mover {
    /// Whether it stands in the line, or was called from it and has not come yet.
    pub(super) fn is_in_line(&self) -> bool {
        self.waiting.borrow().is_some()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::runtime;
    use tokio::task::spawn_local;

    use super::*;

    const PIECE_BYTES: usize = TURN_BYTES_MAX / 4;

    /// Runs tasks beside one that ends turns.
    fn with_turns(test: impl AsyncFnOnce(Rc<Turns>)) {
        let runtime = runtime::Builder::new_current_thread().enable_io().build_local(Default::default());
        runtime.expect("a runtime").block_on(async {
            let turns = Rc::new(Turns::default());
            let ending = Rc::clone(&turns);
            spawn_local(async move { ending.run().await });
            yield_now().await;
            test(turns).await;
        });
    }

    async fn take_turn(turns: &Turns, mover: &Mover, bytes: usize) {
        poll_fn(|cx| turns.poll_turn(cx, mover, bytes)).await;
    }

    #[test]
    fn hundreds_of_large_messages_let_small_ones_by_and_go_in_the_order_they_came() {
        with_turns(async |turns| {
            let said: Rc<RefCell<Vec<usize>>> = Rc::default();
            let movers = (0..300).map(|index| {
                let (turns, said) = (Rc::clone(&turns), Rc::clone(&said));
                spawn_local(async move {
                    take_turn(&turns, &Mover::default(), PIECE_BYTES).await;
                    said.borrow_mut().push(index);
                })
            });
            let movers: Vec<_> = movers.collect();
            // Becomes ready behind all of them, and again and again while they stand in the line.
            let (mut near, mut far) = UnixStream::pair().expect("sockets");
            let echo = spawn_local(async move {
                while let Ok(byte) = far.read_u8().await {
                    far.write_u8(byte).await.expect("room");
                }
            });
            for _ in 0..10 {
                near.write_u8(b'x').await.expect("room");
                near.read_u8().await.expect("a byte");
            }
            let large_before = said.borrow().len();
            assert!(large_before < 150, "ten small ones waited for {large_before} large ones");
            drop(near);
            echo.await.expect("it ends");
            for mover in movers {
                mover.await.expect("it ends");
            }
            assert_eq!(*said.borrow(), (0..300).collect::<Vec<_>>());
        });
    }

    #[test]
    fn the_first_of_a_turn_do_not_wait_and_the_next_turn_is_a_whole_one() {
        with_turns(async |turns| {
            for _ in 0..3 {
                let cx = Context::from_waker(Waker::noop());
                for _ in 0..4 {
                    assert!(turns.poll_turn(&cx, &Mover::default(), PIECE_BYTES).is_ready());
                }
                let fifth = Mover::default();
                assert!(turns.poll_turn(&cx, &fifth, PIECE_BYTES).is_pending() && fifth.is_in_line());
                take_turn(&turns, &fifth, PIECE_BYTES).await;
                assert!(!fifth.is_in_line());
                while turns.has_begun() {
                    yield_now().await;
                }
            }
        });
    }

    #[test]
    fn whoever_left_the_line_keeps_nobody_waiting() {
        with_turns(async |turns| {
            let cx = Context::from_waker(Waker::noop());
            let there = Mover::default();
            assert!(turns.poll_turn(&cx, &there, 2 * TURN_BYTES_MAX).is_ready());
            for _ in 0..100 {
                assert!(turns.poll_turn(&cx, &Mover::default(), PIECE_BYTES).is_pending());
            }
            take_turn(&turns, &there, PIECE_BYTES).await;
            assert!(turns.line.borrow().is_empty());
        });
    }
}
