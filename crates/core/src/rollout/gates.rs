//! What stands between a rollout and its next step, and when to look again.
//!
//! A step is over when its own wait is over and, where the next step raises the weight, when the bake is served, the
//! proof stands and no window or freeze forbids it. The same list decides, explains, and sets the alarm clock.

use crate::model::rollout_id::RolloutId;
use std::time::Duration;

use super::answers::Judgement;
use super::event::{Base, Event, Harm};
use super::state::{PauseCause, Phase, Rollout};
use crate::analysis::Counts;
use crate::analysis::evidence::{Evidence, Settings};
use crate::lambda::function::Revision;
use crate::model::time::{Moment, Stopwatch, Timestamp, Uptime, human};
use crate::model::weight::Weight;
use crate::plan::{Closed, OnFailure, Step, Timeout};

/// All that a rollout's next step may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Now.
    pub at: Moment,
    /// The evidence and what the plan asks of it; `None` under `analysis: none` or before the rollout begins.
    pub evidence: Option<(&'a Evidence, &'a Settings)>,
    /// Canary requests by weight over the whole rollout, and how many failed.
    pub exposure: Counts,
    /// Copies of requests that it got, and how many failed.
    pub copies: Counts,
    /// The alias's revision that live routers serve.
    pub serving: Option<Revision>,
    /// The canary's present request rate, for estimates.
    pub canary_requests_per_s: Option<f64>,
    /// What a Pending rollout would begin from, or why it cannot.
    pub base: Result<&'a Base, &'a str>,
    /// The rollout a Pending one is queued behind.
    pub ahead: Option<RolloutId>,
}

/// A bake waits for the warm-up so many times its own length at most.
const BAKES_OF_WARM_UP: u32 = 3;

/// One thing the next step needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Need {
    /// The routing is committed but no router has confirmed it.
    Served,
    /// The weight has been served this long.
    Bake {
        /// How long it has.
        served: Duration,
        /// How long it must.
        of: Duration,
    },
    /// The canary is proven harmless enough for the next weight.
    Proof {
        /// The next weight.
        next: Weight,
        /// How far the proof is, 0 to 1.
        progress: f64,
    },
    /// The canary's share of the requests is what its weight says.
    Split {
        /// The weight.
        weight: Weight,
        /// The share found, 0 to 1.
        found: f64,
    },
    /// The stable version is well, or the canary proven better.
    Stable {
        /// The share of stable's requests that fails.
        failing_share: f64,
        /// How far the proof is that the canary is better, 0 to 1.
        better: f64,
    },
    /// A window is open.
    Window {
        /// When the next one opens; `None` if never again.
        until: Option<Timestamp>,
    },
    /// No freeze is on.
    Freeze {
        /// When it ends.
        until: Option<Timestamp>,
    },
    /// Enough people approved.
    Approval {
        /// How many have.
        given: usize,
        /// How many must.
        of: u32,
    },
    /// A metric's newest answer passes.
    Metric {
        /// Its name.
        name: String,
    },
    /// The metrics of an analysis step have held long enough.
    Held {
        /// How long they have.
        held: Duration,
        /// How long they must.
        of: Duration,
    },
    /// The step's web hook answers 2xx.
    Webhook {
        /// How often it was asked.
        tried: u32,
        /// How often it is asked at most.
        of: u32,
    },
    /// Somebody says `resume`.
    Resume,
    /// The rollout ahead ends.
    Queue {
        /// Which.
        ahead: RolloutId,
    },
    /// Another alias has served this version long enough.
    After {
        /// How long it has.
        served: Duration,
        /// How long it must.
        of: Duration,
    },
}

/// A need and whether it is met.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// What is needed.
    pub need: Need,
    /// Whether it is.
    pub met: bool,
}

/// What a rollout waits for, as `status` says it.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitingFor {
    /// bake, proof, pause, approval, drift, window, freeze, queue, webhook, metrics, after.
    pub kind: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// Until when at the latest, as far as is known.
    pub until: Option<Timestamp>,
    /// What happens then.
    pub then: String,
    /// What it takes, in words.
    pub needs: String,
}

