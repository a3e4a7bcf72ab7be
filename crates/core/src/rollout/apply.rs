//! The transition function: every phase answers every event.
//!
//! The match in `apply` is the whole table; what an answer entails is below it, in the order a rollout lives.

mod back;
mod outside;

use super::event::{Base, DriftResolution, Effect, Event, Harm, Outcome, Refusal, Transition};
use super::state::{ApprovalGiven, Committed, Drift, Ending, Pause, PauseCause, Phase, Rollout};
use crate::lambda::alias::Routing;
use crate::lambda::function::Revision;
use crate::model::actor::Actor;
use crate::model::time::{Moment, Stopwatch};
use crate::model::weight::Weight;
use crate::plan::{OnDrift, OnFailure, Step, Timeout};

/// Who caused an event, when, and the revision a routing change by it will have.
#[derive(Clone, Copy, Debug)]
pub struct Cause<'a> {
    /// Who.
    pub by: &'a Actor,
    /// When.
    pub at: Moment,
    /// The event's own sequence number.
    pub seq: Revision,
}

type Answer = Result<Outcome, Refusal>;

impl Rollout {
    /// Answers an event: the next state and its effects, no change, or a refusal.
    ///
    /// Total and pure: the same rollout, event and cause give the same answer.
    pub fn apply(&self, event: &Event, cause: Cause<'_>) -> Answer {
        use Event::*;
        let change = Change { next: self.clone(), effects: Vec::new(), cause };
        match (&self.record.phase, event) {
            (Phase::Pending, Began { base }) => change.begin(base),
            (Phase::Pending, Unstartable { why }) => change.finish(Ending::Superseded, why.clone()),
            (Phase::Pending | Phase::Progressing | Phase::Paused(_), Promoted { step, .. })
                if *step != self.record.step =>
            {
                let (now, look) = (self.record.step, self.command("status"));
                refuse(
                    "promoted",
                    &format!("it is at step {now} by now, not at step {step}"),
                    &format!("look again with `{look}`"),
                )
            }
            (Phase::Pending, Promoted { base: Some(base), full, .. }) => change.begin_by_hand(base, *full),
            (Phase::Pending, Promoted { base: None, .. }) => refuse(
                "promoted",
                "it is queued behind the rollout that is running, and begins when that one ends",
                &format!("`serin status {}` shows that one", self.record.alias),
            ),
            (Phase::Pending, PauseAsked) => {
                refuse("paused", "it has not begun", &format!("`{}` cancels it", self.command("abort")))
            }
            (Phase::Pending | Phase::Promoting, Resumed { drift: Some(drift) }) => {
                self.refuse_settling(*drift)
            }
            (Phase::Pending, Resumed { .. }) => unchanged("is not paused; it has not begun"),
            (Phase::Pending, Approved) => refuse(
                "approved",
                "it has not begun, and waits for no approval",
                &format!("`{}` says what it waits for", self.command("explain")),
            ),
            (Phase::Pending, AbortAsked | RollbackAsked { .. }) => {
                change.finish(Ending::Aborted, "aborted before it began".to_owned())
            }
            (Phase::Pending, SupersededBy { .. }) => {
                change.finish(Ending::Superseded, "superseded before it began".to_owned())
            }
            (Phase::Pending, _) => unchanged("has not begun"),

            (Phase::Progressing | Phase::Paused(_), Began { .. } | Unstartable { .. }) => {
                unchanged("has begun")
            }
            (Phase::Progressing, Passed { step, .. }) if *step == self.record.step => {
                change.enter_from(step + 1)
            }
            (Phase::Progressing | Phase::Paused(_), Passed { .. }) => unchanged("is not at that step"),
            (Phase::Progressing | Phase::Paused(_), RoutingServed { revision }) => change.serve(*revision),
            (Phase::Progressing | Phase::Paused(_), Touched { revision }) => change.touch(*revision),
            (Phase::Progressing | Phase::Paused(_), Drifted { by, found, revision }) => {
                change.drift(by, *found, *revision)
            }
            (Phase::Progressing | Phase::Paused(_), HarmFound { harm }) => change.harm(harm),
            (Phase::Progressing, ExposureReached { requests, limit }) if !self.record.exposure_waived => {
                change.pause(
                    PauseCause::Exposure,
                    format!("the canary has had {requests} requests; maxExposure.requests is {limit}"),
                )
            }
            (Phase::Progressing | Phase::Paused(_), ExposureReached { .. }) => {
                unchanged("is paused, or a person let it go on past maxExposure.requests")
            }
            (Phase::Progressing, StepLate { step }) if *step == self.record.step => change.late(),
            (Phase::Progressing, ApprovalTimedOut { step }) if *step == self.record.step => {
                change.unapproved()
            }
            (Phase::Progressing | Phase::Paused(_), StepLate { .. } | ApprovalTimedOut { .. }) => {
                unchanged("does not wait there any more")
            }
            (Phase::Progressing | Phase::Paused(_), Measured { metric, weight_step, reading }) => {
                change.measured(metric, *weight_step, reading)
            }
            (Phase::Progressing | Phase::Paused(_), HookAnswered { step, round, attempt, answer }) => {
                change.hook_answered(*step, (*round, *attempt), answer)
            }
            (Phase::Paused(_), Promoted { .. }) if self.record.drift.is_some() => {
                let resume = self.command("resume");
                refuse(
                    "promoted",
                    "somebody else changed the alias",
                    &format!("settle that first with `{resume} --restore` or `{resume} --adopt`"),
                )
            }
            (Phase::Progressing | Phase::Paused(_), Promoted { full: true, .. }) => {
                change.lift_pause().promote("promoted to the end by hand".to_owned())
            }
            (Phase::Progressing | Phase::Paused(_), Promoted { step, .. }) => {
                change.lift_pause().enter_from(step + 1)
            }
            (Phase::Progressing, PauseAsked) => change.pause(PauseCause::Operator, String::new()),
            (Phase::Paused(_), PauseAsked) => unchanged("is paused already"),
            (Phase::Progressing, Resumed { drift: None }) => unchanged("is not paused"),
            (Phase::Progressing, Resumed { drift: Some(drift) }) => self.refuse_settling(*drift),
            (Phase::Paused(_), Resumed { drift }) => change.resume(*drift),
            (Phase::Progressing | Phase::Paused(_), Approved) => change.approve(),
            (Phase::Progressing | Phase::Paused(_), AbortAsked) => {
                let reason = self.aborted_by_hand();
                change.roll_back(Ending::Aborted, reason)
            }
            (Phase::Promoting, RollbackAsked { to: Some(to) }) if *to == self.record.canary => {
                unchanged("is being promoted to that version already")
            }
            (Phase::Progressing | Phase::Paused(_) | Phase::Promoting, RollbackAsked { to }) => {
                change.roll_back_by_hand(*to)
            }
            (Phase::Progressing | Phase::Paused(_), SupersededBy { rollout }) => {
                let by = rollout.map_or(String::new(), |id| format!(" by rollout {}", id.short()));
                change.roll_back(Ending::Superseded, format!("superseded{by}"))
            }

            (Phase::Promoting, RoutingServed { revision }) => change.promoted(*revision),
            (Phase::Promoting, Touched { revision }) => change.touch(*revision),
            (Phase::Promoting, Drifted { by, found, .. }) => change.finish(
                Ending::Superseded,
                format!("{by} changed the alias to {found} while it was being promoted"),
            ),
            (Phase::Promoting, HarmFound { harm }) if self.rolls_back_on(harm) => {
                change.roll_back(Ending::RolledBack, harm.to_string())
            }
            (Phase::Promoting, AbortAsked) => change.roll_back(Ending::Aborted, "aborted by hand".to_owned()),
            (Phase::Promoting, Promoted { .. }) => unchanged("is being promoted already"),
            (Phase::Promoting, Resumed { .. }) => unchanged("is not paused; it is being promoted"),
            (Phase::Promoting, PauseAsked | Approved) => refuse(
                tried(event),
                "it is being promoted",
                &format!("`{}` takes it back", self.command("abort")),
            ),
            (Phase::Promoting, _) => unchanged("is being promoted"),

            (Phase::RollingBack(ending), RoutingServed { revision }) => {
                change.rolled_back(*ending, *revision)
            }
            (Phase::RollingBack(_), Touched { revision }) => change.touch(*revision),
            (Phase::RollingBack(ending), Drifted { by, found, .. }) => {
                let reason = format!("{}; then {by} changed the alias to {found}", self.record.reason);
                change.finish(*ending, reason)
            }
            (Phase::RollingBack(_), Promoted { .. } | PauseAsked | Resumed { .. } | Approved) => {
                let again =
                    format!("once it has ended, `serin retry {}` starts it anew", self.record.id.short());
                refuse(tried(event), "it is rolling back, and nothing stops that", &again)
            }
            (Phase::RollingBack(_), AbortAsked) => unchanged("is rolling back already"),
            (Phase::RollingBack(_), RollbackAsked { to }) => change.roll_back_further(*to),
            (Phase::RollingBack(_), _) => unchanged("is rolling back"),

            (Phase::Succeeded, Promoted { full: true, .. }) => unchanged("has succeeded already"),
            (Phase::Succeeded, AbortAsked) => refuse("aborted", "it has succeeded", &self.way_on()),
            (Phase::RolledBack | Phase::Aborted | Phase::Superseded, AbortAsked) => {
                unchanged(&format!("has ended as {} already", self.record.phase.name()))
            }
            (phase, Promoted { .. } | PauseAsked | Resumed { .. } | Approved | RollbackAsked { .. }) => {
                refuse(tried(event), &format!("it has ended as {}", phase.name()), &self.way_on())
            }
            (phase, _) => unchanged(&format!("has ended as {}", phase.name())),
        }
    }

