//! Copies of requests for the canary: of which requests there are some, and what becomes of them.
//!
//! A request is set aside by chance before its version is drawn, and by nothing that hangs on the version; what that is
//! good for is derived in `serin_core::analysis::mirror`. Where stable is drawn for it, the canary gets a copy at the same
//! moment, whose answer is read, judged and dropped. Nobody waits for a copy, and copies wait for nobody: where too many
//! are under way, no more requests are set aside. In the same way stable gets a copy of what the canary is sent, where a
//! plan wants its baseline so.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{HOST, HeaderValue};
use hyper::http::request;
use hyper::{Method, Uri};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::address::upstream_target;
use super::download::Download;
use super::exchange::{About, Answered, Face, Outgoing, Transit};
use super::headers::{ARM, MIRRORED};
use super::route::Route;
use super::steer::{Pick, Role};
use super::worker::Worker;
use crate::metrics::recorder::{Arm, EpochCounters};
use serin_core::analysis::mirror::SampleKind;
use serin_core::plan::{Mirror as MirrorPlan, MirrorMethods};

/// So many copies may be under way on each thread.
const UNDER_WAY_MAX: usize = 256;
/// The largest request body that is copied; it is in memory until both versions have it.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// So much of an answer to a copy is read, and for so long after its head may have come.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Which requests of a route are set aside, and where they are counted.
pub(super) struct Mirror {
    plan: MirrorPlan,
    mirrored: Arc<EpochCounters>,
    copied: Arc<EpochCounters>,
}

impl Mirror {
    /// A mirror as a plan asks for it, with the counters of what is set aside and of the copies.
    pub(super) fn new(plan: MirrorPlan, mirrored: Arc<EpochCounters>, copied: Arc<EpochCounters>) -> Mirror {
        Mirror { plan, mirrored, copied }
    }

    /// Where a request of a stratum is counted, if it is one that the mirror is about.
    pub(super) fn counters(&self, stratum: SampleKind) -> Option<&Arc<EpochCounters>> {
        match stratum {
            SampleKind::MirrorSource => Some(&self.mirrored),
            SampleKind::MirrorCopy => Some(&self.copied),
            SampleKind::Weighted => None,
        }
    }

    /// Whether requests like this may be copied: a safe method without a body, or any with a small one if the plan says so.
    fn is_for(&self, method: &Method, body: &Incoming) -> bool {
        match self.plan.methods {
            MirrorMethods::Safe => method.is_safe() && body.is_end_stream(),
            MirrorMethods::Any => {
                body.is_end_stream()
                    || body.size_hint().exact().is_some_and(|bytes| bytes <= BODY_BYTES_MAX as u64)
            }
        }
    }
}

/// How many copies are under way on a thread.
#[derive(Default)]
pub(super) struct Copies(Rc<Cell<usize>>);

/// Room for one copy, until it is dropped.
struct Room(Rc<Cell<usize>>);

impl Copies {
    fn room(&self) -> Option<Room> {
        let count = self.0.get();
        (count < UNDER_WAY_MAX).then(|| {
            self.0.set(count + 1);
            Room(Rc::clone(&self.0))
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A request of which there is to be a copy.
pub(super) struct Aside {
    route: Arc<Route>,
    /// Who gets the copy, and as what.
    pick: Pick,
    /// What it is asked for.
    uri: Uri,
    room: Room,
}

impl Aside {
    /// Sets a request aside, by chance; `rest` is what of its target versions are asked for.
    pub(super) fn by_chance(
        worker: &Worker,
        route: &Arc<Route>,
        head: &request::Parts,
        body: &Incoming,
        rest: &str,
    ) -> Option<Aside> {
        let mirror = route.mirror().filter(|mirror| mirror.is_for(&head.method, body))?;
        let pick = Pick { stratum: SampleKind::MirrorCopy, ..Pick::drawn(Arm::Additional) };
        let aside = Aside::of(worker, route, pick, rest)?;
        mirror.plan.share.draws(worker.ticket()).then_some(aside)
    }

    /// Has a request of the canary copied to stable, where that is its baseline: a safe one without a body.
    pub(super) fn of_canary(
        worker: &Worker,
        route: &Arc<Route>,
        drawn: Pick,
        head: &request::Parts,
        body: &Incoming,
        rest: &str,
    ) -> Option<Aside> {
        let is_compared = drawn.arm == Arm::Additional && !drawn.is_named;
        route.baseline().filter(|baseline| is_compared && baseline.is_copies())?;
        if !(head.method.is_safe() && body.is_end_stream()) {
            return None;
        }
        Aside::of(worker, route, Pick { role: Role::BaselineCopy, ..Pick::drawn(Arm::Primary) }, rest)
    }

    fn of(worker: &Worker, route: &Arc<Route>, pick: Pick, rest: &str) -> Option<Aside> {
        let base_path = route.upstream(pick.arm).reach.base_path()?;
        let uri = upstream_target(base_path, rest).ok()?;
        let room = worker.copies.room()?;
        Some(Aside { route: Arc::clone(route), pick, uri, room })
    }

    /// Sends a copy and goes on; `head` is what the other version is sent.
    pub(super) fn copy(self, worker: &Rc<Worker>, head: &request::Parts, body: Option<Bytes>, about: &About) {
        let Aside { route, pick, uri, room } = self;
        let Ok((service, seat)) = route.upstream(pick.arm).reach.service() else { return };
        let mut head = head.clone();
        head.uri = uri;
        head.headers.insert(HOST, service.host_header.clone());
        head.headers.insert(MIRRORED, HeaderValue::from_static("true"));
        if let Some(label) = route.arm_label(pick) {
            head.headers.insert(ARM, label);
        }
        let about = About { is_copy: true, ..about.clone() };
        let transit = Transit::begin(worker, route, pick, about).seated(seat);
        let patience = transit.waits().first_byte + ANSWER_MAX;
        spawn_local(async move {
            let _room = room;
            let body = body.map_or(Outgoing::Empty, Outgoing::Whole);
            let answered = async {
                if let Ok(Answered::Whole(answer, _)) = transit.send(&service, head, body, Face::Http).await {
                    read_away(answer.into_body()).await;
                }
            };
            // What takes longer is cut off, and is no failure: its head came in time.
            let _ = timeout(patience, answered).await;
        });
    }
}

async fn read_away(mut body: Download) {
    let mut bytes = 0;
    while bytes <= ANSWER_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
}
