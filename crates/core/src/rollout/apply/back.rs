//! The ways back: the canary taken out, a version named by a person, and the end.

use super::super::event::Effect;
use super::super::state::{Ending, Phase, Rollout};
use super::{Answer, Change, refuse, unchanged};
use crate::lambda::alias::Routing;
use crate::lambda::function::Revision;
use crate::model::arn::VersionNumber;

impl Rollout {
    /// Why it ended, where a person ended it; whose the alias then is, if not the rollout's.
    pub(super) fn aborted_by_hand(&self) -> String {
        match &self.record.drift {
            Some(drift) if !drift.found.names(self.record.canary) => {
                format!("aborted by hand; {} had changed the alias to {}", drift.by, drift.found)
            }
            _ => "aborted by hand".to_owned(),
        }
    }
}

impl Change<'_> {
    /// Takes the canary out of the routing, or ends at once where it is not in it.
    pub(super) fn roll_back(mut self, ending: Ending, reason: String) -> Answer {
        let record = &self.next.record;
        let (stable, canary) = (record.stable, record.canary);
        if ending == Ending::RolledBack || ending == Ending::Aborted {
            self.effects.push(Effect::Remember { ending });
        }
        match self.next.record.known_routing() {
            Some(routing) if routing.names(canary) => {
                self.enter_phase(Phase::RollingBack(ending), reason);
                self.stop_watches();
                self.route(routing.without(canary, stable));
                self.done()
            }
            _ => self.finish(ending, reason),
        }
    }

    /// Gives one version all the traffic, whatever the alias is by now, and ends.
    pub(super) fn roll_back_by_hand(mut self, to: Option<VersionNumber>) -> Answer {
        let record = &self.next.record;
        let target = Routing::only(to.unwrap_or(record.stable));
        let reason = match to {
            Some(to) => format!("rolled back to v{to} by hand"),
            None => "rolled back by hand".to_owned(),
        };
        // The canary itself may be named; then it is nothing to be remembered as taken out.
        let ending = match to == Some(record.canary) {
            true => Ending::Superseded,
            false => Ending::Aborted,
        };
        let is_there = record.known_routing() == Some(target);
        self.next.record.ended_on = to;
        if is_there {
            return self.finish(ending, reason);
        }
        if ending == Ending::Aborted {
            self.effects.push(Effect::Remember { ending });
        }
        self.enter_phase(Phase::RollingBack(ending), reason);
        self.stop_watches();
        self.route(target);
        self.done()
    }

    /// Answers a rollback while another one is not yet known to be served: only a version that is named changes it.
    pub(super) fn roll_back_further(mut self, to: Option<VersionNumber>) -> Answer {
        let record = &self.next.record;
        let target = Routing::only(to.unwrap_or(record.stable));
        let known = record.known_routing();
        if known == Some(target) {
            return unchanged("is rolling back already");
        }
        let Some(to) = to else {
            let left = known.map_or_else(String::new, |known| format!(", and leaves the alias on {known}"));
            let (stable, alias) = (record.stable, &record.alias);
            return refuse(
                "rolled back",
                &format!("it is ending already{left}"),
                &format!("`serin rollback {alias} --to {stable}` puts all traffic on v{stable}"),
            );
        };
        let (phase, reason) = match to == record.canary {
            true => (Phase::RollingBack(Ending::Superseded), &record.reason),
            false => (record.phase.clone(), &record.reason),
        };
        let reason = format!("{reason}; then rolled back to v{to} by hand");
        self.next.record.ended_on = Some(to);
        self.enter_phase(phase, reason);
        self.route(target);
        self.done()
    }

    pub(super) fn rolled_back(mut self, ending: Ending, revision: Revision) -> Answer {
        if !self.confirm(revision) {
            return unchanged("waits for another revision to be served");
        }
        let reason = std::mem::take(&mut self.next.record.reason);
        self.finish(ending, reason)
    }

    /// Ends without touching the alias.
    pub(super) fn finish(mut self, ending: Ending, reason: String) -> Answer {
        if ending == Ending::Aborted
            && !self.effects.iter().any(|effect| matches!(effect, Effect::Remember { .. }))
        {
            self.effects.push(Effect::Remember { ending });
        }
        self.stop_watches();
        self.next.record.drift = None;
        self.enter_phase(ending.into(), reason);
        self.done()
    }
}
