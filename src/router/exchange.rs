//! One request and its answer, whichever face it came by: dispatch, send, count.
//!
//! A request is counted as dispatched once, for the version that was picked, and whatever becomes of it is counted
//! for that version: a failure when it becomes known, the end when the answer was read to its end. Where the future
//! is dropped in between, the client went away, and its upstream connection goes with it, or its part of a shared one.
//! Nothing is sent twice, but for what a version over HTTP/2 says it did nothing with, and for what a version has said
//! nothing to on a connection that it had kept and now closes, if asking twice is as good as asking once.

use std::error::Error;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue};
use hyper::http::{request, response};
use hyper::{Method, Response, StatusCode};
use rustix::io::Errno;

use super::download::Download;
use super::endpoints::EndpointGuard;
use super::grpc::{GrpcCall, GrpcOutcome};
use super::headers;
use super::http1::{Broken, Connection};
use super::multiplex_exchange::answered_on_shared;
use super::pool::Link;
use super::route::{Route, Service};
use super::source::Source;
use super::steer::Pick;
use super::tunnel::Tunnel;
use super::tunnels::Stay;
use super::upload::{Again, Stage, Unread, Upload, UpstreamBody};
use super::worker::Worker;
use crate::clock;
use crate::metrics::recorder::{Arm, Credit, EpochCounters, FailureKind, FailureNote};
use serin_core::model::time::human;

/// What a request says about itself, should it fail.
#[derive(Clone)]
pub(super) struct About {
    /// Its method.
    pub(super) method: Method,
    /// The path that the client asked for; a copy, as is the trace, see [`headers::detached`].
    pub(super) path: Box<str>,
    /// The trace it belongs to.
    pub(super) trace: Option<HeaderValue>,
    /// Whether it is a copy, whose answer nobody gets.
    pub(super) is_copy: bool,
}

/// Which answers are failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    /// HTTP: the statuses that the route names.
    Http,
    /// Invoke: those that make it a function error.
    Invoke,
}

/// The body of a request, before it is sent.
pub(super) enum Outgoing {
    /// None.
    Empty,
    /// In memory.
    Whole(Bytes),
    /// As the client sends it.
    Stream(Incoming),
    /// None, and the client wants to speak another protocol from here on.
    Upgrade(HeaderValue),
}

/// What a version answered.
pub(super) enum Answered {
    /// An answer, whose body goes on counting; and whether it came before all of the request had.
    Whole(Response<Download>, Timing),
    /// The head of a 101, and the version's end of what follows.
    Tunnel(response::Parts, Box<Tunnel>),
}

/// When a version answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timing {
    /// When the client had sent all of its request.
    InTurn,
    /// Before: what is left of the request may be in the way of the client's next one.
    Early,
}

/// How long a request waits for its version, and its version for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waits {
    /// For the head of the answer, once the version has the whole request.
    pub(super) first_byte: Duration,
    /// For the next piece of a body, from either side, and for the version to take one.
    pub(super) idle: Duration,
}

/// A request that was assigned to a version and counted there.
pub(super) struct Transit {
    worker: Rc<Worker>,
    route: Arc<Route>,
    credit: Credit,
    /// The same once more, where it is of a baseline.
    of_baseline: Option<Box<Credit>>,
    about: About,
    /// Where it is sent, if its version is at several places.
    seat: Option<EndpointGuard>,
    waits: Waits,
}

impl Transit {
    /// Counts a request as dispatched; from here on its end is counted, too.
    pub(super) fn begin(worker: &Rc<Worker>, route: Arc<Route>, pick: Pick, about: About) -> Transit {
        let (counters, arm) = route.counters(pick);
        let credit = counters.dispatch_of(pick.user, &worker.writer, arm, clock::instant_now());
        let dispatch = |counters: &Arc<EpochCounters>| {
            Box::new(counters.dispatch(&worker.writer, Arm::Primary, credit.dispatched_at()))
        };
        let of_baseline = route.second_counters(pick).map(dispatch);
        let waits = route.upstream(pick.arm).waits(&worker.timeouts);
        Transit { worker: Rc::clone(worker), route, credit, of_baseline, about, seat: None, waits }
    }

