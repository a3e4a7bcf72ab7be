//! The story: users come, a good version goes out on proof, a bad one comes back after a handful of failures.

use std::time::{Duration, Instant};

use anyhow::bail;

use super::load::Seen;
use super::stage::{self, BAD, Cast, GOOD, Stage, change};
use super::view::View;
use crate::api::wire::{Explanation, StartRequest};
use crate::cli::render::tone::Tone;
use crate::cli::session::Session;
use crate::clock;
use serin_core::model::time::Timestamp;

/// Between two looks at the rollout.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long version 1 serves alone before anything happens.
const OVERTURE: Duration = Duration::from_secs(3);
/// How long what ended stays to be looked at, and late answers have to come in.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a rollout may take: half a minute is usual, and a busy machine needs a few times that for as many requests.
const PATIENCE: Duration = Duration::from_secs(150);

/// What a rollout of the story came to.
pub struct Chapter {
    /// The version that was rolled out.
    pub cast: Cast,
    /// How the story has it end.
    pub told_phase: &'static str,
    /// The rollout, as it ended.
    pub ended: Explanation,
    /// How long it took.
    pub took: Duration,
}

/// What happened.
pub struct Story {
    /// The good version's rollout, then the bad one's.
    pub chapters: [Chapter; 2],
    /// What users saw of all versions.
    pub total: Seen,
    /// What users saw of the bad version.
    pub bad: Seen,
    /// How many requests a second were sent while it was told.
    pub requests_per_s: f64,
}

impl Story {
    /// Whether the good version succeeded and the bad one was rolled back.
    pub fn went_as_told(&self) -> bool {
        self.chapters.iter().all(|chapter| chapter.ended.status.phase == chapter.told_phase)
    }
}

/// Tells it.
pub fn tell(stage: &mut Stage, session: &Session) -> anyhow::Result<Story> {
    let mut view = View::new(session);
    view.title(&format!("{} requests/s reach {} through the router", stage::REQUESTS_PER_S, stage::TARGET))?;
    view.say("The plan, as a team would check it in, with a bake short enough to watch:")?;
    view.quote(stage::PLAN)?;
    let begun = clock::instant_now();
    view.title("1. Version 1 serves everybody")?;
    wait(stage, &mut view, OVERTURE)?;
    view.title("2. Version 2 is as good as version 1, and goes out on proof")?;
    let good = roll_out(stage, &mut view, GOOD, "Succeeded")?;
    wait(stage, &mut view, PAUSE)?;
    view.title("3. Version 3 fails one request in five, and is taken back")?;
    let bad = roll_out(stage, &mut view, BAD, "RolledBack")?;
    wait(stage, &mut view, PAUSE)?;
    let total = stage.load.total();
    let told = begun.elapsed();
    Ok(Story {
        chapters: [good, bad],
        total,
        bad: stage.load.seen().get(BAD.number).copied().unwrap_or_default(),
        requests_per_s: total.requests as f64 / told.as_secs_f64(),
    })
}

/// Lets time pass.
fn wait(stage: &Stage, view: &mut View<'_>, span: Duration) -> anyhow::Result<()> {
    let begun = clock::instant_now();
    while begun.elapsed() < span {
        stage.check_signals()?;
        std::thread::sleep(LOOK_EVERY);
    }
    view.users(&stage.load.seen())
}

fn roll_out(
    stage: &Stage,
    view: &mut View<'_>,
    cast: Cast,
    told_phase: &'static str,
) -> anyhow::Result<Chapter> {
    stage.publish(cast)?;
    let request = StartRequest {
        plan: stage::FUNCTION.to_owned(),
        to: Some(cast.number.to_owned()),
        ..StartRequest::default()
    };
    let reply = stage.client.start(&request, &change("a version to roll out"))?;
    let id = reply.id.as_deref().unwrap_or(stage::TARGET);
    let begun = clock::instant_now();
    loop {
        let explanation = stage.client.explain(id)?;
        let is_final = explanation.status.is_final();
        view.rollout(&explanation, &stage.load.seen(), is_final)?;
        if is_final {
            let tone = if explanation.status.phase == told_phase { Tone::Good } else { Tone::Bad };
            view.verdict(tone, &explanation)?;
            return Ok(Chapter { cast, told_phase, took: span_of(&explanation, begun), ended: explanation });
        }
        if begun.elapsed() > PATIENCE {
            bail!(
                "version {} has not ended after {} s: it is {}, and {}",
                cast.number,
                PATIENCE.as_secs(),
                explanation.status.phase,
                explanation.status.reason
            );
        }
        stage.check_signals()?;
        std::thread::sleep(LOOK_EVERY);
    }
}

/// From start to end as the daemon has it.
fn span_of(explanation: &Explanation, begun: Instant) -> Duration {
    let at = |text: &str| Timestamp::parse(text);
    match (at(&explanation.status.started_at), at(&explanation.status.updated_at)) {
        (Some(started), Some(ended)) => ended.since(started),
        _ => begun.elapsed(),
    }
}