impl Need {
    /// The name as JSON and people see it.
    pub fn kind(&self) -> &'static str {
        match self {
            Need::Served => "routing",
            Need::Bake { .. } => "bake",
            Need::Proof { .. } | Need::Split { .. } => "proof",
            Need::Stable { .. } => "stable",
            Need::Window { .. } => "window",
            Need::Freeze { .. } => "freeze",
            Need::Approval { .. } => "approval",
            Need::Metric { .. } | Need::Held { .. } => "metrics",
            Need::Webhook { .. } => "webhook",
            Need::Resume => "pause",
            Need::Queue { .. } => "queue",
            Need::After { .. } => "after",
        }
    }

    /// Whether only the calendar can meet it: such a wait is nobody's fault and is never late.
    fn is_calendar(&self) -> bool {
        matches!(self, Need::Window { .. } | Need::Freeze { .. })
    }
}

impl Rollout {
    /// What the next step needs, met or not, in the order people should read it.
    pub fn gates(&self, facts: &Facts<'_>) -> Vec<Gate> {
        match self.record.phase {
            Phase::Pending => self.start_gates(facts),
            Phase::Progressing | Phase::Paused(_) => self.step_gates(facts),
            Phase::Promoting
            | Phase::RollingBack(_)
            | Phase::Succeeded
            | Phase::RolledBack
            | Phase::Aborted
            | Phase::Superseded => Vec::new(),
        }
    }

    fn start_gates(&self, facts: &Facts<'_>) -> Vec<Gate> {
        let mut gates = Vec::new();
        if let Some(ahead) = facts.ahead {
            gates.push(Gate { need: Need::Queue { ahead }, met: false });
        }
        if let Some(after) = &self.record.after {
            let served = after.served.elapsed(facts.at.up);
            gates.push(Gate { need: Need::After { served, of: after.span }, met: served >= after.span });
        }
        if self.plan.weight_at(1).is_some() {
            gates.extend(self.calendar_gate(facts.at));
        }
        gates
    }

    fn step_gates(&self, facts: &Facts<'_>) -> Vec<Gate> {
        let record = &self.record;
        let mut gates = Vec::new();
        match self.current_step() {
            Some(Step::Bake(of)) => {
                let served = self.warmed(facts, *of, record.baked.elapsed(facts.at.up));
                gates.push(Gate { need: Need::Bake { served, of: *of }, met: served >= *of });
            }
            Some(Step::Pause) => gates.push(Gate { need: Need::Resume, met: record.released }),
            Some(Step::Approval(approval)) => {
                let (given, of) = (record.approvals.len(), approval.min_approvers);
                gates.push(Gate { need: Need::Approval { given, of }, met: self.is_approved() });
            }
            Some(Step::Analysis(step)) => {
                let (held, of) = (record.answers.held, step.span);
                gates.push(Gate { need: Need::Held { held, of }, met: held >= of });
            }
            Some(Step::Webhook(hook)) => {
                let need =
                    Need::Webhook { tried: record.answers.hook.tried, of: hook.retries.saturating_add(1) };
                gates.push(Gate { need, met: record.answers.hook.has_agreed() });
            }
            Some(Step::SetWeight(_)) | None => {}
        }
        if record.committed.as_ref().is_some_and(|committed| !committed.served) {
            gates.push(Gate { need: Need::Served, met: false });
        }
        let landing = self.landing(record.step + 1);
        // More traffic, and the promotion, both want every metric's newest answer to be a good one.
        if matches!(self.plan.step(landing.step), None | Some(Step::SetWeight(_))) {
            gates.extend(self.metric_gates(facts.at));
        }
        // After the last step comes the promotion, which gives more to a canary that another hand has left with a part.
        let is_last = self.plan.step(landing.step).is_none();
        let next = if is_last { self.promoted_from_part() } else { self.plan.weight_at(landing.step) };
        let Some(next) = next else { return gates };
        let weight_step = landing.passed.map_or(record.weight_step, |(step, _)| step);
        let of = if is_last { self.plan.bake } else { self.plan.default_bake_after(weight_step) };
        if self.share() > Weight::ZERO && of > Duration::ZERO {
            let served = self.warmed(facts, of, record.served.elapsed(facts.at.up));
            gates.push(Gate { need: Need::Bake { served, of }, met: served >= of });
        }
        if self.share() > Weight::ZERO || self.proves_by_copies() {
            gates.extend(self.proof_gate(facts, next));
            gates.extend(self.ground_gates(facts));
        }
        gates.extend(self.calendar_gate(facts.at));
        gates
    }

    /// All traffic, where the promotion would give it to a canary that another hand has left with a part of it.
    pub(super) fn promoted_from_part(&self) -> Option<Weight> {
        let share = self.share();
        (share > Weight::ZERO && share < Weight::FULL).then_some(Weight::FULL)
    }

