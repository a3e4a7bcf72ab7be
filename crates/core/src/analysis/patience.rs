//! Patience: do clients give up on this canary more often than on stable?
//!
//! A request that its client gives up before there is an answer is no failure: clients go away from healthy versions, too.
//! But one that hangs until they do is as bad as one that fails, and where latency is not judged nothing else would find
//! it. So such requests are counted by themselves, and compared as refusals are (`harm`).
//!
//! **Harm.** Let client `i` wait for `W_i` and version `v` take `R_i(v)` to its head. The request is given up if
//! `W_i < R_i(v)`. Which version it goes to is drawn by the weight, whatever `W_i` is, so where both versions answer alike,
//! `P(given up on the canary | F) = P(given up on stable | F)`, however impatient clients are, however that changes over the
//! day, and however many of one client's requests are given up at once. That is the null hypothesis of `harm`, with
//! `ACCEPTED` for what is accepted beyond it: stable is the reference for what clients do by themselves. A theorem, as for
//! failures; and as there what is under way is bounded (`bound`): once a request is answered nobody can give it up.
//!
//! Only who has waited for `LEAST_WAIT` counts. A plan that judges no latency accepts a slower canary, and where clients
//! leave at a hazard `h` a second, `h` times what it is slower by is given up more. So differences of answers that come
//! within a tenth of a second, which nobody notices, never count, and the added point leaves room for the others: a canary
//! that is `t` seconds slower keeps within it as long as `h t < 1 %`. Beyond that it is harm: its users go without answers.
//!
//! **Proof.** Nobody knows what would have become of a request that was left unanswered, so it proves nothing. Where
//! giving up is judged, who has waited counts as failed *on both versions*: what is proven is then that the share of
//! requests that fail or are given up is within the margin, which no hanging canary reaches. To leave them out instead would
//! prove the half that a canary answers which hangs on every second request. Where latency is judged, which finds what
//! hangs, and of whoever left sooner, they are left out on both versions: such a request is neither good nor bad.
//!
//! Copies have no client, so among requests that were set aside for them stable's count as ever: to call stable's given up
//! and the copies good would make a better canary of a worse one.
//!
//! Where users stick to a version it is their first requests at a weight that are compared, as for refusals; for the proof
//! those who gave up on theirs count among users who met a failure. Heuristic: who gave up and fails later counts twice.

use std::time::Duration;

use super::boundary::Margin;
use super::cohort::Tally;
use super::users::Users;
use super::{Arms, Counts};

/// Who leaves sooner says nothing of the version: nobody notices whether it takes so long.
pub const LEAST_WAIT: Duration = Duration::from_millis(100);

/// What is accepted of the canary against stable: what a plan accepts of refusals by default, which hang on clients, too.
pub const ACCEPTED: Margin = Margin { ratio: 1.5, added: 0.01 };

/// Requests of one version that were left without an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unanswered {
    /// Their clients had waited for `LEAST_WAIT`.
    pub gave_up: u64,
    /// Their clients left sooner.
    pub left: u64,
}

impl Unanswered {
    /// Those among these requests.
    pub fn of(tally: &Tally) -> Unanswered {
        Unanswered { gave_up: tally.gave_up, left: tally.left }
    }

    /// Those that came since.
    pub fn since(self, earlier: Unanswered) -> Unanswered {
        Unanswered {
            gave_up: self.gave_up.saturating_sub(earlier.gave_up),
            left: self.left.saturating_sub(earlier.left),
        }
    }

    /// What is left of these requests as proof; `is_judged` where giving up is.
    fn proving(self, counts: Counts, is_judged: bool) -> Counts {
        let (out, failed) = if is_judged { (self.left, self.gave_up) } else { (self.left + self.gave_up, 0) };
        Counts {
            requests: counts.requests.saturating_sub(out),
            failures: counts.failures.saturating_add(failed),
        }
    }
}

/// What is left of the requests of both versions as proof, of whom stable's and the canary's were left unanswered.
pub fn proving(arms: Arms, [stable, canary]: [Unanswered; 2], is_judged: bool) -> Arms {
    Arms { canary: canary.proving(arms.canary, is_judged), stable: stable.proving(arms.stable, is_judged) }
}

/// The same of users, by their first requests.
pub fn users_proving(users: Users, [stable, canary]: [Unanswered; 2], is_judged: bool) -> Users {
    // Who left may have failed as well, by another request.
    let whole = |counts: Counts| Counts { requests: counts.requests.max(counts.failures), ..counts };
    Users {
        canary: whole(canary.proving(users.canary, is_judged)),
        stable: whole(stable.proving(users.stable, is_judged)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gave_up_has_failed_where_that_is_judged_and_is_left_out_elsewhere() {
        let counts = |requests, failures| Counts { requests, failures };
        let arms = Arms { canary: counts(100, 1), stable: counts(1000, 2) };
        let unanswered = [Unanswered { gave_up: 20, left: 5 }, Unanswered { gave_up: 40, left: 10 }];
        assert_eq!(proving(arms, unanswered, true), Arms { canary: counts(90, 41), stable: counts(995, 22) });
        assert_eq!(proving(arms, unanswered, false), Arms { canary: counts(50, 1), stable: counts(975, 2) });
        // Nobody is proven by whom nobody answered.
        let hanging = Arms { canary: counts(40, 0), ..arms };
        let all = [Unanswered::default(), Unanswered { gave_up: 0, left: 40 }];
        assert_eq!(proving(hanging, all, true).canary, counts(0, 0));
    }

    #[test]
    fn users_who_failed_are_users_whatever_became_of_their_first_request() {
        let users = Users {
            canary: Counts { requests: 3, failures: 3 },
            stable: Counts { requests: 50, failures: 0 },
        };
        let unanswered = [Unanswered::default(), Unanswered { gave_up: 1, left: 2 }];
        let proving = users_proving(users, unanswered, true);
        assert_eq!((proving.canary.requests, proving.canary.failures), (4, 4));
        assert_eq!(proving.stable, users.stable);
    }
}
