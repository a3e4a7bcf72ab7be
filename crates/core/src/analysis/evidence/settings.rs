//! What a plan asks of the evidence.

use std::time::Duration;

use crate::analysis::boundary::Margin;
use crate::analysis::dispersion::DispersionRule;
use crate::analysis::latency::LatencySettings;
use crate::analysis::past::Past;
use crate::analysis::spells::Kind;

/// What a plan asks of the evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// What is accepted of the canary against stable.
    pub limit: Margin,
    /// What is accepted of it at all, as a share.
    pub ceiling: Option<f64>,
    /// What latency is accepted; `None` where none is judged.
    pub latency: Option<LatencySettings>,
    /// What refusals are accepted of the canary against stable; `None` where none are judged.
    pub refusals: Option<Margin>,
    /// How much oftener clients may give up on the canary than on stable; `None` where latency finds what hangs.
    pub patience: Option<Margin>,
    /// alpha.
    pub false_rollback_rate: f64,
    /// Budget B and beta; `None` when no proof is asked for.
    pub proof: Option<ProofSettings>,
    /// By how much failures vary more than independent ones would.
    pub dispersion: DispersionRule,
    /// How users are judged, where they stick to a version; `None` where each request is drawn.
    pub users: Option<UsersSettings>,
    /// When stable counts as unwell and holds the advance; `None` where it never does.
    pub stable: Option<StableSettings>,
}

/// What must be proven before the next weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProofSettings {
    /// B, a share of all traffic.
    pub budget: f64,
    /// beta.
    pub false_advance_rate: f64,
}

/// How users are judged who stick to a version.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UsersSettings {
    /// Proof is looked at after so long, twice that, four times and so on.
    pub bake: Duration,
}

/// When the stable version counts as unwell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StableSettings {
    /// The share of its requests that fails.
    pub failures: f64,
    /// Over this long.
    pub span: Duration,
}

/// The chance of taking a canary for better that is not, where no proof says another one.
const FALSE_BETTER_RATE: f64 = 0.05;

impl Settings {
    /// Whether the tests stand alone, without what guards them in production: a constant dispersion asks for that.
    pub(super) fn is_bare(&self) -> bool {
        matches!(self.dispersion, DispersionRule::Constant(_))
    }

    /// The same for failures that are known to vary at least so much more than independent ones.
    pub fn damped_by(self, phi: f64) -> Settings {
        let dispersion = match self.dispersion {
            DispersionRule::Constant(constant) => DispersionRule::Constant(constant),
            DispersionRule::Estimated { at_least } => {
                DispersionRule::Estimated { at_least: at_least.max(phi) }
            }
        };
        Settings { dispersion, ..self }
    }

    /// What is accepted of the canary as long as stable's past is what it is: its own bad spells are, too.
    pub(super) fn limit_at(&self, past: &Past) -> Margin {
        Margin { added: self.limit.added.max(past.spells.level(Kind::Failures)), ..self.limit }
    }

    /// What the logarithm of harm must reach for a rollback.
    pub fn ln_harm_limit(&self) -> f64 {
        -self.false_rollback_rate.ln()
    }

    /// What the logarithm of proof must reach for an advance.
    pub fn ln_proof_limit(&self) -> Option<f64> {
        self.proof.map(|proof| -proof.false_advance_rate.ln())
    }

    /// What the logarithm of the proof that the canary is better must reach.
    pub(super) fn ln_better_limit(&self) -> f64 {
        -self.proof.map_or(FALSE_BETTER_RATE, |proof| proof.false_advance_rate).ln()
    }
}