    /// What counts of the time served towards a bake, which begins when the canary has warmed up.
    fn warmed(&self, facts: &Facts<'_>, bake: Duration, served: Duration) -> Duration {
        served.saturating_sub(self.bake_delay(facts, bake))
    }

    /// How long a bake waits for the canary's warm-up: three times as long as itself at most.
    fn bake_delay(&self, facts: &Facts<'_>, bake: Duration) -> Duration {
        let longest = BAKES_OF_WARM_UP * bake;
        match facts.evidence {
            Some((evidence, settings)) if evidence.cold(settings).is_some() => longest,
            Some((evidence, settings)) => evidence.warmed_for(settings).min(longest),
            None => Duration::ZERO,
        }
    }

    /// One gate for every metric that decides; an answer counts until the next one is due.
    fn metric_gates(&self, at: Moment) -> Vec<Gate> {
        let deciding = self.metrics_in_force().into_iter().filter(|metric| !metric.dry_run);
        let gate = |metric: &crate::plan::Metric| {
            let last = self.record.answers.metrics.get(&metric.name).and_then(|state| state.last.as_ref());
            let passed = last.is_some_and(|last| last.judgement == Judgement::Pass);
            let is_fresh = self.asks_metric_at(metric).is_some_and(|next| next > at.up);
            Gate { need: Need::Metric { name: metric.name.clone() }, met: passed && is_fresh }
        };
        deciding.map(gate).collect()
    }

    fn proof_gate(&self, facts: &Facts<'_>, next: Weight) -> Option<Gate> {
        let (evidence, settings) = facts.evidence?;
        let limit = settings.ln_proof_limit()?;
        let ln_proof = evidence.ln_proof().unwrap_or(0.0);
        let met = evidence.is_proven(settings);
        Some(Gate { need: Need::Proof { next, progress: (ln_proof / limit).clamp(0.0, 1.0) }, met })
    }

    /// What proof stands on: these are said only where they fail.
    fn ground_gates(&self, facts: &Facts<'_>) -> Vec<Gate> {
        let Some((evidence, settings)) = facts.evidence else { return Vec::new() };
        let split = evidence
            .is_split_wrong()
            .then(|| Need::Split { weight: self.share(), found: evidence.found_share().unwrap_or_default() });
        let stable = evidence
            .stable_hold(settings)
            .map(|hold| Need::Stable { failing_share: hold.failing_share, better: hold.better });
        split.into_iter().chain(stable).map(|need| Gate { need, met: false }).collect()
    }

    fn calendar_gate(&self, at: Moment) -> Option<Gate> {
        let windows = &self.plan.windows;
        if windows.allow.is_empty() && windows.freeze.is_empty() {
            return None;
        }
        Some(match windows.closed_at(at.wall, &self.plan.time_zone) {
            Some(Closed::Window { until }) => Gate { need: Need::Window { until }, met: false },
            Some(Closed::Freeze { until }) => Gate { need: Need::Freeze { until }, met: false },
            None => Gate { need: Need::Window { until: None }, met: true },
        })
    }

    /// The event that time and evidence alone now lead to, if any.
    ///
    /// Harm comes first, whatever else is due.
    pub fn due(&self, facts: &Facts<'_>) -> Option<Event> {
        let record = &self.record;
        if record.phase.is_final() {
            return None;
        }
        if let Some(harm) = self.harm_found(facts) {
            return Some(Event::HarmFound { harm });
        }
        if let Some(revision) = self.newly_served(facts) {
            return Some(Event::RoutingServed { revision });
        }
        let gates = self.gates(facts);
        let open = gates.iter().all(|gate| gate.met);
        match &record.phase {
            Phase::Pending if open => Some(match facts.base {
                Ok(base) => Event::Began { base: base.clone() },
                Err(why) => Event::Unstartable { why: why.to_owned() },
            }),
            Phase::Progressing => self.exposure_reached(facts).or_else(|| {
                if open {
                    let held = gates.iter().map(|gate| gate.need.kind().to_owned()).collect();
                    return Some(Event::Passed { step: record.step, held });
                }
                self.overdue(facts, &gates)
            }),
            Phase::Pending
            | Phase::Paused(_)
            | Phase::Promoting
            | Phase::RollingBack(_)
            | Phase::Succeeded
            | Phase::RolledBack
            | Phase::Aborted
            | Phase::Superseded => None,
        }
    }