    fn rolls_back_on(&self, harm: &Harm) -> bool {
        // maxExposure is a bound on damage, not a judgement: it acts even where judgements are only reported.
        matches!(harm, Harm::Exposure { .. }) || self.plan.on_failure == OnFailure::Rollback
    }

    /// What to type so that `verb` means this rollout: by its alias while it moves that, else by its id.
    pub fn command(&self, verb: &str) -> String {
        match self.record.phase.is_active() {
            true => format!("serin {verb} {}", self.record.alias),
            false => format!("serin {verb} {}", self.record.id.short()),
        }
    }

    /// What may be done about a rollout that has ended.
    fn way_on(&self) -> String {
        // Whether there still is a way back after a success is the alias's to say.
        match self.record.phase == Phase::Succeeded {
            true => format!("`{}` says what may be done", self.command("explain")),
            false => format!("`{}` starts it anew", self.command("retry")),
        }
    }

    fn refuse_settling(&self, drift: DriftResolution) -> Answer {
        let tried = match drift {
            DriftResolution::Restore => "restored",
            DriftResolution::Adopt => "adopted",
        };
        let next = match matches!(self.record.phase, Phase::Paused(_)) {
            true => format!("`{}` alone ends the pause", self.command("resume")),
            false => format!("`{}` says what it waits for", self.command("explain")),
        };
        refuse(tried, "nobody else has changed the alias", &next)
    }
}

