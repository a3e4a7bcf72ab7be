//! Made-up traffic: when requests arrive, which fail, and when that becomes known.
//!
//! Requests arrive independently of each other, so the canary's failures, its successes and the same of stable are four
//! independent Poisson streams whose rates are the products of rate, weight and failing share. A simulation draws whole
//! streams, not requests, and its cost hardly grows with the traffic.

use crate::simulate::draws::exponential;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::clients::Clients;
use super::recorded::Series;
use super::spells::Spells;

/// One version's behaviour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arm {
    /// The share of its requests that fail, 0 to 1.
    pub failures: f64,
    /// The mean time to an answer, exponentially distributed; a failure becomes known then.
    pub latency: Duration,
}

/// What else one version does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Manners {
    /// The share of its good requests that it refuses with a 4xx status, 0 to 1.
    pub refusals: f64,
    /// The share of its good requests that it does not answer; they fail after 30 s.
    pub hangs: f64,
    /// How long it takes to show a failure; as long as an answer unless given.
    pub failure_latency: Option<Duration>,
}

/// Users who come again and again, some much oftener than others: the n-th one 1/n times as often as the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crowd {
    /// How many.
    pub users: u32,
    /// The share of them whose requests fail on both versions alike, 0 to 1.
    pub failing: f64,
    /// The share of these users' requests that fail beyond what the versions do.
    pub failures: f64,
}

/// The canary's slow beginning, at its start and at each rise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cold {
    /// So many requests.
    pub requests: u64,
    /// Take so many times as long.
    pub factor: f64,
}

/// A time in which both versions fail more, such as the fault of something they share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Incident {
    /// The share of requests it breaks, 0 to 1.
    pub failures: f64,
    /// When it begins, after the start of the rollout.
    pub from: Duration,
    /// How long it lasts.
    pub lasts: Duration,
}

/// A slow change of both versions' failing shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// How many times the first share the last one is.
    pub factor: f64,
    /// How long after the start of the rollout the last one is reached, in a straight line.
    pub over: Duration,
}

/// The traffic of one alias.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// Requests per second, on average.
    pub requests_per_s: f64,
    /// The stable version.
    pub stable: Arm,
    /// The canary.
    pub canary: Arm,
    /// What else the stable version does.
    pub stable_manners: Manners,
    /// What else the canary does.
    pub canary_manners: Manners,
    /// Whose requests they are; each a user's of its own unless given.
    pub crowd: Option<Crowd>,
    /// How the canary begins.
    pub cold: Option<Cold>,
    /// Until when, after the start of the rollout, the canary fails no more than the stable version.
    pub canary_breaks: Option<Duration>,
    /// Times in which both fail more.
    pub incidents: Vec<Incident>,
    /// A slow change of both failing shares.
    pub drift: Option<Drift>,
    /// How many failures come together within a second on one version, on average (geometric); 1 for independent ones.
    pub clump: f64,
    /// What came and failed as it was recorded, in place of all that says how much comes and fails.
    pub recorded: Option<Arc<Series>>,
    /// Bad spells of either version, each at its own times.
    pub spells: Vec<Spells>,
    /// How clients send.
    pub clients: Clients,
    /// After how long clients give up what is not answered; never unless given.
    pub patience: Option<Duration>,
    /// In how long requests swing once, by eight tenths around the average, least at the start.
    pub day: Option<Duration>,
    /// How long the stable version has served alone when the rollout starts.
    pub prior: Duration,
    /// How often the daemon is killed and comes back at once, with what it had stored within five seconds.
    pub restart_every: Option<Duration>,
}

const SWING: f64 = 0.8;
/// A rate that changes steadily is asked for anew after so long.
const SLIDE: Duration = Duration::from_secs(10);

impl Traffic {
    /// Steady traffic of independent requests, ten minutes of which came before the rollout.
    pub fn steady(requests_per_s: f64, stable: Arm, canary: Arm) -> Traffic {
        Traffic {
            requests_per_s,
            stable,
            canary,
            stable_manners: Manners::default(),
            canary_manners: Manners::default(),
            crowd: None,
            cold: None,
            canary_breaks: None,
            incidents: Vec::new(),
            drift: None,
            clump: 1.0,
            recorded: None,
            spells: Vec::new(),
            clients: Clients::default(),
            patience: None,
            day: None,
            prior: Duration::from_secs(600),
            restart_every: None,
        }
    }

    /// What else a version does.
    pub(super) fn manners(&self, canary: bool) -> &Manners {
        if canary { &self.canary_manners } else { &self.stable_manners }
    }

    /// Requests per second at a time after the start of the rollout.
    pub(super) fn rate_at(&self, since_start: Duration) -> f64 {
        let Some(day) = self.day else { return self.requests_per_s };
        let turn = since_start.as_secs_f64() / day.as_secs_f64().max(1e-3) * std::f64::consts::TAU;
        self.requests_per_s * (1.0 - SWING * turn.cos())
    }

    /// Whether the canary is what it is by then, and not as good as the stable version.
    pub(super) fn is_canary_itself(&self, since_start: Duration) -> bool {
        self.canary_breaks.is_none_or(|breaks| since_start >= breaks)
    }

    /// The share of the canary's requests that fails at a time after the start of the rollout.
    pub(super) fn canary_failures_at(&self, since_start: Duration) -> f64 {
        let arm = if self.is_canary_itself(since_start) { &self.canary } else { &self.stable };
        self.failures_at(arm, since_start)
    }

