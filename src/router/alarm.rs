//! A deadline that is moved far more often than it is met.
//!
//! Every request has deadlines, hardly any meets one, and to have a timer registered and taken off for each costs more
//! than to pick a version. So the timer stays where it is while its deadline moves on; when it goes off too early, it
//! is set anew.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt;
use tokio::task::unconstrained;
use tokio::time::{Sleep, sleep_until};

use crate::clock;

/// A deadline for one thing after another.
#[derive(Default)]
pub(super) struct Alarm {
    /// Made when somebody first waits.
    sleep: Option<Pin<Box<Sleep>>>,
    due: Option<Instant>,
}

impl Alarm {
    /// Moves the deadline, to earlier or later.
    pub(super) fn set(&mut self, due: Instant) {
        self.due = Some(due);
    }

    /// Ready once the deadline has passed; never without one.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due else { return Poll::Pending };
        let due = due.into();
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        loop {
            ready!(has_gone_off(sleep.as_mut(), cx));
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

/// Whether a timer has gone off.
///
/// Whoever is heard without a pause, and so uses up what a task may do in a turn, has a deadline all the same.
pub(super) fn has_gone_off(timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
    pin!(unconstrained(timer)).poll(cx)
}

/// hyper's timer on one connection, where one thing at a time has a deadline: the head of the next request.
///
/// It is asked for a new timer with each, and gets the same one.
#[derive(Default)]
pub(super) struct HeadTimer(Arc<Mutex<Option<Alarm>>>);

impl rt::Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        let mut alarm = self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        alarm.set(deadline);
        Box::pin(Lent { alarm, home: Arc::clone(&self.0) })
    }

    fn now(&self) -> Instant {
        clock::instant_now()
    }
}

/// An alarm that goes back to its connection's timer when it is no longer needed.
struct Lent {
    alarm: Alarm,
    home: Arc<Mutex<Option<Alarm>>>,
}

impl rt::Sleep for Lent {}

impl Future for Lent {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.alarm.poll(cx)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let alarm = std::mem::take(&mut self.alarm);
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = Some(alarm);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::task::consume_budget;
    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test]
    async fn it_goes_off_beside_what_uses_up_every_turn() {
        let mut timer = pin!(sleep(Duration::from_millis(2)));
        let mut busy = pin!(async {
            loop {
                consume_budget().await;
            }
        });
        let gone_off = poll_fn(|cx| {
            let busy: Poll<()> = busy.as_mut().poll(cx);
            assert!(busy.is_pending());
            has_gone_off(timer.as_mut(), cx)
        });
        timeout(Duration::from_secs(20), gone_off).await.expect("it is seen");
    }

    #[tokio::test]
    async fn it_goes_off_when_it_was_last_set_to() {
        let mut alarm = Alarm::default();
        let (soon, late, never) =
            (Duration::from_millis(2), Duration::from_millis(20), Duration::from_secs(3600));
        for (first, last) in [(soon, late), (never, soon), (soon, soon), (late, soon)] {
            let begun = clock::instant_now();
            alarm.set(begun + first);
            // Whether it is over already is no matter: it is polled, and so has its timer.
            let _ = poll_fn(|cx| Poll::Ready(alarm.poll(cx))).await;
            alarm.set(begun + last);
            poll_fn(|cx| alarm.poll(cx)).await;
            assert!(clock::instant_now() >= begun + last, "{first:?} {last:?}");
        }
    }
}