/// Says what could not be done, why not, and what to do next.
fn refuse(tried: &str, why: &str, next: &str) -> Answer {
    Err(Refusal::Conflict(format!("cannot be {tried}: {why}; {next}")))
}

/// What a person wanted of a rollout.
fn tried(event: &Event) -> &'static str {
    match event {
        Event::Promoted { .. } => "promoted",
        Event::PauseAsked => "paused",
        Event::Resumed { .. } => "resumed",
        Event::Approved => "approved",
        Event::AbortAsked => "aborted",
        Event::RollbackAsked { .. } => "rolled back",
        Event::Began { .. }
        | Event::Unstartable { .. }
        | Event::Passed { .. }
        | Event::RoutingServed { .. }
        | Event::Touched { .. }
        | Event::Drifted { .. }
        | Event::HarmFound { .. }
        | Event::ExposureReached { .. }
        | Event::StepLate { .. }
        | Event::ApprovalTimedOut { .. }
        | Event::Measured { .. }
        | Event::HookAnswered { .. }
        | Event::SupersededBy { .. } => "changed",
    }
}

fn unchanged(text: &str) -> Answer {
    Ok(Outcome::Unchanged(text.to_owned()))
}

/// A transition in the making.
struct Change<'a> {
    next: Rollout,
    effects: Vec<Effect>,
    cause: Cause<'a>,
}

