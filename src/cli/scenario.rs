//! Flags that say what made-up traffic is like.

use std::str::FromStr;
use std::time::Duration;

use super::flags::{Share, rate, virtual_span as span};
use crate::simulate::{
    Arm, Bursts, Clients, Cold, Crowd, Drift, Incident, Manners, Retries, Spell, Spells, Traffic,
};

/// The traffic of one alias and what befalls its versions.
#[derive(Debug, clap::Args)]
pub struct Scenario {
    /// Requests a second to the alias, on average; they arrive independently.
    #[arg(long, value_name = "N", value_parser = rate)]
    rps: f64,
    /// The share of the stable version's requests that fails.
    #[arg(long, value_name = "SHARE", default_value = "0.1%")]
    stable_failures: Share,
    /// The share of the canary's requests that fails; as much as the stable version's unless given.
    #[arg(long, value_name = "SHARE")]
    canary_failures: Option<Share>,
    /// The stable version's mean time to answer.
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = span)]
    stable_latency: Duration,
    /// The canary's: a multiple of the stable version's, as in x1.5, or so much more, as in +1s.
    #[arg(long, value_name = "xN|+TIME", default_value = "x1")]
    canary_latency: Slower,
    /// The share of the stable version's good requests that it refuses with a 4xx status.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    stable_refusals: Share,
    /// The same of the canary; as much as the stable version's unless given.
    #[arg(long, value_name = "SHARE")]
    canary_refusals: Option<Share>,
    /// The share of the canary's good requests that it never answers; they fail after 30 s.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    canary_hangs: Share,
    /// After how long failures show, on the stable version and on the canary, as in 20s/1s; as answers do unless given.
    #[arg(long, value_name = "TIME/TIME")]
    failures_show: Option<ShowFlag>,
    /// Until then the canary fails no more than the stable version does; failed requests count from there.
    #[arg(long, value_name = "TIME", value_parser = span)]
    canary_breaks: Option<Duration>,
    /// The canary's first requests, at its start and at each rise, take longer: 200x3 is 200 of them, three times as long.
    #[arg(long, value_name = "NxF")]
    cold: Option<ColdFlag>,
    /// So many users come again and again, the n-th 1/n times as often as the first; each request is a new one's otherwise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: Option<u32>,
    /// A share of the users fails on both versions alike: 2%x20% is every fiftieth, whose requests fail one in five times.
    #[arg(long, value_name = "SHARExSHARE", requires = "users")]
    failing_users: Option<FailingFlag>,
    /// A share of both versions' requests breaks for a while: 30%@10m+3m is 30 % from minute 10 for 3 minutes.
    #[arg(long, value_name = "SHARE@START+SPAN")]
    incident: Vec<IncidentFlag>,
    /// Both versions' failures grow steadily: x5@20m is five times as many after 20 minutes, and stays so.
    #[arg(long, value_name = "xN@SPAN")]
    drift: Option<DriftFlag>,
    /// How many failures come together within a second on one version, on average; 1 is independent failures.
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = clump, conflicts_with_all = ["users", "bunches", "retries"])]
    clumps: f64,
    /// Each version's own bad spells: 5%@10m+30s is 5 % more failures for 30 s each 10 minutes, x3@5m+10s slow answers.
    #[arg(long, value_name = "SHARE|xN@EVERY+SPAN")]
    spells: Vec<SpellsFlag>,
    /// Traffic swings over the day by eight tenths around its mean, and is least at the start.
    #[arg(long)]
    daily: bool,
    /// How long such a day is.
    #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = span, requires = "daily")]
    pub day: Duration,
    /// More comes at random times: x10@30s+3s is ten times as much for 3 s each 30 s; with /20% a fifth of it fails on both.
    #[arg(long, value_name = "xN@EVERY+SPAN[/SHARE]")]
    bursts: Option<BurstsFlag>,
    /// How many requests a client sends at once, on average, as over HTTP/2; each is drawn by itself, and they fail alike.
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = bunch)]
    bunches: f64,
    /// Clients send again what failed: 3x50% is three times at most, of which half fail again on either version.
    #[arg(long, value_name = "NxSHARE")]
    retries: Option<RetriesFlag>,
    /// Clients give up what is not answered after so long; on either version.
    #[arg(long, value_name = "TIME", value_parser = span)]
    clients_give_up: Option<Duration>,
    /// How long the stable version has served alone when the rollout starts.
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = span)]
    pub prior: Duration,
    /// Kill the daemon this often; it goes on at once from what it had stored.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub restart_every: Option<Duration>,
}