    /// The same at one of several places.
    pub(super) fn seated(self, seat: Option<EndpointGuard>) -> Transit {
        Transit { seat, ..self }
    }

    /// When it was dispatched.
    pub(super) fn dispatched_at(&self) -> Instant {
        self.credit.dispatched_at()
    }

    /// Whose connections it uses.
    pub(super) fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Notes that it has become a tunnel.
    pub(super) fn enter_tunnels(&self) -> Stay<'_> {
        let version = self.credit.version();
        let counted = self.route.alias().map(|alias| self.worker.open_tunnels.begin(alias.clone(), version));
        let stay = self.worker.tunnels.enter(&self.route, version, counted);
        // The version may have lost its traffic while it was asked.
        self.worker.refresh();
        stay
    }

    /// How long it waits for whom.
    pub(super) fn waits(&self) -> Waits {
        self.waits
    }

    /// Sends the request and waits for the head of the answer, whose body goes on counting.
    pub(super) async fn send(
        mut self,
        to: &Service,
        mut head: request::Parts,
        body: Outgoing,
        face: Face,
    ) -> Result<Answered, Fault> {
        let at = self.credit.dispatched_at();
        let (body, upload, upgrade) = match body {
            Outgoing::Empty => (UpstreamBody::Empty, None, None),
            Outgoing::Upgrade(protocol) => (UpstreamBody::Empty, None, Some(protocol)),
            Outgoing::Whole(bytes) => (UpstreamBody::Whole(Some(bytes)), None, None),
            Outgoing::Stream(body) => {
                let upload = Upload::begun(body, at);
                (UpstreamBody::Upload(Rc::clone(&upload)), Some(upload), None)
            }
        };
        let elsewhere = match &self.seat {
            None => None,
            Some(_) => match Box::pin(self.reach(to, &mut head)).await {
                Ok(elsewhere) => elsewhere,
                Err(fault) => return Err(self.fault(fault).amid(upload)),
            },
        };
        let to = elsewhere.as_deref().unwrap_or(to);
        let answered = match &to.http2 {
            None => self.answered(to, head, body, upload.as_deref()).await,
            // Boxed, for few requests come this way, and all would have to carry it.
            Some(authority) => {
                Box::pin(answered_on_shared(&self, to, authority, head, body, upload.as_deref())).await
            }
        };
        let (mut source, head) = match answered {
            Ok(answered) => answered,
            Err(fault) => {
                if let (Some(seat), FaultKind::Unreachable | FaultKind::Broken | FaultKind::TimedOut) =
                    (&self.seat, fault.kind)
                {
                    seat.standing().failed(clock::instant_now(), &fault.detail);
                }
                return Err(self.fault(fault).amid(upload));
            }
        };
        if let Some(seat) = &self.seat {
            seat.standing().answered();
        }
        let answered_at = clock::instant_now();
        self.head_at(answered_at);
        if let Err(nonsense) = check_answer(&head, upgrade.as_ref()) {
            return Err(self.fault(nonsense).amid(upload));
        }
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let Some((version, early)) = source.into_io() else {
                let detail = "it answered 101 over HTTP/2, which knows no other protocol".to_owned();
                return Err(self.fault(Fault::new(FaultKind::Broken, detail)));
            };
            return Ok(Answered::Tunnel(head, Box::new(Tunnel::new(self, version, early))));
        }
        self.judge(head.status, face);
        let call = if face == Face::Http { GrpcCall::begun(&head.headers) } else { None };
        if let Source::Own(link) = &mut source {
            link.set_idle_limit(headers::keep_alive_timeout(&head.headers));
        }
        // A version that keeps its connection goes on to take the request; one that does not will leave some of it.
        let ends = matches!(&source, Source::Own(link) if link.connection.ends_with_answer());
        let is_early = ends && upload.is_some_and(|upload| !upload.has_come());
        let timing = if is_early { Timing::Early } else { Timing::InTurn };
        if source.is_end_of_body() {
            source.end(&self.worker.pool, answered_at);
            self.conclude(call);
            return Ok(Answered::Whole(Response::from_parts(head, Download::ended()), timing));
        }
        let body = Download::begun(self, answered_at, source, call);
        Ok(Answered::Whole(Response::from_parts(head, body), timing))
    }

    /// Counts a failure, unless one was counted before.
    pub(super) fn fail(&mut self, kind: FailureKind, fault: &str) {
        let About { method, path, trace, is_copy } = &self.about;
        let trace = trace.as_ref().map(HeaderValue::as_bytes);
        self.credit.fail(kind, || {
            let note = |fault: &str| FailureNote::new(method.as_str(), path, fault, trace);
            if *is_copy { note(&format!("{fault} (a copy)")) } else { note(fault) }
        });
        if let Some(credit) = &mut self.of_baseline {
            credit.fail(kind, || FailureNote::new("", "", "", None));
        }
    }

    /// Counts that the version refused the request.
    pub(super) fn refuse(&mut self) {
        self.credit.refuse();
        if let Some(credit) = &mut self.of_baseline {
            credit.refuse();
        }
    }

    /// Counts the latency of an answer that has come whole.
    pub(super) fn head(&mut self) {
        self.head_at(clock::instant_now());
    }

    fn head_at(&mut self, at: Instant) {
        self.credit.head(at);
        if let Some(credit) = &mut self.of_baseline {
            credit.head(at);
        }
    }

    /// Counts the request as ended, by what became of the call where it was one of gRPC.
    pub(super) fn conclude(mut self, call: Option<GrpcCall>) {
        match call {
            None | Some(GrpcCall::Ended(GrpcOutcome::Answered)) => {}
            Some(GrpcCall::Ended(GrpcOutcome::Refused)) => self.refuse(),
            Some(GrpcCall::Ended(GrpcOutcome::Failed(code, name))) => {
                self.fail(FailureKind::Status, &format!("grpc-status {code} {name}"));
            }
            Some(GrpcCall::Open) => {
                self.fail(FailureKind::Transport, "the answer ended without a grpc-status")
            }
        }
        self.complete();
    }

    /// Counts the request as ended.
    pub(super) fn complete(self) {
        if let Some(credit) = self.of_baseline {
            credit.complete();
        }
        self.credit.complete();
    }

    /// Finds a place that can be reached, and says which if it is another; nothing was sent to those that cannot.
    async fn reach(
        &mut self,
        to: &Service,
        head: &mut request::Parts,
    ) -> Result<Option<Arc<Service>>, Fault> {
        let begun = self.credit.dispatched_at();
        let mut elsewhere: Option<Arc<Service>> = None;
        loop {
            let place = elsewhere.as_deref().unwrap_or(to);
            let now = clock::instant_now();
            let left = self.worker.timeouts.connect.saturating_sub(now.duration_since(begun));
            let has_next = self.seat.as_ref().is_some_and(EndpointGuard::has_next);
            let part = if has_next { left / 2 } else { left };
            let fault = match self.worker.reach(place, part, now).await {
                Ok(()) => return Ok(elsewhere),
                Err(error) => Fault::of_connecting(&error),
            };
            let next = match &self.seat {
                Some(seat) if fault.kind == FaultKind::Unreachable => {
                    seat.standing().failed(clock::instant_now(), &fault.detail);
                    seat.next()
                }
                _ => None,
            };
            let Some(next) = next else { return Err(fault) };
            head.headers.insert(HOST, next.service().host_header.clone());
            elsewhere = Some(Arc::clone(next.service()));
            self.seat = Some(next);
        }
    }

    /// Sends the request over a connection that has been idle, or over a new one, and waits for the head of the answer.
    async fn answered(
        &self,
        to: &Service,
        head: request::Parts,
        body: UpstreamBody,
        upload: Option<&Upload>,
    ) -> Result<(Source, response::Parts), Fault> {
        let (mut link, again) = match self.worker.pool.take(&to.authority, self.credit.dispatched_at()) {
            Some(link) => (link, if head.method.is_idempotent() { body.again() } else { None }),
            // Boxed, for most requests find a connection, and all would have to carry the making of one.
            None => (Box::pin(self.connected(to)).await?, None),
        };
        let (mut request, keeps) = (Some((head, body)), again.is_some());
        let begin = |connection: &mut Connection, cx: &Context<'_>| {
            if let Some((head, body)) = request.take() {
                connection.begin(cx, head, body, keeps);
            }
        };
        match (self.exchange(&mut link, begin, upload).await, again) {
            (Ok(answer), _) => Ok((Source::Own(link), answer)),
            (Err(fault), Some(again)) if fault.kind == FaultKind::Broken => {
                Box::pin(self.answered_again(to, link, again, upload, fault)).await
            }
            (Err(fault), _) => Err(fault),
        }
    }

    /// Sends a request once more, over a new connection, if the one that was kept ended without a word.
    ///
    /// A version may close an idle connection whenever it likes, also just as a request is on its way to it; that says
    /// nothing of the version (RFC 9110, 9.2.2).
    async fn answered_again(
        &self,
        to: &Service,
        before: Box<Link>,
        again: Again,
        upload: Option<&Upload>,
        fault: Fault,
    ) -> Result<(Source, response::Parts), Fault> {
        if !before.connection.has_heard_nothing() {
            return Err(fault);
        }
        let Some(body) = again.body() else { return Err(fault) };
        let mut link = self.connected(to).await?;
        let mut body = Some(body);
        let begin = |connection: &mut Connection, cx: &Context<'_>| {
            if let Some(body) = body.take() {
                connection.begin_again(cx, &before.connection, body);
            }
        };
        let answer = self.exchange(&mut link, begin, upload).await?;
        Ok((Source::Own(link), answer))
    }

    async fn connected(&self, to: &Service) -> Result<Box<Link>, Fault> {
        let connecting =
            Link::connect(to, self.worker.timeouts.connect, (&self.worker.names, &self.worker.outbox));
        connecting.await.map_err(|error| Fault::of_connecting(&error))
    }

    /// Sends a request over a link and waits for the head, no longer than whoever is to move next may take.
    async fn exchange(
        &self,
        link: &mut Link,
        mut begin: impl FnMut(&mut Connection, &Context<'_>),
        upload: Option<&Upload>,
    ) -> Result<response::Parts, Fault> {
        link.alarm.set(self.credit.dispatched_at() + self.waits.first_byte);
        std::future::poll_fn(|cx| {
            begin(&mut link.connection, cx);
            if let Err(broke) = link.connection.poll_sending(cx) {
                return Poll::Ready(Err(Fault::new(FaultKind::ClientBroke, describe(&broke))));
            }
            if let Poll::Ready(answered) = link.connection.poll_head(cx) {
                let broken = |broken: Broken| Fault::new(FaultKind::Broken, broken.to_string());
                return Poll::Ready(answered.map_err(broken));
            }
            if let Some(upload) = upload {
                link.alarm.set(self.due(upload));
            }
            link.alarm.poll(cx).map(|()| Err(self.overdue(upload)))
        })
        .await
    }

    /// When patience with an upload, or with what follows it, is over.
    pub(super) fn due(&self, upload: &Upload) -> Instant {
        let (stage, since) = upload.stage();
        since + if stage == Stage::Done { self.waits.first_byte } else { self.waits.idle }
    }

    /// Who kept the other waiting for too long.
    pub(super) fn overdue(&self, upload: Option<&Upload>) -> Fault {
        let stage = upload.map_or(Stage::Done, |upload| upload.stage().0);
        let (kind, detail) = match stage {
            Stage::Client => return Fault::of_stalled_client(self.waits.idle),
            Stage::Version => (
                FaultKind::TimedOut,
                format!("took nothing of the request body for {}", human(self.waits.idle)),
            ),
            Stage::Done | Stage::Broken => {
                (FaultKind::TimedOut, format!("no answer within {}", human(self.waits.first_byte)))
            }
        };
        Fault::new(kind, detail)
    }

    fn judge(&mut self, status: StatusCode, face: Face) {
        match face {
            Face::Http if self.route.is_failure(status) => self.fail(FailureKind::Status, status.as_str()),
            Face::Invoke if self.route.is_function_error(status) => {
                self.fail(FailureKind::FunctionError, status.as_str());
            }
            // 499 as well: a client that had closed its request would not have got it.
            Face::Http | Face::Invoke if status.is_client_error() => self.refuse(),
            Face::Http | Face::Invoke => {}
        }
    }

    /// Counts what a fault means for the version, and ends the request.
    fn fault(mut self, fault: Fault) -> Fault {
        match fault.kind {
            FaultKind::Unreachable | FaultKind::Broken => self.fail(FailureKind::Transport, &fault.detail),
            FaultKind::TimedOut => self.fail(FailureKind::Timeout, &fault.detail),
            // No doing of the version's, and not completed: a credit that is dropped counts as cancelled.
            FaultKind::Exhausted | FaultKind::ClientBroke | FaultKind::ClientStalled => return fault,
        }
        self.complete();
        fault
    }
}