impl Change<'_> {
    fn done(mut self) -> Answer {
        self.next.record.updated_at = self.cause.at.wall;
        Ok(Outcome::Changed(Box::new(Transition { next: self.next, effects: self.effects })))
    }

    fn enter_phase(&mut self, phase: Phase, reason: String) {
        self.next.record.phase = phase;
        self.next.record.reason = reason;
    }

    fn set_base(&mut self, base: &Base) {
        let record = &mut self.next.record;
        record.stable = base.stable;
        record.after = None;
        record.committed =
            Some(Committed { routing: Routing::only(base.stable), revision: base.revision, served: true });
        record.served = Stopwatch::default();
    }

    fn begin(mut self, base: &Base) -> Answer {
        self.set_base(base);
        self.enter_from(1)
    }

    fn begin_by_hand(mut self, base: &Base, full: bool) -> Answer {
        self.set_base(base);
        if full { self.promote("promoted to the end by hand".to_owned()) } else { self.enter_from(1) }
    }

    /// Enters a step, passing over weights the canary already has.
    fn enter_from(mut self, step: usize) -> Answer {
        let landing = self.next.landing(step);
        if let Some((passed, weight)) = landing.passed {
            (self.next.record.weight_step, self.next.record.planned) = (passed, weight);
        }
        let step = landing.step;
        let Some(entered) = self.next.plan.step(step).cloned() else {
            return self.promote("every step is done".to_owned());
        };
        let at = self.cause.at;
        let record = &mut self.next.record;
        record.step = step;
        record.step_since = at.wall;
        record.waited = Stopwatch::started(at.up);
        record.baked = Stopwatch::default();
        record.approvals.clear();
        record.released = false;
        record.answers.begin_step();
        self.enter_phase(Phase::Progressing, String::new());
        match entered {
            Step::SetWeight(weight) => {
                let record = &mut self.next.record;
                (record.planned, record.weight_step) = (weight, step);
                record.served = Stopwatch::default();
                record.answers.begin_weight();
                let routing = Routing::split(record.stable, record.canary, weight);
                self.route(routing);
                self.seek_proof();
            }
            Step::Bake(_) => {
                let record = &mut self.next.record;
                if record.committed.as_ref().is_some_and(|committed| committed.served) {
                    record.baked.start(at.up);
                }
            }
            Step::Pause => return self.pause(PauseCause::Plan, String::new()),
            Step::Approval(_) | Step::Analysis(_) | Step::Webhook(_) => {}
        }
        self.done()
    }

    /// Commits a routing with this event.
    fn route(&mut self, routing: Routing) {
        let record = &mut self.next.record;
        let expected = record.committed.as_ref().map_or(self.cause.seq, |committed| committed.revision);
        record.committed = Some(Committed { routing, revision: self.cause.seq, served: false });
        record.drift = None;
        self.effects.push(Effect::Route { routing, expected });
    }

    fn seek_proof(&mut self) {
        let next = self.next.next_weight();
        self.effects.push(Effect::SeekProof { next });
    }

    fn promote(mut self, reason: String) -> Answer {
        let canary = self.next.record.canary;
        self.enter_phase(Phase::Promoting, reason);
        self.next.record.planned = Weight::FULL;
        self.route(Routing::only(canary));
        self.effects.push(Effect::SeekProof { next: None });
        self.done()
    }

    fn promoted(mut self, revision: Revision) -> Answer {
        if !self.confirm(revision) {
            return unchanged("waits for another revision to be served");
        }
        let reason = std::mem::take(&mut self.next.record.reason);
        self.enter_phase(Phase::Succeeded, reason);
        self.effects.push(Effect::KeepStable);
        self.done()
    }

    fn stop_watches(&mut self) {
        let at = self.cause.at.up;
        let record = &mut self.next.record;
        record.served.stop(at);
        record.baked.stop(at);
        record.waited.stop(at);
    }

    /// Notes that a revision is served; false if it is not the one counted on.
    fn confirm(&mut self, revision: Revision) -> bool {
        match &mut self.next.record.committed {
            Some(committed) if committed.revision == revision => {
                committed.served = true;
                true
            }
            _ => false,
        }
    }

    fn serve(mut self, revision: Revision) -> Answer {
        if self.next.record.drift.is_some() || !self.confirm(revision) {
            return unchanged("counts on another revision");
        }
        let at = self.cause.at.up;
        let in_bake = matches!(self.next.current_step(), Some(Step::Bake(_)));
        let record = &mut self.next.record;
        if record.served.is_running() {
            return unchanged("knows that it is served");
        }
        record.served.start(at);
        if in_bake {
            record.baked.start(at);
        }
        self.done()
    }

    fn touch(mut self, revision: Revision) -> Answer {
        match &mut self.next.record.committed {
            Some(committed) => committed.revision = revision,
            None => return unchanged("counts on no revision"),
        }
        self.done()
    }

    fn pause(mut self, cause: PauseCause, reason: String) -> Answer {
        let at = self.cause.at;
        // What asked for the pause is who made it, except that the plan's own pauses are nobody's doing.
        let by = match cause {
            PauseCause::Plan => Actor::daemon(),
            PauseCause::Operator
            | PauseCause::Drift
            | PauseCause::Harm
            | PauseCause::Exposure
            | PauseCause::Late
            | PauseCause::ApprovalTimeout
            | PauseCause::Inconclusive => self.cause.by.clone(),
        };
        self.next.record.waited.stop(at.up);
        self.enter_phase(Phase::Paused(Pause { cause, since: at.wall, by }), reason);
        self.done()
    }

    fn resume(self, choice: Option<DriftResolution>) -> Answer {
        match (&self.next.record.drift, choice) {
            (Some(_), Some(DriftResolution::Restore)) => return self.restore(),
            (Some(_), Some(DriftResolution::Adopt)) => return self.adopt(),
            (Some(drift), None) => {
                let resume = self.next.command("resume");
                return refuse(
                    "resumed",
                    &format!("{} changed the alias from {} to {}", drift.by, drift.expected, drift.found),
                    &format!(
                        "`{resume} --restore` puts back the first, `{resume} --adopt` goes on from the second"
                    ),
                );
            }
            (None, Some(drift)) => return self.next.refuse_settling(drift),
            (None, None) => {}
        }
        let mut change = self.lift_pause();
        change.go_on();
        change.done()
    }

    /// Settles what the pause was about: a person has decided to go on.
    fn lift_pause(mut self) -> Self {
        let record = &mut self.next.record;
        if let Phase::Paused(pause) = &record.phase {
            match pause.cause {
                PauseCause::Plan => record.released = true,
                PauseCause::Harm => {
                    record.answers.forgive();
                    record.trials = record.trials.saturating_add(1);
                    self.effects.push(Effect::ForgiveHarm);
                }
                PauseCause::Inconclusive => record.answers.forgive(),
                PauseCause::Exposure => record.exposure_waived = true,
                PauseCause::Late | PauseCause::ApprovalTimeout => record.waited = Stopwatch::default(),
                PauseCause::Operator | PauseCause::Drift => {}
            }
        }
        self
    }

    fn go_on(&mut self) {
        self.next.record.waited.start(self.cause.at.up);
        self.enter_phase(Phase::Progressing, String::new());
    }

    fn drift(mut self, by: &Actor, found: Routing, revision: Revision) -> Answer {
        let at = self.cause.at;
        let on_drift = self.next.plan.on_drift;
        let record = &mut self.next.record;
        let Some(committed) = &mut record.committed else {
            return unchanged("counts on no revision");
        };
        let expected = record.drift.as_ref().map_or(committed.routing, |drift| drift.expected);
        committed.revision = revision;
        record.served.stop(at.up);
        record.baked.stop(at.up);
        if found == expected {
            // The person put back what was there; the pause stays theirs to end.
            committed.served = false;
            record.drift = None;
            return self.done();
        }
        let was_paused_by_drift = record.drift.is_some();
        record.drift = Some(Drift { by: by.clone(), at: at.wall, expected, found });
        if was_paused_by_drift {
            return self.done();
        }
        match on_drift {
            OnDrift::Pause => {
                record.waited.stop(at.up);
                let pause = Pause { cause: PauseCause::Drift, since: at.wall, by: by.clone() };
                self.enter_phase(
                    Phase::Paused(pause),
                    format!("{by} changed the alias from {expected} to {found}; nothing was overwritten"),
                );
                self.done()
            }
            OnDrift::Restore => self.restore(),
            OnDrift::Adopt => self.adopt(),
            OnDrift::Leave => {
                self.finish(Ending::Superseded, format!("{by} changed the alias from {expected} to {found}"))
            }
        }
    }

    fn restore(mut self) -> Answer {
        let Some(drift) = self.next.record.drift.take() else {
            return self.next.refuse_settling(DriftResolution::Restore);
        };
        self.route(drift.expected);
        self.end_drift_pause();
        self.done()
    }

    fn adopt(mut self) -> Answer {
        let Some(drift) = self.next.record.drift.take() else {
            return self.next.refuse_settling(DriftResolution::Adopt);
        };
        let record = &mut self.next.record;
        let (stable, canary, found) = (record.stable, record.canary, drift.found);
        let both = |weight| found == Routing::split(stable, canary, weight);
        if found == Routing::only(canary) {
            self.next.record.planned = Weight::FULL;
            self.effects.push(Effect::KeepStable);
            self.stop_watches();
            self.enter_phase(Phase::Succeeded, format!("{} promoted it by hand", drift.by));
            return self.done();
        }
        if found == Routing::only(stable) {
            return self.finish(Ending::Aborted, format!("{} cleared the canary by hand", drift.by));
        }
        if !both(found.share_of(canary)) {
            let reason = format!("{} changed the alias to {found}, which is another matter", drift.by);
            return self.finish(Ending::Superseded, reason);
        }
        if let Some(committed) = &mut record.committed {
            (committed.routing, committed.served) = (found, false);
        }
        record.served = Stopwatch::default();
        record.baked = Stopwatch::default();
        record.answers.begin_weight();
        self.seek_proof();
        self.end_drift_pause();
        self.done()
    }

    /// Goes on where the pause was the drift's; another pause stays.
    fn end_drift_pause(&mut self) {
        let is_another = |pause: &Pause| pause.cause != PauseCause::Drift;
        if !matches!(&self.next.record.phase, Phase::Paused(pause) if is_another(pause)) {
            self.go_on();
        }
    }

    fn harm(mut self, harm: &Harm) -> Answer {
        if !self.next.record.is_armed() {
            return unchanged("has no canary in the alias to take out");
        }
        if self.next.rolls_back_on(harm) {
            return self.roll_back(Ending::RolledBack, harm.to_string());
        }
        match (self.next.plan.on_failure, &self.next.record.phase) {
            (OnFailure::Pause, Phase::Progressing) => self.pause(PauseCause::Harm, harm.to_string()),
            (OnFailure::Report, _) if !self.next.record.harm_reported => {
                self.next.record.harm_reported = true;
                self.next.record.reason = format!("reported only: {harm}");
                self.done()
            }
            _ => unchanged("is paused, or harm was reported already"),
        }
    }

    fn late(self) -> Answer {
        let deadline = self.next.plan.step_deadline;
        let reason = format!(
            "step {} waited longer than stepDeadline, {}",
            self.next.record.step,
            crate::model::time::human(deadline.after)
        );
        match deadline.then {
            Timeout::Rollback => self.roll_back(Ending::RolledBack, reason),
            Timeout::Pause => self.pause(PauseCause::Late, reason),
        }
    }

    fn unapproved(self) -> Answer {
        let Some(Step::Approval(approval)) = self.next.current_step() else {
            return unchanged("waits for no approval");
        };
        let reason = format!("nobody approved within {}", crate::model::time::human(approval.timeout));
        match approval.on_timeout {
            Timeout::Rollback => self.roll_back(Ending::RolledBack, reason),
            Timeout::Pause => self.pause(PauseCause::ApprovalTimeout, reason),
        }
    }

    fn approve(mut self) -> Answer {
        let by = self.cause.by;
        let Some(Step::Approval(approval)) = self.next.current_step() else {
            let explain = self.next.command("explain");
            return refuse(
                "approved",
                "its current step waits for no approval",
                &format!("`{explain}` says what it waits for"),
            );
        };
        if !approval.approvers.is_empty() && !approval.approvers.iter().any(|listed| by.is(listed)) {
            return Err(Refusal::Forbidden(format!(
                "cannot be approved by {by}: the plan wants it from {}; one of them types `{}`",
                approval.approvers.join(" or "),
                self.next.command("approve")
            )));
        }
        if self.next.record.approvals.iter().any(|given| given.by.name == by.name) {
            return unchanged("has this approval already");
        }
        if self.next.is_approved() {
            return unchanged("has all the approvals it wants");
        }
        self.next.record.approvals.push(ApprovalGiven { by: by.clone(), at: self.cause.at.wall });
        self.done()
    }
}

