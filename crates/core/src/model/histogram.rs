//! The shape latencies are kept in: eight buckets an octave from 64 µs to 134 s, and one below, one above.
//!
//! A bucket is at most an eighth of its lower edge wide, so a quantile read from the edges is at most 12.5 % too
//! high. Edges are whole microseconds, and the same for every version, worker and release: histograms merge by
//! adding, and a recorded one can be judged later.

use std::time::Duration;

/// Edges lie at `64 µs · 2^octave · (1 + step/8)`.
const OCTAVES: usize = 21;
const STEPS: usize = 8;
const FLOOR_LOG2: u32 = 6;
const FLOOR_US: u64 = 1 << FLOOR_LOG2;

/// How many buckets a histogram has: one below the first edge, 168 between edges, one above the last.
pub const BUCKETS: usize = OCTAVES * STEPS + 2;

const OVERFLOW: usize = BUCKETS - 1;

/// The bucket that counts a latency of so many microseconds.
///
/// A latency that lies on an edge belongs to the bucket above it.
pub fn bucket_of(latency_us: u64) -> usize {
    if latency_us < FLOOR_US {
        return 0;
    }
    let log2 = latency_us.ilog2();
    let octave = (log2 - FLOOR_LOG2) as usize;
    if octave >= OCTAVES {
        return OVERFLOW;
    }
    // The three bits below the leading one tell the eighth of the octave.
    let step = (latency_us >> (log2 - 3)) as usize & (STEPS - 1);
    1 + octave * STEPS + step
}

/// The least latency in microseconds that a bucket no longer counts; `None` for the last one, which has no end.
pub fn upper_edge_us(bucket: usize) -> Option<u64> {
    if bucket >= OVERFLOW {
        return None;
    }
    let (octave, step) = (bucket / STEPS, bucket % STEPS);
    Some(((STEPS + step) as u64 * (FLOOR_US / STEPS as u64)) << octave)
}

/// How often each bucket was hit, at one moment.
#[derive(Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    counts: [u64; BUCKETS],
    sum_us: u64,
}

impl Default for HistogramSnapshot {
    fn default() -> HistogramSnapshot {
        HistogramSnapshot { counts: [0; BUCKETS], sum_us: 0 }
    }
}

impl HistogramSnapshot {
    /// Counts one latency.
    pub fn record(&mut self, latency_us: u64) {
        self.add(bucket_of(latency_us), 1);
        self.add_sum_us(latency_us);
    }

    /// Adds hits of one bucket; what their latencies sum to is added apart.
    pub fn add(&mut self, bucket: usize, count: u64) {
        self.counts[bucket] += count;
    }

    /// Adds to the sum of all latencies.
    pub fn add_sum_us(&mut self, sum_us: u64) {
        self.sum_us = self.sum_us.saturating_add(sum_us);
    }

    /// Adds what another histogram counted.
    pub fn merge(&mut self, other: &HistogramSnapshot) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.add_sum_us(other.sum_us);
    }

    /// How often a bucket was hit.
    pub fn hits(&self, bucket: usize) -> u64 {
        self.counts[bucket]
    }

    /// How many latencies lie above the upper edge of a bucket.
    pub fn count_above(&self, bucket: usize) -> u64 {
        self.counts[bucket + 1..].iter().sum()
    }

    /// How many latencies were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all latencies in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// Every bucket in rising order: its upper edge in microseconds (`None` for the last) and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        self.counts.iter().enumerate().map(|(bucket, count)| (upper_edge_us(bucket), *count))
    }

    /// The latency that the share `q` of all requests stayed below: the upper edge of the bucket it falls into.
    ///
    /// Nothing was counted: `None`. A quantile above the last edge is reported as the last edge.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        let edge_us = bucket.and_then(upper_edge_us).or(upper_edge_us(OVERFLOW - 1));
        edge_us.map(Duration::from_micros)
    }
}

/// Writes the count and three quantiles; 170 numbers would say less.
impl std::fmt::Debug for HistogramSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|q| self.quantile(q));
        write!(f, "HistogramSnapshot {{ count: {}, p50: {p50:?}, p90: {p90:?}, p99: {p99:?} }}", self.count())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn edges_rise_by_eighths_of_an_octave() {
        assert_eq!(upper_edge_us(0), Some(64));
        assert_eq!(upper_edge_us(1), Some(72));
        assert_eq!(upper_edge_us(STEPS), Some(128));
        assert_eq!(upper_edge_us(STEPS + 1), Some(144));
        assert_eq!(upper_edge_us(OVERFLOW - 1), Some(64 << OCTAVES), "134 s");
        assert_eq!(upper_edge_us(OVERFLOW), None);
    }

    #[test]
    fn ends_are_open() {
        assert_eq!([0, 63, 64, 71, 72].map(bucket_of), [0, 0, 1, 1, 2]);
        assert_eq!(bucket_of((64 << OCTAVES) - 1), OVERFLOW - 1);
        assert_eq!([64 << OCTAVES, u64::MAX].map(bucket_of), [OVERFLOW; 2]);
    }

    proptest! {
        #[test]
        fn a_latency_lies_between_the_edges_of_its_bucket(latency_us in prop_oneof![0..200_u64, 0..u64::MAX >> 20, any::<u64>()]) {
            let bucket = bucket_of(latency_us);
            prop_assert!(upper_edge_us(bucket).is_none_or(|edge| latency_us < edge));
            prop_assert!(bucket == 0 || upper_edge_us(bucket - 1).is_some_and(|edge| latency_us >= edge));
        }

        #[test]
        fn a_quantile_is_at_most_an_eighth_too_high(mut latencies in proptest::collection::vec(64..100_000_000_u64, 1..200), q in 0.0..=1.0_f64) {
            let mut histogram = HistogramSnapshot::default();
            for latency_us in &latencies {
                histogram.record(*latency_us);
            }
            latencies.sort_unstable();
            let rank = ((q * latencies.len() as f64).ceil() as usize).clamp(1, latencies.len());
            let (exact, read) = (latencies[rank - 1], histogram.quantile(q).unwrap().as_micros() as u64);
            prop_assert!(read > exact && read <= exact + exact / 8 + 1, "{exact} read as {read}");
        }

        #[test]
        fn merging_is_counting_both(left in proptest::collection::vec(any::<u32>(), 0..50), right in proptest::collection::vec(any::<u32>(), 0..50)) {
            let count = |latencies: &[u32]| {
                let mut histogram = HistogramSnapshot::default();
                latencies.iter().for_each(|latency_us| histogram.record(u64::from(*latency_us)));
                histogram
            };
            let mut merged = count(&left);
            merged.merge(&count(&right));
            prop_assert_eq!(merged, count(&[left, right].concat()));
        }
    }

    #[test]
    fn nothing_counted_has_no_quantile() {
        assert_eq!(HistogramSnapshot::default().quantile(0.99), None);
    }
}
