//! The tunnels of a worker, and the end of those whose version an alias sends nothing to any more.
//!
//! An alias that changes takes no tunnel along: what is open goes on, unless the alias's plan wants it closed within a
//! time. Then each is closed at a moment of its own within that time, so that their clients do not all come back at once.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

use super::alarm::Alarm;
use super::route::Route;
use crate::metrics::tunnels::OpenTunnel;
use serin_core::model::arn::VersionId;

/// A worker's tunnels.
#[derive(Default)]
pub(super) struct Tunnels {
    open: RefCell<HashMap<u64, Open>>,
    next_id: Cell<u64>,
}

struct Open {
    /// By which it was opened.
    key: Arc<str>,
    version: VersionId,
    /// When it is to end, if it is.
    ends_at: Option<Instant>,
    waker: Option<Waker>,
}

/// A tunnel that is open, until this is dropped.
pub(super) struct Stay<'a> {
    tunnels: &'a Tunnels,
    id: u64,
    _counted: Option<OpenTunnel>,
}

impl Tunnels {
    /// Notes a tunnel to a version that was reached by a route.
    pub(super) fn enter(&self, route: &Route, version: VersionId, counted: Option<OpenTunnel>) -> Stay<'_> {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let key = route.address.key().into();
        self.open.borrow_mut().insert(id, Open { key, version, ends_at: None, waker: None });
        Stay { tunnels: self, id, _counted: counted }
    }

    /// Looks at what was published: a tunnel ends in time if its version gets nothing by its route any more, and no
    /// longer if it does again. `fraction` is uniform from 0 to below 1.
    pub(super) fn review<'t>(
        &self,
        route: impl Fn(&str) -> Option<&'t Arc<Route>>,
        now: Instant,
        fraction: impl Fn() -> f64,
    ) {
        for open in self.open.borrow_mut().values_mut() {
            let Some(route) = route(&open.key) else { continue };
            let ends_at = match route.close_tunnels() {
                Some(within) if !route.serves(open.version) => {
                    Some(open.ends_at.unwrap_or_else(|| now + within.mul_f64(fraction())))
                }
                Some(_) | None => None,
            };
            if ends_at != std::mem::replace(&mut open.ends_at, ends_at)
                && let Some(waker) = &open.waker
            {
                waker.wake_by_ref();
            }
        }
    }
}

impl Stay<'_> {
    /// Returns when the tunnel is to be closed; never, if nobody wants that.
    pub(super) async fn over(&self) {
        let mut alarm = Alarm::default();
        poll_fn(|cx| {
            let mut all = self.tunnels.open.borrow_mut();
            // It stays until this is dropped.
            let Some(open) = all.get_mut(&self.id) else { return Poll::Pending };
            if !open.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                open.waker = Some(cx.waker().clone());
            }
            let Some(ends_at) = open.ends_at else { return Poll::Pending };
            alarm.set(ends_at);
            alarm.poll(cx)
        })
        .await
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.tunnels.open.borrow_mut().remove(&self.id);
    }
}