    /// The revision counted on, once routers serve it and while nobody else's stands in its way.
    fn newly_served(&self, facts: &Facts<'_>) -> Option<Revision> {
        let record = &self.record;
        let committed = record.committed.as_ref().filter(|_| record.drift.is_none())?;
        let known = committed.served && (record.served.is_running() || !record.phase.is_active());
        (!known && facts.serving == Some(committed.revision)).then_some(committed.revision)
    }

    fn harm_found(&self, facts: &Facts<'_>) -> Option<Harm> {
        if !self.record.is_armed() {
            return None;
        }
        let limit = self.plan.max_exposure.failures;
        let Counts { requests, failures } = facts.exposure;
        if let Some(limit) = limit.filter(|limit| failures >= *limit) {
            return Some(Harm::Exposure { failures, limit });
        }
        let (evidence, settings) = facts.evidence?;
        // A paused rollout is not paused again for harm; if a person lifts the pause, harm pauses it then.
        let waits = matches!(self.record.phase, Phase::Paused(_)) && self.plan.on_failure == OnFailure::Pause;
        if waits || self.record.harm_reported || !evidence.is_harmful() {
            return None;
        }
        Some(Harm::Evidence {
            ln_harm: evidence.ln_harm(settings),
            ln_harm_limit: settings.ln_harm_limit(),
            requests,
            failures,
            copies: facts.copies,
            slowness: evidence.slowness(settings),
        })
    }

    fn exposure_reached(&self, facts: &Facts<'_>) -> Option<Event> {
        let limit = self.plan.max_exposure.requests?;
        let requests = facts.exposure.requests;
        let reached = requests >= limit && !self.record.exposure_waived;
        reached.then_some(Event::ExposureReached { requests, limit })
    }

    fn overdue(&self, facts: &Facts<'_>, gates: &[Gate]) -> Option<Event> {
        let step = self.record.step;
        let waited = self.record.waited.elapsed(facts.at.up);
        if let Some(Step::Approval(approval)) = self.current_step()
            && !self.is_approved()
        {
            return (waited >= approval.timeout).then_some(Event::ApprovalTimedOut { step });
        }
        let late = waited >= self.plan.step_deadline.after;
        let only_calendar = gates.iter().filter(|gate| !gate.met).all(|gate| gate.need.is_calendar());
        (late && !only_calendar).then_some(Event::StepLate { step })
    }

    /// When to look again if nothing else happens: on the daemon's clock, and on the wall.
    pub fn deadline(&self, facts: &Facts<'_>) -> (Option<Uptime>, Option<Timestamp>) {
        let gates = self.gates(facts);
        let record = &self.record;
        let mut up: Vec<Uptime> = self.next_errand(facts.at.up).into_iter().collect();
        let mut wall = None;
        for gate in gates.iter().filter(|gate| !gate.met) {
            match &gate.need {
                Need::Bake { of, .. } => {
                    let watch: &Stopwatch = match self.current_step() {
                        Some(Step::Bake(_)) => &record.baked,
                        _ => &record.served,
                    };
                    up.extend(watch.reaches(*of + self.bake_delay(facts, *of)));
                }
                Need::After { of, .. } => {
                    up.extend(record.after.as_ref().and_then(|after| after.served.reaches(*of)));
                }
                Need::Window { until } | Need::Freeze { until } => wall = *until,
                // These end by news, or with the step's time, below.
                Need::Served
                | Need::Proof { .. }
                | Need::Split { .. }
                | Need::Stable { .. }
                | Need::Approval { .. }
                | Need::Metric { .. }
                | Need::Held { .. }
                | Need::Webhook { .. }
                | Need::Resume
                | Need::Queue { .. } => {}
            }
        }
        if record.phase == Phase::Progressing {
            let limit = match self.current_step() {
                Some(Step::Approval(approval)) if !self.is_approved() => approval.timeout,
                _ => self.plan.step_deadline.after,
            };
            up.extend(record.waited.reaches(limit));
        }
        (up.into_iter().filter(|due| *due > facts.at.up).min(), wall)
    }

    /// What it waits for, for people; `None` when it waits for nothing or has ended.
    pub fn waiting_for(&self, facts: &Facts<'_>) -> Option<WaitingFor> {
        let record = &self.record;
        if let Phase::Paused(pause) = &record.phase {
            return Some(self.paused_for(pause.cause, pause.since));
        }
        let gates = self.gates(facts);
        let gate = gates.iter().find(|gate| !gate.met && gate.need != Need::Served)?;
        let (until, then) = self.until_and_then(facts, &gate.need);
        Some(WaitingFor {
            kind: gate.need.kind(),
            since: record.step_since,
            until,
            then,
            needs: self.needs(facts, &gate.need),
        })
    }