/// How much slower the canary is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Slower {
    Times(f64),
    By(Duration),
}

impl FromStr for Slower {
    type Err = String;

    fn from_str(text: &str) -> Result<Slower, String> {
        let wrong = || {
            "a canary's latency is x1.5, so many times the stable version's, or +1s, so much more".to_owned()
        };
        if let Some(added) = text.strip_prefix('+') {
            return span(added).map(Slower::By).map_err(str::to_owned);
        }
        let times = text.strip_prefix('x').and_then(|times| times.parse::<f64>().ok());
        times.filter(|times| (0.0..=10_000.0).contains(times)).map(Slower::Times).ok_or_else(wrong)
    }
}

impl Slower {
    fn than(self, latency: Duration) -> Duration {
        match self {
            Slower::Times(times) => latency.mul_f64(times),
            Slower::By(added) => latency + added,
        }
    }
}

/// What comes more often is no spell and no burst, and to draw so many takes for ever.
const EVERY_MIN: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
struct IncidentFlag(Incident);

impl FromStr for IncidentFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<IncidentFlag, String> {
        let parts = text.split_once('@').and_then(|(share, when)| Some((share, when.split_once('+')?)));
        let Some((share, (from, lasts))) = parts else {
            return Err("an incident is SHARE@START+SPAN, as in 30%@10m+3m".to_owned());
        };
        let failures = share.parse::<Share>()?.0;
        Ok(IncidentFlag(Incident { failures, from: span(from)?, lasts: span(lasts)? }))
    }
}

#[derive(Clone, Copy, Debug)]
struct ShowFlag(Duration, Duration);

impl FromStr for ShowFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<ShowFlag, String> {
        let Some((stable, canary)) = text.split_once('/') else {
            return Err("when failures show is TIME/TIME, stable's and the canary's, as in 20s/1s".to_owned());
        };
        Ok(ShowFlag(span(stable)?, span(canary)?))
    }
}

#[derive(Clone, Copy, Debug)]
struct ColdFlag(Cold);

