//! What `lint` says about whether a plan's gates can decide: how long each weight takes for a clean canary.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;

use super::render::Look;
use super::render::line::{Line, wrapped};
use super::render::words::{count, request_rate, span};
use super::session::Session;
use crate::cli::render::tone::Tone;
use crate::client::{Client, Counters};
use serin_core::model::weight::Weight;
use serin_core::plan::feasibility::{self, Decision, StepNeed, Suggestion};
use serin_core::plan::{Plan, Timeout};

/// Live counters are watched this long for the present rate.
const WATCHED: Duration = Duration::from_secs(5);

/// The traffic a plan is measured against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// Requests a second to the alias.
    pub requests_per_s: f64,
    /// The share of the stable version's requests that fails.
    pub stable_failures: f64,
    /// Users at a time, where somebody says so.
    pub users: Option<u64>,
}

/// Watches the live counters of each plan's alias for a few seconds, all at once.
pub fn live(plans: &[&Plan], session: &Session) -> anyhow::Result<Vec<Traffic>> {
    let client = session.client()?;
    let look = |plan: &&Plan| counters(&client, plan);
    let before: Vec<_> = plans.iter().map(look).collect::<anyhow::Result<_>>()?;
    std::thread::sleep(WATCHED);
    let after: Vec<_> = plans.iter().map(look).collect::<anyhow::Result<_>>()?;
    let between =
        |((stable, after), (_, before)): ((String, _), (String, _))| between(&stable, &before, &after);
    Ok(after.into_iter().zip(before).map(between).collect())
}

type ByVersion = BTreeMap<String, Counters>;

/// The alias's function version, and what was counted of each version.
fn counters(client: &Client, plan: &Plan) -> anyhow::Result<(String, ByVersion)> {
    let (function, alias) = (plan.target.function.to_string(), plan.target.alias.to_string());
    let cannot = || format!("cannot measure the traffic of {}", plan.target);
    let stable = client.alias(&function, &alias).with_context(cannot)?.routing.function_version;
    Ok((stable, client.counters(&function, &alias).with_context(cannot)?))
}

fn between(stable: &str, before: &ByVersion, after: &ByVersion) -> Traffic {
    let requests = |by: &ByVersion| by.values().map(|counters| counters.requests).sum::<u64>();
    let came = requests(after).saturating_sub(requests(before));
    let of_stable = after.get(stable).copied().unwrap_or_default();
    Traffic {
        requests_per_s: came as f64 / WATCHED.as_secs_f64(),
        stable_failures: of_stable.failures as f64 / of_stable.requests.max(1) as f64,
        users: None,
    }
}

/// What the gates of a plan need under some traffic.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Feasibility {
    rps: f64,
    stable_failures: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    users: Option<u64>,
    steps: Vec<StepFeasibility>,
    /// By when a canary as good as stable is through the plan nine times in ten; absent where it never is.
    seconds_p90: Option<u64>,
    deadline_seconds: u64,
    /// Whether that is before the deadline, bakes not counted where they alone are longer.
    in_time: bool,
    /// Weights that would be, where these are not; the quickest ones if none would.
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<Suggested>,
    #[serde(skip)]
    deadline: Duration,
    #[serde(skip)]
    deadline_then: &'static str,
}

/// Other weights for a plan.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Suggested {
    /// As `steps` takes them.
    steps: Vec<String>,
    seconds_p90: u64,
    fits: bool,
}

impl Suggested {
    fn of(suggestion: Suggestion) -> Suggested {
        let Suggestion { weights, time, fits } = suggestion;
        Suggested {
            steps: weights.iter().map(ToString::to_string).collect(),
            seconds_p90: time.as_secs(),
            fits,
        }
    }
}

/// One weight of a plan.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StepFeasibility {
    step: usize,
    weight: f64,
    next_weight: Option<f64>,
    bake_seconds: u64,
    /// Canary requests without a failure until the proof stands; absent where no proof is asked for.
    clean_canary_requests: Option<u64>,
    /// Canary requests by which the proof of a canary as good as stable stands nine times in ten.
    canary_requests_p90: Option<u64>,
    /// Users of the canary without a failure until the proof stands, where users are judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    clean_canary_users: Option<u64>,
    /// How long that is at this traffic; absent where it never stands, or is not asked for.
    proof_seconds: Option<u64>,
    /// Whether the gate can decide before the plan's step deadline.
    decidable: bool,
    #[serde(skip)]
    need: StepNeed,
}

