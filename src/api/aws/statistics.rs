//! Statistics as CloudWatch computes them of Lambda's metrics, from the numbers of minutes.
//!
//! An invocation adds one datum to each of Invocations, Errors and Throttles (one or zero) and, when it was answered,
//! one to Duration. Durations are kept in buckets an eighth wide, so extremes and percentiles of them are at most that
//! far off; sums, averages and counts are exact.

use std::collections::BTreeMap;

use serin_core::lambda::log::{Minute, Tally};
use serin_core::model::histogram::HistogramSnapshot;

/// One of Lambda's metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Requests that a version got.
    Invocations,
    /// Those that failed.
    Errors,
    /// Requests that no version got.
    Throttles,
    /// How long answers took.
    Duration,
}

impl Metric {
    /// All of them, in CloudWatch's order.
    pub const ALL: [Metric; 4] = [Metric::Duration, Metric::Errors, Metric::Invocations, Metric::Throttles];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Invocations => "Invocations",
            Metric::Errors => "Errors",
            Metric::Throttles => "Throttles",
            Metric::Duration => "Duration",
        }
    }

    /// What it is measured in.
    pub fn unit(self) -> &'static str {
        if self == Metric::Duration { "Milliseconds" } else { "Count" }
    }
}

/// A number made of many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// All added up.
    Sum,
    /// The mean.
    Average,
    /// The least.
    Minimum,
    /// The greatest.
    Maximum,
    /// How many.
    SampleCount,
    /// What so many of a hundred stay at or below.
    Percentile(f64),
}

impl Statistic {
    /// Reads `Sum` and the like, and `p99.9`; of other extended statistics none.
    pub fn read(text: &str) -> Option<Statistic> {
        Some(match text {
            "Sum" => Statistic::Sum,
            "Average" => Statistic::Average,
            "Minimum" => Statistic::Minimum,
            "Maximum" => Statistic::Maximum,
            "SampleCount" => Statistic::SampleCount,
            _ => {
                let digits = text.strip_prefix('p')?;
                let is_plain = digits.starts_with(|char: char| char.is_ascii_digit())
                    && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                let percent: f64 = digits.parse().ok().filter(|_| is_plain)?;
                (0.0..=100.0).contains(&percent).then_some(Statistic::Percentile(percent))?
            }
        })
    }

    /// The statistic of a metric; `None` where there is no datum.
    pub fn of(self, metric: Metric, tally: &Tally) -> Option<f64> {
        match metric {
            Metric::Duration => self.of_durations(&tally.duration),
            Metric::Invocations => self.of_ones(tally.invocations, tally.invocations),
            // A failure may become known in a later minute than its invocation.
            Metric::Errors => self.of_ones(tally.errors, tally.invocations.max(tally.errors)),
            Metric::Throttles => self.of_ones(tally.throttles, tally.invocations + tally.throttles),
        }
    }

    /// Of `samples` data of which so many are one, and the others zero.
    fn of_ones(self, ones: u64, samples: u64) -> Option<f64> {
        if samples == 0 {
            return None;
        }
        let is = |holds: bool| if holds { 1.0 } else { 0.0 };
        Some(match self {
            Statistic::Sum => ones as f64,
            Statistic::SampleCount => samples as f64,
            Statistic::Average => ones as f64 / samples as f64,
            Statistic::Minimum => is(ones == samples),
            Statistic::Maximum => is(ones > 0),
            Statistic::Percentile(percent) => {
                is(percent / 100.0 * samples as f64 > (samples - ones) as f64 || ones == samples)
            }
        })
    }

    fn of_durations(self, durations: &HistogramSnapshot) -> Option<f64> {
        let samples = durations.count();
        if samples == 0 {
            return None;
        }
        let sum_ms = durations.sum_us() as f64 / 1e3;
        let average = sum_ms / samples as f64;
        Some(match self {
            Statistic::Sum => sum_ms,
            Statistic::SampleCount => samples as f64,
            Statistic::Average => average,
            Statistic::Minimum => {
                least_ms(durations).min(average).max(if samples == 1 { average } else { 0.0 })
            }
            Statistic::Maximum if samples == 1 => average,
            Statistic::Maximum => quantile_ms(durations, 1.0).max(average),
            Statistic::Percentile(_) if samples == 1 => average,
            Statistic::Percentile(percent) => quantile_ms(durations, percent / 100.0),
        })
    }
}

