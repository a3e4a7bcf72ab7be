//! Another process goes on: every live rollout's history says so.

use super::Reply;
use crate::journal::Happening;
use crate::world::draft::{About, By, Draft};

pub(super) fn tell(draft: &mut Draft<'_>, by: By<'_>, from: &str, to: &str) -> Reply {
    let live: Vec<_> = draft.world.live.iter().filter_map(|id| draft.world.rollout(*id).cloned()).collect();
    for rollout in live {
        let alias = &rollout.record.alias;
        let about = About { function: &alias.function, alias: Some(alias), rollout: Some(rollout.record.id) };
        let what = Happening::TakenOver { from: from.to_owned(), to: to.to_owned() };
        draft.journal(by, about, what, None);
    }
    Reply::Kept
}