impl FromStr for ColdFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<ColdFlag, String> {
        let parts =
            text.split_once('x').and_then(|(count, by)| Some((count.parse().ok()?, by.parse().ok()?)));
        match parts.filter(|(_, factor)| (1.0..=1000.0).contains(factor)) {
            Some((requests, factor)) => Ok(ColdFlag(Cold { requests, factor })),
            None => {
                Err("a cold start is NxF, as in 200x3: 200 requests that take three times as long".to_owned())
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct FailingFlag(Share, Share);

impl FromStr for FailingFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<FailingFlag, String> {
        let Some((users, failures)) = text.split_once('x') else {
            return Err(
                "failing users are SHARExSHARE, as in 2%x20%: every fiftieth, one in five times".to_owned()
            );
        };
        Ok(FailingFlag(users.parse()?, failures.parse()?))
    }
}

#[derive(Clone, Copy, Debug)]
struct DriftFlag(Drift);

impl FromStr for DriftFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<DriftFlag, String> {
        let parts = text.strip_prefix('x').and_then(|text| text.split_once('@'));
        let factor = parts.and_then(|(factor, _)| factor.parse().ok());
        match (factor.filter(|factor| (0.0..=1e6).contains(factor)), parts) {
            (Some(factor), Some((_, over))) => Ok(DriftFlag(Drift { factor, over: span(over)? })),
            _ => {
                Err("a drift is xN@SPAN, as in x5@20m: five times as many failures after 20 minutes"
                    .to_owned())
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct SpellsFlag(Spells);

impl FromStr for SpellsFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<SpellsFlag, String> {
        let parts = text.split_once('@').and_then(|(what, when)| Some((what, when.split_once('+')?)));
        let Some((what, (every, lasts))) = parts else {
            return Err(
                "spells are SHARE@EVERY+SPAN or xN@EVERY+SPAN, as in 5%@10m+30s or x3@5m+10s".to_owned()
            );
        };
        let slower = what.strip_prefix('x').map(|times| times.parse::<f64>().ok());
        let what = match slower.map(|times| times.filter(|times| (1.0..=1000.0).contains(times))) {
            Some(Some(times)) => Spell::Slower(times),
            Some(None) => {
                return Err("in a spell answers take x1 to x1000 as long, as in x3@5m+10s".to_owned());
            }
            None => Spell::Failures(what.parse::<Share>()?.0),
        };
        let (every, lasts) = (span(every)?, span(lasts)?);
        if every < EVERY_MIN {
            return Err("these come at most once in 100ms, as in 5%@10m+30s".to_owned());
        }
        if lasts.is_zero() || lasts >= every {
            return Err(
                "a spell lasts some time, and less than it takes until the next, as in 5%@10m+30s".to_owned()
            );
        }
        Ok(SpellsFlag(Spells { what, every, lasts }))
    }
}

#[derive(Clone, Copy, Debug)]
struct BurstsFlag(Bursts);

impl FromStr for BurstsFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<BurstsFlag, String> {
        let (law, share) = text.split_once('/').map_or((text, None), |(law, share)| (law, Some(share)));
        let parts = law.strip_prefix('x').and_then(|law| law.split_once('@'));
        let parts = parts.and_then(|(factor, when)| Some((factor.parse().ok()?, when.split_once('+')?)));
        let Some((factor, (every, lasts))) = parts.filter(|(factor, _)| (1.0..=1000.0).contains(factor))
        else {
            return Err(
                "bursts are xN@EVERY+SPAN, as in x10@30s+3s: ten times as much for 3 s each 30 s".to_owned()
            );
        };
        let failures = share.map(str::parse::<Share>).transpose()?.map_or(0.0, |share| share.0);
        let (every, lasts) = (span(every)?, span(lasts)?);
        if every < EVERY_MIN {
            return Err("these come at most once in 100ms, as in 5%@10m+30s".to_owned());
        }
        if lasts.is_zero() || lasts >= every {
            return Err(
                "a burst lasts some time, and less than it takes until the next, as in x10@30s+3s".to_owned()
            );
        }
        Ok(BurstsFlag(Bursts { factor, every, lasts, failures }))
    }
}

#[derive(Clone, Copy, Debug)]
struct RetriesFlag(Retries);

impl FromStr for RetriesFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<RetriesFlag, String> {
        let parts = text.split_once('x').and_then(|(times, share)| Some((times.parse().ok()?, share)));
        match parts.filter(|(times, _)| (1..=100).contains(times)) {
            Some((times, share)) => Ok(RetriesFlag(Retries { times, failures: share.parse::<Share>()?.0 })),
            None => {
                Err("retries are NxSHARE, as in 3x50%: three times at most, half of which fail again"
                    .to_owned())
            }
        }
    }
}

fn bunch(text: &str) -> Result<f64, &'static str> {
    let bunch = text.parse::<f64>().ok().filter(|bunch| (1.0..=1000.0).contains(bunch));
    bunch.ok_or("a bunch is a mean from 1 (independent requests) to 1000")
}

fn clump(text: &str) -> Result<f64, &'static str> {
    let clump = text.parse::<f64>().ok().filter(|clump| (1.0..=1000.0).contains(clump));
    clump.ok_or("a clump is a mean from 1 (independent failures) to 1000")
}