    fn paused_for(&self, cause: PauseCause, since: Timestamp) -> WaitingFor {
        let (resume, abort, approve) =
            (self.command("resume"), self.command("abort"), self.command("approve"));
        let (kind, needs) = match (cause, &self.record.drift) {
            (_, Some(drift)) => (
                "drift",
                format!(
                    "{} changed the alias from {} to {}: `{resume} --restore` or `{resume} --adopt`",
                    drift.by, drift.expected, drift.found
                ),
            ),
            (PauseCause::Plan, None) => ("pause", format!("the plan pauses here: `{resume}`")),
            (PauseCause::Harm, None) => {
                ("pause", format!("harm was found: `{abort}`, or `{resume}` to go on anyway"))
            }
            (PauseCause::Inconclusive, None) => {
                ("pause", format!("{}; `{resume}` asks anew, `{abort}` ends it", record_reason(self)))
            }
            (PauseCause::ApprovalTimeout, None) => {
                ("pause", format!("nobody approved in time: `{resume}`, then `{approve}`"))
            }
            _ => ("pause", format!("`{resume}`")),
        };
        WaitingFor { kind, since, until: None, then: "nothing happens by itself".to_owned(), needs }
    }

    fn until_and_then(&self, facts: &Facts<'_>, need: &Need) -> (Option<Timestamp>, String) {
        let record = &self.record;
        let in_span = |span: Duration| Some(facts.at.wall.plus(span));
        let onward = self.onward();
        match need {
            Need::Bake { served, of } => (in_span(of.saturating_sub(*served)), onward),
            Need::After { served, of } => (in_span(of.saturating_sub(*served)), onward),
            Need::Window { until } | Need::Freeze { until } => (*until, onward),
            Need::Approval { .. } => {
                let Some(Step::Approval(approval)) = self.current_step() else { return (None, onward) };
                let left = approval.timeout.saturating_sub(record.waited.elapsed(facts.at.up));
                (in_span(left), timeout_name(approval.on_timeout).to_owned())
            }
            Need::Proof { .. }
            | Need::Split { .. }
            | Need::Stable { .. }
            | Need::Metric { .. }
            | Need::Held { .. }
            | Need::Webhook { .. } => {
                let deadline = self.plan.step_deadline;
                let left = deadline.after.saturating_sub(record.waited.elapsed(facts.at.up));
                (in_span(left), timeout_name(deadline.then).to_owned())
            }
            Need::Served | Need::Resume | Need::Queue { .. } => (None, onward),
        }
    }

    /// What comes next, in two or three words.
    pub fn onward(&self) -> String {
        match self.plan.step(self.landing(self.record.step + 1).step) {
            None => "promote".to_owned(),
            Some(Step::SetWeight(Weight::ZERO)) => "send copies".to_owned(),
            Some(Step::SetWeight(weight)) => format!("go to {weight}"),
            Some(step) => format!("go on to {}", step.kind()),
        }
    }

    /// What proof still takes: requests, and time at the present rate.
    fn proof_in_words(&self, facts: &Facts<'_>, next: Weight) -> String {
        let more = facts
            .evidence
            .and_then(|(evidence, settings)| evidence.more_clean_requests(settings, self.share()));
        let Some(more) = more else {
            return format!("proof before {next} that no number of requests at this weight can give");
        };
        if let Some((evidence, settings)) = facts.evidence
            && evidence.users(settings).is_some()
        {
            let look = match evidence.next_look(settings) {
                Some(look) => format!("looked at next in {}", human(whole_seconds(look.since(facts.at.up)))),
                None => "looked at once users come".to_owned(),
            };
            return format!("~{more} more canary users without a failure before {next}; {look}");
        }
        let time = match facts.canary_requests_per_s.filter(|rate| *rate > 0.0) {
            Some(rate) => {
                let seconds = (more as f64 / rate).ceil() as u64;
                format!(", ~{} at the present rate", human(Duration::from_secs(seconds)))
            }
            None => self.no_traffic_in_words(),
        };
        let what = if self.proves_by_copies() { "clean copies" } else { "clean canary requests" };
        format!("~{more} more {what} before {next}{time}")
    }