impl Feasibility {
    /// Measures a plan.
    pub fn of(plan: &Plan, traffic: Traffic) -> Feasibility {
        let deadline = plan.step_deadline.after;
        let step = |need: StepNeed| {
            let time = need.time_to_decide(traffic.requests_per_s);
            let is_in_time = time.is_some_and(|time| time <= deadline);
            let decidable = match need.decision {
                Decision::Proof { .. } | Decision::Users { .. } => is_in_time,
                Decision::NeverProven | Decision::Unguarded => false,
                Decision::TimeAlone | Decision::CeilingAlone => true,
            };
            let (clean, p90) = match need.decision {
                Decision::Proof { clean_requests, p90_requests, .. } => {
                    (Some(clean_requests), Some(p90_requests.ceil() as u64))
                }
                _ => (None, None),
            };
            let clean_canary_users = match need.decision {
                Decision::Users { clean_users, .. } => Some(clean_users),
                _ => None,
            };
            StepFeasibility {
                step: need.step,
                weight: need.weight.fraction(),
                next_weight: need.next.map(|next| next.fraction()),
                bake_seconds: need.bake.as_secs(),
                clean_canary_requests: clean,
                canary_requests_p90: p90,
                clean_canary_users,
                proof_seconds: clean.and(time).map(|time| time.as_secs()),
                decidable,
                need,
            }
        };
        let among = |need: StepNeed| traffic.users.map_or(need, |users| need.among(users));
        let needs: Vec<StepNeed> =
            feasibility::of(plan, traffic.stable_failures).into_iter().map(among).collect();
        let time = feasibility::time_to_finish(&needs, traffic.requests_per_s);
        let bakes: Duration = needs.iter().map(|need| need.bake).sum();
        let in_time = time.is_some_and(|time| time <= deadline.saturating_add(bakes));
        let suggest = || {
            let flow = (traffic.requests_per_s, traffic.users);
            feasibility::suggest(plan, traffic.stable_failures, flow, deadline)
        };
        Feasibility {
            rps: traffic.requests_per_s,
            stable_failures: traffic.stable_failures,
            users: traffic.users,
            steps: needs.into_iter().map(step).collect(),
            seconds_p90: time.map(|time| time.as_secs()),
            deadline_seconds: deadline.as_secs(),
            in_time,
            suggestion: (!in_time).then(suggest).flatten().map(Suggested::of),
            deadline,
            deadline_then: match plan.step_deadline.then {
                Timeout::Pause => "pauses",
                Timeout::Rollback => "rolls back",
            },
        }
    }

    /// Whether a good canary is through before the deadline nine times in ten.
    pub fn is_in_time(&self) -> bool {
        self.in_time
    }

    /// A line for each weight, and how long all of it takes.
    pub fn lines(&self, look: &Look) -> Vec<Line> {
        let glyphs = look.glyphs();
        let head = format!(
            "  at {}, {:.2}% of stable's failing, a canary as good as that needs, nine times in ten:",
            request_rate(self.rps),
            self.stable_failures * 100.0
        );
        let mut lines = vec![Line::of(head)];
        for step in &self.steps {
            let (sign, tone) =
                if step.decidable { (glyphs.yes, Tone::Good) } else { (glyphs.no, Tone::Caution) };
            let way = match step.need.next {
                Some(next) if step.need.weight == Weight::ZERO => format!("copies {} {next}", glyphs.arrow),
                Some(next) => format!("{} {} {next}", step.need.weight, glyphs.arrow),
                None => step.need.weight.to_string(),
            };
            let mut line = Line::of("    ");
            line.tone(tone, sign).add(format!(" {way}")).pad_to(22);
            lines.extend(wrapped(line, Tone::Plain, &look.words(&self.said(step)), look));
        }
        let (sign, tone) = if self.in_time { (glyphs.yes, Tone::Good) } else { (glyphs.no, Tone::Bad) };
        let mut line = Line::of("    ");
        line.tone(tone, sign).add(" in all").pad_to(22);
        lines.extend(wrapped(line, Tone::Plain, &look.words(&self.said_of_all()), look));
        lines
    }

