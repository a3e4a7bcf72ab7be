//! What a verb is about: a rollout, or an alias whatever moves it.

use uuid::Uuid;

use super::operate::{self, find};
use super::{Refusal, Reply, RolloutRef, Verb, refusal, rollback};
use crate::world::draft::{By, Draft};

/// Does what a verb says, and says what the alias then is; a refusal says it too.
pub(super) fn operate(
    draft: &mut Draft<'_>,
    by: By<'_>,
    target: &RolloutRef,
    verb: &Verb,
    fresh: Uuid,
) -> Result<Reply, Refusal> {
    let named = match (target, verb) {
        // Going back is the alias's, whatever rollout it has or has not.
        (RolloutRef::OfAlias(id), Verb::Rollback { .. }) => (id.clone(), None),
        _ => {
            let rollout = find(draft, target)?;
            (rollout.record.alias.clone(), Some(rollout))
        }
    };
    let (id, rollout) = named;
    let state = draft.world.alias(&id).cloned();
    if let Some(why) = state.as_ref().and_then(|state| state.quarantine.clone()) {
        return Err(Refusal::Quarantined(why));
    }
    let before = state.as_ref().map(|state| state.alias.routing);
    let done = match (verb, rollout, state) {
        (Verb::Rollback { .. }, _, None) | (_, None, None) => Err(Refusal::AliasNotFound(id.clone())),
        (Verb::Rollback { to: Some(to) }, _, Some(state)) => rollback::to(draft, by, &state, *to, fresh),
        (Verb::Rollback { to: None }, rollout, Some(state)) => {
            rollback::back(draft, by, &state, rollout.as_ref(), fresh)
        }
        (Verb::Retry, Some(rollout), _) => operate::retry(draft, by, &rollout, fresh),
        (_, Some(rollout), _) => operate::take(draft, by, &rollout, verb, fresh),
        (_, None, Some(_)) => Err(Refusal::Conflict(format!("{id} has no rollout"))),
    };
    done.map_err(|refusal| refusal::with_routing(refusal, &id, before))
}