/// Refuses answers that cannot be passed on; `upgrade` is the protocol that was asked for.
fn check_answer(head: &response::Parts, upgrade: Option<&HeaderValue>) -> Result<(), Fault> {
    let broken = |detail: &str| Err(Fault::new(FaultKind::Broken, detail.to_owned()));
    let is_asked_for = || upgrade.is_some_and(|asked| headers::is_asked_for(&head.headers, asked));
    if head.status == StatusCode::SWITCHING_PROTOCOLS && !is_asked_for() {
        return broken("switched protocols without being asked to");
    }
    if !headers::is_chunked_only(&head.headers) {
        return broken("used a transfer coding other than chunked");
    }
    Ok(())
}

/// Why a request got no answer.
pub(super) struct Fault {
    /// In one word.
    pub(super) kind: FaultKind,
    /// In words for people, clients among them: no addresses.
    pub(super) detail: String,
    /// The request's body, if it was under way.
    pub(super) upload: Option<Rc<Upload>>,
}

/// What went wrong, and with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// The version accepts no connection.
    Unreachable,
    /// The version broke off or answered nonsense.
    Broken,
    /// The version took too long.
    TimedOut,
    /// The router has no descriptor or memory left for a connection.
    Exhausted,
    /// The client broke off its request body.
    ClientBroke,
    /// The client stopped sending its request body.
    ClientStalled,
}