    /// The share of an arm's requests that fails at a time after the start of the rollout.
    pub(super) fn failures_at(&self, arm: &Arm, since_start: Duration) -> f64 {
        let drifted = self.drift.map_or(1.0, |drift| {
            let way = (since_start.as_secs_f64() / drift.over.as_secs_f64().max(1e-3)).min(1.0);
            1.0 + (drift.factor - 1.0) * way
        });
        let is_on = |incident: &&Incident| {
            since_start >= incident.from && since_start < incident.from + incident.lasts
        };
        let well = 1.0 - (arm.failures * drifted).min(1.0);
        1.0 - self
            .incidents
            .iter()
            .filter(is_on)
            .fold(well, |well, incident| well * (1.0 - incident.failures))
    }

    /// The next time after the start of the rollout at which rates change in a leap, or should be asked for anew.
    pub(super) fn next_change(&self, since_start: Duration) -> Option<Duration> {
        let leaps =
            self.incidents.iter().flat_map(|incident| [incident.from, incident.from + incident.lasts]);
        let leap = leaps.chain(self.canary_breaks).filter(|leap| *leap > since_start).min();
        let slides = [self.drift.map(|_| SLIDE), self.day.map(|day| SLIDE.min(day / 100))];
        let slide = slides.into_iter().flatten().min().map(|slide| since_start + slide);
        [leap, slide].into_iter().flatten().min()
    }

    /// The size of one clump of failures.
    pub(super) fn clump_size(&self, chance: &mut SmallRng) -> u64 {
        if self.clump <= 1.0 {
            return 1;
        }
        let stay: f64 = 1.0 - 1.0 / self.clump;
        1 + ((1.0 - chance.random::<f64>()).ln() / stay.ln()) as u64
    }
}

impl Arm {
    /// The time to an answer in microseconds.
    pub(super) fn latency_us(&self, chance: &mut SmallRng) -> u64 {
        (exponential(chance) * self.latency.as_micros() as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::seeded;
    use crate::simulate::draws::{binomial, poisson};

    #[test]
    fn binomial_numbers_have_their_mean_and_variance() {
        let mut chance = seeded(3);
        for (count, share) in [(1, 0.3), (40, 0.02), (40, 0.9), (1000, 0.1)] {
            let runs = 20_000;
            let draws: Vec<f64> = (0..runs).map(|_| binomial(&mut chance, count, share) as f64).collect();
            let average = draws.iter().sum::<f64>() / runs as f64;
            let spread = draws.iter().map(|draw| (draw - average).powi(2)).sum::<f64>() / runs as f64;
            let (mean, variance) = (count as f64 * share, count as f64 * share * (1.0 - share));
            assert!((average - mean).abs() < 4.0 * (variance / runs as f64).sqrt(), "{average}, not {mean}");
            let wide = 4.0 * ((2.0 * variance * variance + variance) / runs as f64).sqrt();
            assert!((spread - variance).abs() < wide, "{spread}, not {variance}");
        }
        assert_eq!((binomial(&mut chance, 7, 1.0), binomial(&mut chance, 7, 0.0)), (7, 0));
    }

    #[test]
    fn poisson_numbers_have_their_mean_and_variance() {
        let mut chance = seeded(1);
        for mean in [0.01, 0.7, 12.0, 100.0] {
            let runs = 20_000;
            let draws: Vec<f64> = (0..runs).map(|_| poisson(&mut chance, mean) as f64).collect();
            let average = draws.iter().sum::<f64>() / runs as f64;
            let variance = draws.iter().map(|draw| (draw - average).powi(2)).sum::<f64>() / runs as f64;
            let sigma = (mean / runs as f64).sqrt();
            assert!((average - mean).abs() < 4.0 * sigma, "{average} instead of {mean}");
            // The variance of a Poisson variance estimate is (2 mean² + mean) / runs.
            let wide = 4.0 * ((2.0 * mean * mean + mean) / runs as f64).sqrt();
            assert!((variance - mean).abs() < wide, "variance {variance} instead of {mean}");
        }
    }

    #[test]
    fn clumps_have_their_mean() {
        let arm = Arm { failures: 0.0, latency: Duration::ZERO };
        let traffic = Traffic { clump: 3.0, ..Traffic::steady(1.0, arm, arm) };
        let mut chance = seeded(2);
        let average = (0..20_000).map(|_| traffic.clump_size(&mut chance)).sum::<u64>() as f64 / 20_000.0;
        assert!((average - 3.0).abs() < 4.0 * (6.0_f64 / 20_000.0).sqrt(), "{average}");
    }

    #[test]
    fn shares_follow_incidents_and_drift() {
        let arm = Arm { failures: 0.002, latency: Duration::ZERO };
        let at = Duration::from_secs;
        let traffic = Traffic {
            incidents: vec![Incident { failures: 0.3, from: at(60), lasts: at(180) }],
            drift: Some(Drift { factor: 5.0, over: at(1000) }),
            ..Traffic::steady(1.0, arm, arm)
        };
        assert!((traffic.failures_at(&arm, at(0)) - 0.002).abs() < 1e-12);
        assert!((traffic.failures_at(&arm, at(2000)) - 0.01).abs() < 1e-12);
        assert!((traffic.failures_at(&arm, at(60)) - (1.0 - 0.7 * (1.0 - 0.002 * 1.24))).abs() < 1e-12);
        assert_eq!(traffic.next_change(at(59)), Some(at(60)));
        let canary = Arm { failures: 1.0, ..arm };
        let late = Traffic { canary_breaks: Some(at(90)), ..Traffic::steady(1.0, arm, canary) };
        assert!((late.canary_failures_at(at(89)) - 0.002).abs() < 1e-12);
        assert!((late.canary_failures_at(at(90)) - 1.0).abs() < 1e-12);
        assert_eq!((late.next_change(at(0)), late.next_change(at(90))), (Some(at(90)), None));
    }
}