    /// A need in words, with what to type where a person meets it.
    pub fn needs(&self, facts: &Facts<'_>, need: &Need) -> String {
        let words = self.in_words(facts, need);
        match need {
            Need::Approval { .. } => format!("{words}: `{}`", self.command("approve")),
            Need::Resume => format!("{words}: `{}`", self.command("resume")),
            Need::Window { until: None } | Need::Freeze { until: None } => {
                format!("{words}; `{} --reason …` passes it", self.command("promote"))
            }
            Need::Served
            | Need::Bake { .. }
            | Need::Proof { .. }
            | Need::Split { .. }
            | Need::Stable { .. }
            | Need::Window { .. }
            | Need::Freeze { .. }
            | Need::Metric { .. }
            | Need::Held { .. }
            | Need::Webhook { .. }
            | Need::Queue { .. }
            | Need::After { .. } => words,
        }
    }

    /// A need in words, with what is left of it.
    pub fn in_words(&self, facts: &Facts<'_>, need: &Need) -> String {
        match need {
            Need::Served => "the router to confirm the weight".to_owned(),
            Need::Bake { served, of } => {
                let cold = facts.evidence.and_then(|(evidence, settings)| evidence.cold(settings));
                if let Some(cold) = cold.filter(|_| served.is_zero()) {
                    return format!(
                        "the canary to warm up at {}: {} more requests and {}, then the bake ({})",
                        self.share(),
                        cold.requests,
                        human(whole_seconds(cold.span)),
                        human(*of)
                    );
                }
                format!(
                    "{} more at {} (bake {})",
                    human(whole_seconds(of.saturating_sub(*served))),
                    self.share(),
                    human(*of)
                )
            }
            Need::Proof { next, .. } => self.proof_in_words(facts, *next),
            Need::Split { weight, found } => format!(
                "the requests to be split as the weight says: the canary has {:.2}% of them at {weight}; somebody \
                 between the clients and serin chooses versions too",
                found * 100.0
            ),
            Need::Stable { failing_share, better } => format!(
                "the stable version to be well, or proof that the canary is better: {:.1}% of stable's requests fail \
                 (proof at {:.0}%)",
                failing_share * 100.0,
                better * 100.0
            ),
            Need::Window { until } => match until {
                Some(until) => format!("its window, which opens {until}"),
                None => "a window that never opens again".to_owned(),
            },
            Need::Freeze { until } => match until {
                Some(until) => format!("the freeze to end, {until}"),
                None => "a freeze that never ends".to_owned(),
            },
            Need::Approval { given, of } => {
                let who = match self.current_step() {
                    Some(Step::Approval(approval)) if !approval.approvers.is_empty() => {
                        format!(" of {}", approval.approvers.join(", "))
                    }
                    _ => String::new(),
                };
                let more = of.saturating_sub(*given as u32);
                let approvals = if more == 1 { "approval" } else { "approvals" };
                format!("{more} more {approvals}{who} ({given} of {of} given)")
            }
            Need::Metric { name } => self.metric_in_words(facts.at, name),
            Need::Held { held, of } => {
                let mut parts = vec![format!(
                    "{} more of good answers (for {})",
                    human(of.saturating_sub(*held)),
                    human(*of)
                )];
                let step = self.step_metrics();
                parts.extend(step.iter().map(|metric| self.metric_in_words(facts.at, &metric.name)));
                parts.join("; ")
            }
            Need::Webhook { tried, of } => {
                let next = match &self.record.answers.hook.last {
                    Some((_, answer)) => format!("; it {answer}"),
                    None => String::new(),
                };
                format!("the web hook to answer 2xx (asked {tried} of at most {of} times{next})")
            }
            Need::Resume => "the plan pauses here".to_owned(),
            Need::Queue { ahead } => format!("rollout {} to end", ahead.short()),
            Need::After { served, of } => {
                let target =
                    self.record.after.as_ref().map_or(String::new(), |after| after.target.to_string());
                format!("{} more of v{} on {target}", human(of.saturating_sub(*served)), self.record.canary)
            }
        }
    }
}

/// Why a rollout stands where it does, for a sentence that goes on.
fn record_reason(rollout: &Rollout) -> &str {
    if rollout.record.reason.is_empty() { "something gave no verdict" } else { &rollout.record.reason }
}

fn timeout_name(timeout: Timeout) -> &'static str {
    match timeout {
        Timeout::Rollback => "roll back",
        Timeout::Pause => "pause",
    }
}

/// What is left of a wait, to the second, and never nothing while something is left.
fn whole_seconds(left: Duration) -> Duration {
    Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0))
}