/// The lower edge of the first bucket that was hit.
fn least_ms(durations: &HistogramSnapshot) -> f64 {
    let mut lower_us = 0;
    for (edge_us, hits) in durations.buckets() {
        if hits > 0 {
            break;
        }
        lower_us = edge_us.unwrap_or(lower_us);
    }
    lower_us as f64 / 1e3
}

fn quantile_ms(durations: &HistogramSnapshot, share: f64) -> f64 {
    durations.quantile(share).map_or(0.0, |duration| duration.as_secs_f64() * 1e3)
}

/// Adds minutes up to periods, counted from the span's first minute; a period is known by when it begins, in seconds.
pub fn periods(minutes: &[(Minute, Tally)], from: Minute, period_s: i64) -> BTreeMap<i64, Tally> {
    let mut periods: BTreeMap<i64, Tally> = BTreeMap::new();
    for (minute, tally) in minutes {
        let since_s = minute.begins_s() - from.begins_s();
        let begins_s = from.begins_s() + since_s.div_euclid(period_s) * period_s;
        periods.entry(begins_s).or_default().merge(tally);
    }
    periods
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(invocations: u64, errors: u64, latencies_us: &[u64]) -> Tally {
        let mut tally = Tally { invocations, errors, ..Tally::default() };
        latencies_us.iter().for_each(|latency_us| tally.duration.record(*latency_us));
        tally
    }

    #[test]
    fn statistics_have_names_and_others_are_refused() {
        assert_eq!(Statistic::read("p99.9"), Some(Statistic::Percentile(99.9)));
        assert_eq!(Statistic::read("p0"), Some(Statistic::Percentile(0.0)));
        for other in ["sum", "p", "p101", "p-1", "p1e1", "pinf", "tm99", "TM(10%:90%)", "IQM", "PR(:300)", ""]
        {
            assert_eq!(Statistic::read(other), None, "{other}");
        }
    }

    #[test]
    fn every_statistic_of_every_metric() {
        use Statistic::{Average, Maximum, Minimum, Percentile, SampleCount, Sum};
        let ten = tally(10, 3, &[1_000, 3_000]);
        for (metric, statistic, expected) in [
            (Metric::Invocations, Sum, 10.0),
            (Metric::Invocations, SampleCount, 10.0),
            (Metric::Invocations, Average, 1.0),
            (Metric::Invocations, Minimum, 1.0),
            (Metric::Errors, Sum, 3.0),
            (Metric::Errors, SampleCount, 10.0),
            (Metric::Errors, Average, 0.3),
            (Metric::Errors, Minimum, 0.0),
            (Metric::Errors, Maximum, 1.0),
            (Metric::Errors, Percentile(50.0), 0.0),
            (Metric::Errors, Percentile(90.0), 1.0),
            (Metric::Throttles, Sum, 0.0),
            (Metric::Throttles, Maximum, 0.0),
            (Metric::Duration, Sum, 4.0),
            (Metric::Duration, Average, 2.0),
            (Metric::Duration, SampleCount, 2.0),
            (Metric::Duration, Minimum, 0.96),
            (Metric::Duration, Maximum, 3.072),
        ] {
            assert_eq!(statistic.of(metric, &ten), Some(expected), "{metric:?} {statistic:?}");
        }
        let one = tally(1, 0, &[1_234]);
        for statistic in [Minimum, Maximum, Average, Percentile(99.0)] {
            assert_eq!(statistic.of(Metric::Duration, &one), Some(1.234), "{statistic:?}");
        }
        for metric in Metric::ALL {
            assert_eq!(Sum.of(metric, &Tally::default()), None, "{metric:?} without data");
        }
    }

    #[test]
    fn minutes_add_up_to_periods() {
        let minutes: Vec<_> = [10, 11, 14, 15].map(|minute| (Minute(minute), tally(1, 0, &[]))).into();
        let sums = |period_s| {
            let periods = periods(&minutes, Minute(10), period_s);
            periods.into_iter().map(|(begins_s, tally)| (begins_s, tally.invocations)).collect::<Vec<_>>()
        };
        assert_eq!(sums(60), [(600, 1), (660, 1), (840, 1), (900, 1)]);
        assert_eq!(sums(300), [(600, 3), (900, 1)]);
    }
}