impl Fault {
    /// A fault of no request's body.
    pub(super) fn new(kind: FaultKind, detail: String) -> Fault {
        Fault { kind, detail, upload: None }
    }

    /// The same in the midst of a request's body.
    fn amid(self, upload: Option<Rc<Upload>>) -> Fault {
        Fault { upload, ..self }
    }

    /// Tells a version that cannot be reached from a router that can reach nobody.
    pub(super) fn of_connecting(error: &io::Error) -> Fault {
        const OURS: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        let is_ours = Errno::from_io_error(error).is_some_and(|errno| OURS.contains(&errno));
        let kind = if is_ours { FaultKind::Exhausted } else { FaultKind::Unreachable };
        Fault::new(kind, error.to_string())
    }

    /// A client that sent nothing of its body for so long.
    fn of_stalled_client(idle_max: Duration) -> Fault {
        let detail = format!("the client sent nothing of its request body for {}", human(idle_max));
        Fault::new(FaultKind::ClientStalled, detail)
    }

    /// A client whose body was to be read whole, with so much patience.
    pub(super) fn of_reading(why: &Unread, idle_max: Duration) -> Fault {
        let broke = |detail: String| Fault::new(FaultKind::ClientBroke, detail);
        match why {
            Unread::Stalled => Fault::of_stalled_client(idle_max),
            Unread::Broken(broken) => broke(describe(broken)),
            Unread::NoRoom => {
                let detail = "bodies take as much memory as they may".to_owned();
                Fault::new(FaultKind::Exhausted, detail)
            }
            Unread::TooLarge => broke("it is longer than it was said to be".to_owned()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.detail)
    }
}

/// An error with all of its causes, for hyper's own text often names none.
pub(super) fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_without_descriptors_blames_no_version() {
        let kind = |errno: Errno| Fault::of_connecting(&errno.into()).kind;
        assert_eq!([Errno::MFILE, Errno::NFILE].map(kind), [FaultKind::Exhausted; 2]);
        assert_eq!([Errno::CONNREFUSED, Errno::NETUNREACH].map(kind), [FaultKind::Unreachable; 2]);
        let slow = io::Error::new(io::ErrorKind::TimedOut, "no connection within 1s");
        assert_eq!(Fault::of_connecting(&slow).kind, FaultKind::Unreachable);
    }
}