    fn said_of_all(&self) -> String {
        let in_words = |seconds: u64| span(Duration::from_secs(seconds));
        let has_users = self.steps.iter().any(|step| step.clean_canary_users.is_some());
        let Some(time) = self.seconds_p90 else {
            let way = if has_users {
                "; write `analysis: {proof: none}` and let bakes and an `approval` step decide"
            } else {
                ""
            };
            return format!("for ever: there is a gate that no traffic like this opens{way}");
        };
        if self.in_time && has_users {
            let first = in_words(time);
            return format!(
                "about {first} where users of the canary meet no failure, and longer by later looks where they do"
            );
        }
        if self.in_time {
            return format!("about {} at most", in_words(time));
        }
        let mut said =
            format!("about {} at most, more than the deadline of {}", in_words(time), span(self.deadline));
        if let Some(Suggested { steps, seconds_p90, fits }) = &self.suggestion {
            let steps = steps.join(", ");
            said.push_str(&if *fits {
                format!("; `steps: [{steps}]` would take {}", in_words(*seconds_p90))
            } else {
                format!(
                    "; no steps are quick enough, the quickest, `steps: [{steps}]`, would take {}: allow more with \
                     `stepDeadline`, or prove less with `analysis.proof.addedFailures`",
                    in_words(*seconds_p90)
                )
            });
        }
        said
    }

    fn said(&self, step: &StepFeasibility) -> String {
        let time = step.need.time_to_decide(self.rps);
        match (step.need.decision, time) {
            (Decision::Proof { p90_requests, .. }, Some(time)) => {
                let requests = count(p90_requests.ceil() as u64);
                let what = if step.need.weight == Weight::ZERO { "copies" } else { "canary requests" };
                let mut said = format!("{requests} {what} for the proof, about {}", span(time));
                if time > self.deadline {
                    said.push_str(&format!(
                        ": more than the step deadline of {}, so the rollout {} here",
                        span(self.deadline),
                        self.deadline_then
                    ));
                } else if step.need.bake > time {
                    said.push_str(&format!("; the bake of {} is longer", span(step.need.bake)));
                }
                said
            }
            (Decision::Proof { p90_requests, .. }, None) => format!(
                "{} canary requests for the proof, and none come: it cannot decide",
                count(p90_requests.ceil() as u64)
            ),
            (Decision::Users { clean_users, canary_users }, time) => {
                let needed = format!(
                    "{} canary users without a failure for the proof, looked at after one bake, two, four and so on",
                    count(clean_users)
                );
                match (canary_users, time) {
                    (Some(users), None) => format!(
                        "{needed}, and it has {}: it cannot decide, and the rollout {} here",
                        count(users),
                        self.deadline_then
                    ),
                    (Some(users), Some(_)) => format!("{needed}; it has {}", count(users)),
                    (None, _) => {
                        let all = (clean_users as f64 / step.need.weight.fraction()).ceil() as u64;
                        format!("{needed}: that takes {} users of the alias (`--users` says how many it has)", count(all))
                    }
                }
            }
            (Decision::NeverProven, _) => {
                "a proof that no traffic brings: the margin is too small for this failure rate".to_owned()
            }
            (Decision::TimeAlone, _) if step.need.bake.is_zero() => "nothing: no proof is asked for".to_owned(),
            (Decision::TimeAlone, _) => format!("its bake of {}: no proof is asked for", span(step.need.bake)),
            (Decision::CeilingAlone, _) => {
                "nothing: no stable traffic is left to compare with, the absolute ceilings guard".to_owned()
            }
            (Decision::Unguarded, _) => {
                "no evidence can decide here: nothing is left to compare with, and the plan sets no `failures.max`"
                    .to_owned()
            }
        }
    }
}

/// Refuses what would measure nothing.
pub fn check(rps: Option<f64>, against: bool, stable_failures: Option<f64>) -> anyhow::Result<()> {
    if stable_failures.is_some() && rps.is_none() {
        let why =
            if against { "the daemon's counters say it" } else { "nothing is measured without traffic" };
        bail!("--stable-failures goes with --rps: {why}");
    }
    Ok(())
}
