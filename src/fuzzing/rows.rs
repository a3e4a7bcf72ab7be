//! Rows of the store, a line each: a table, and behind tabs the columns, numbers where they are digits.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::store::loaded_of;
use serin_core::engine::core::{Core, Outside};
use serin_core::lambda::alias::Routing;
use serin_core::model::time::{Moment, Timestamp};
use serin_core::world::boot;
use serin_core::world::plans::PlanBook;

const TURNS: u64 = 3;

/// Whatever the rows say, the daemon boots; who is quarantined is at stable, and who has a canary that a rollout moves
/// is judged. Then it decides, and what it decides about is what it has.
pub(super) fn run(data: &[u8]) {
    let rows: Vec<(&str, Vec<&[u8]>)> = (data.split(|byte| *byte == b'\n'))
        .filter_map(|line| {
            let mut parts = line.split(|byte| *byte == b'\t');
            Some((std::str::from_utf8(parts.next()?).ok()?, parts.collect()))
        })
        .collect();
    let mut loaded = loaded_of(&rows);
    let (up, days) = (loaded.uptime, std::mem::take(&mut loaded.days));
    let (world, judges, _) = boot::build(loaded);
    for state in world.aliases.values() {
        if state.quarantine.is_some() {
            assert_eq!(state.alias.routing, Routing::only(state.alias.routing.function_version));
        }
        if let (Some(_), Some(active)) = (state.alias.routing.additional, state.active) {
            assert!(judges.contains_key(&active), "{} is judged by nobody", state.alias.id);
        }
    }
    let aliases: BTreeSet<_> = world.aliases.keys().cloned().collect();
    let mut core = Core::new(world, judges).with_days(days);
    let book = PlanBook::default();
    for turn in 0..TURNS {
        let span = Duration::from_secs(turn * 3600);
        let at = Moment { up: up.plus(span), wall: Timestamp(1_800_000_000_000).plus(span) };
        let world = core.world.clone();
        let serving = |id: &_| world.alias(id).map(|state| state.alias.revision);
        let outside = Outside {
            book: &book,
            serving: &serving,
            pinned: &|_| None,
            past: &|_| None,
            before: &|_, _| None,
            tried: &|_, _| 0,
            replied: &|_| Ok(None),
        };
        let round = core.round(at, &[], &aliases, &outside);
        core.absorb(round.finished, at, &outside);
        for (id, state) in &core.world.aliases {
            assert_eq!(*id, state.alias.id);
            if state.quarantine.is_some() {
                assert!(state.alias.routing.additional.is_none(), "{id} is quarantined, and has a canary");
            }
        }
    }
}
