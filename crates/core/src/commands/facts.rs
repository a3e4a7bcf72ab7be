//! What a decision about a rollout may look at.

use super::refusal::Refusal;
use crate::lambda::alias::{AdditionalVersion, AliasId, Routing};
use crate::model::arn::{VersionId, VersionNumber};
use crate::model::weight::Weight;
use crate::plan::{Baseline, Plan};
use crate::rollout::{Base, Facts, Phase, Rollout, RolloutId};
use crate::world::draft::Draft;

/// Puts together what a rollout's next step may depend on.
pub fn with_facts<T>(draft: &Draft<'_>, rollout: &Rollout, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
    let id = &rollout.record.alias;
    let judge = draft.judge(rollout.record.id);
    // Whoever has begun begins from nothing more, and this is asked of every rollout at each look.
    let base = match rollout.record.phase {
        Phase::Pending => base_of(draft, rollout),
        Phase::Progressing
        | Phase::Paused(_)
        | Phase::Promoting
        | Phase::RollingBack(_)
        | Phase::Succeeded
        | Phase::RolledBack
        | Phase::Aborted
        | Phase::Superseded => Err("it has begun".to_owned()),
    };
    let ahead = ahead_of(draft, rollout);
    ask(&Facts {
        at: draft.at,
        evidence: judge.and_then(|judge| judge.verdict_basis()),
        exposure: judge.map(|judge| judge.evidence.exposure).unwrap_or_default(),
        copies: judge.map(|judge| judge.evidence.copies()).unwrap_or_default(),
        serving: (draft.context.serving)(id),
        canary_requests_per_s: judge.and_then(|judge| judge.canary_requests_per_s()),
        base: base.as_ref().map_err(String::as_str),
        ahead,
    })
}

/// The rollout that a Pending one is queued behind.
fn ahead_of(draft: &Draft<'_>, rollout: &Rollout) -> Option<RolloutId> {
    if rollout.record.phase != Phase::Pending {
        return None;
    }
    let state = draft.world.alias(&rollout.record.alias)?;
    state.active.filter(|active| *active != rollout.record.id)
}

/// What a rollout would begin from if it began now, or why it cannot.
pub(super) fn base_of(draft: &Draft<'_>, rollout: &Rollout) -> Result<Base, String> {
    let id = &rollout.record.alias;
    base(draft, id, rollout.record.canary, &rollout.plan).map_err(|refusal: Refusal| refusal.to_string())
}

/// What a rollout to `canary` by a plan would begin from, or why it cannot begin.
pub(super) fn base(
    draft: &Draft<'_>,
    id: &AliasId,
    canary: VersionNumber,
    plan: &Plan,
) -> Result<Base, Refusal> {
    let state = draft.world.alias(id).ok_or_else(|| Refusal::AliasNotFound(id.clone()))?;
    if let Some(why) = &state.quarantine {
        return Err(Refusal::Quarantined(why.clone()));
    }
    let routing = state.alias.routing;
    if routing.additional.is_some() {
        return Err(Refusal::Conflict(format!(
            "{id} already splits its traffic ({routing}); clear its routing config first, as in `serin alias update {id} \
             --clear-weights`"
        )));
    }
    let VersionId::Number(stable) = routing.function_version else {
        return Err(Refusal::Conflict(format!(
            "{id} points to $LATEST, which cannot stand beside another version; point it to a published one first, as in \
             `serin alias update {id} --version 1`"
        )));
    };
    if stable == canary {
        return Err(Refusal::Conflict(format!(
            "{id} already is on v{canary}; there is nothing to roll out before a newer version is published, as in `serin \
             function publish {} --url URL`",
            id.function
        )));
    }
    let function = draft.world.function(&id.function);
    let beside = AdditionalVersion { version: canary, weight: Weight::ZERO };
    Routing::checked(stable.into(), &[beside], |version| {
        function.and_then(|state| state.configuration(version))
    })
    .map_err(|fault| Refusal::Routing(id.clone(), fault))?;
    let is_process = |version: &VersionNumber| {
        let configuration = function.and_then(|state| state.configuration((*version).into()));
        configuration.is_some_and(|configuration| configuration.target.process().is_some())
    };
    let wants_copies = if plan.proves_by_copies() {
        Some(("`firstWeight: mirror`", "firstWeight: probe"))
    } else {
        (plan.baseline() == Some(Baseline::Mirror)).then_some(("`baseline: mirror`", "baseline: split"))
    };
    if let Some((key, instead)) = wants_copies
        && let Some(process) = [stable, canary].iter().find(|version| is_process(version))
    {
        return Err(Refusal::Conflict(format!(
            "{key} wants copies of the HTTP requests of {id}, and v{process} is a process, whose invocations are not copied; \
             write `{instead}` in the plan"
        )));
    }
    Ok(Base { stable, revision: state.alias.revision })
}