/// Where entering a step leads.
pub(super) struct Landing {
    /// The step that is really entered; past the end where none is left.
    pub step: usize,
    /// The last weight passed over on the way, and its step.
    pub passed: Option<(usize, Weight)>,
}

impl Rollout {
    /// The step it is at; `None` before the first and after the last.
    pub fn current_step(&self) -> Option<&Step> {
        self.plan.step(self.record.step)
    }

    /// The canary's share as committed or found.
    pub fn share(&self) -> Weight {
        self.record.known_routing().map_or(Weight::ZERO, |routing| routing.share_of(self.record.canary))
    }

    /// Where entering `step` leads: past the weights that the canary already has, which only adopted drift brings about.
    pub(super) fn landing(&self, step: usize) -> Landing {
        let share = self.share();
        let mut landing = Landing { step, passed: None };
        // At no share at all nothing was had yet, and copies are still to come.
        let is_had = |weight: &Weight| *weight <= share && share > Weight::ZERO;
        while let Some(weight) = self.plan.weight_at(landing.step).filter(is_had) {
            landing.passed = Some((landing.step, weight));
            landing.step += 1;
        }
        landing
    }

    /// The next weight above the canary's share; `None` where there is none, as at all traffic.
    pub fn next_weight(&self) -> Option<Weight> {
        let share = self.share();
        let later = self.plan.steps.iter().skip(self.record.step);
        let planned = later.into_iter().find_map(|step| {
            let Step::SetWeight(weight) = step else { return None };
            (*weight > share).then_some(*weight)
        });
        planned.or_else(|| self.promoted_from_part())
    }

    /// Whether the current approval step has all it wants.
    pub fn is_approved(&self) -> bool {
        match self.current_step() {
            Some(Step::Approval(approval)) => {
                self.record.approvals.len() as u64 >= u64::from(approval.min_approvers)
            }
            _ => false,
        }
    }
}