impl Scenario {
    /// The traffic these flags mean.
    pub fn traffic(&self) -> Traffic {
        let stable = Arm { failures: self.stable_failures.0, latency: self.stable_latency };
        let canary = Arm {
            failures: self.canary_failures.unwrap_or(self.stable_failures).0,
            latency: self.canary_latency.than(self.stable_latency),
        };
        let show = |of: fn(ShowFlag) -> Duration| self.failures_show.map(of);
        Traffic {
            stable_manners: Manners {
                refusals: self.stable_refusals.0,
                failure_latency: show(|show| show.0),
                ..Manners::default()
            },
            canary_manners: Manners {
                refusals: self.canary_refusals.unwrap_or(self.stable_refusals).0,
                hangs: self.canary_hangs.0,
                failure_latency: show(|show| show.1),
            },
            crowd: self.users.map(|users| Crowd {
                users,
                failing: self.failing_users.map_or(0.0, |failing| failing.0.0),
                failures: self.failing_users.map_or(0.0, |failing| failing.1.0),
            }),
            cold: self.cold.map(|cold| cold.0),
            canary_breaks: self.canary_breaks,
            incidents: self.incident.iter().map(|incident| incident.0).collect(),
            drift: self.drift.map(|drift| drift.0),
            clump: self.clumps,
            spells: self.spells.iter().map(|spells| spells.0).collect(),
            prior: self.prior,
            clients: Clients {
                bursts: self.bursts.map(|bursts| bursts.0),
                bunch: self.bunches,
                retries: self.retries.map(|retries| retries.0),
            },
            patience: self.clients_give_up,
            day: self.daily.then_some(self.day),
            restart_every: self.restart_every,
            ..Traffic::steady(self.rps, stable, canary)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_read_with_their_units() {
        let incident = "30%@10m+3m".parse::<IncidentFlag>().unwrap().0;
        let minutes = |count: u64| Duration::from_secs(60 * count);
        assert_eq!(incident, Incident { failures: 0.3, from: minutes(10), lasts: minutes(3) });
        assert_eq!("x5@20m".parse::<DriftFlag>().unwrap().0, Drift { factor: 5.0, over: minutes(20) });
        assert_eq!("x1.5".parse(), Ok(Slower::Times(1.5)));
        assert_eq!("+1s".parse(), Ok(Slower::By(Duration::from_secs(1))));
        for text in ["30%", "30%@10m", "30@10m+3m", "130%@10m+3m", "30%@10+3m", ""] {
            assert!(text.parse::<IncidentFlag>().is_err(), "{text}");
        }
        for text in ["5@20m", "x@20m", "x-1@20m", "x5", "xnan@1m"] {
            assert!(text.parse::<DriftFlag>().is_err(), "{text}");
        }
        let bursts = "x10@30s+3s/20%".parse::<BurstsFlag>().unwrap().0;
        let (every, lasts) = (Duration::from_secs(30), Duration::from_secs(3));
        assert_eq!(bursts, Bursts { factor: 10.0, every, lasts, failures: 0.2 });
        assert_eq!("3x50%".parse::<RetriesFlag>().unwrap().0, Retries { times: 3, failures: 0.5 });
        for text in
            ["10@30s+3s", "x10@30s", "x.5@30s+3s", "x10@3s+3s", "x10@30s+0s", "x10@30s+3s/2", "xnan@3s+1s"]
        {
            assert!(text.parse::<BurstsFlag>().is_err(), "{text}");
        }
        for text in ["3", "0x50%", "3x", "3x101%", "x50%"] {
            assert!(text.parse::<RetriesFlag>().is_err(), "{text}");
        }
        for text in ["1.5", "x", "xinf", "+1", "-1s"] {
            assert!(text.parse::<Slower>().is_err(), "{text}");
        }
    }
}
