//! Latencies of both arms over one span of counts, and which quantiles of them are compared.

use crate::analysis::cohort::QUANTILES_COMPARED;
use crate::model::histogram::{HistogramSnapshot, bucket_of};

/// The quantiles that are compared.
pub const QUANTILES: [f64; QUANTILES_COMPARED] = [0.5, 0.9, 0.99, 0.999];

/// How many they are.
pub const PROCESSES: usize = QUANTILES.len();

/// Latencies counted so far, and those counted at the last look.
#[derive(Clone, Copy, Debug)]
pub struct LatencySpan<'a> {
    /// Now.
    pub now: &'a HistogramSnapshot,
    /// At the last look.
    pub before: &'a HistogramSnapshot,
}

impl LatencySpan<'_> {
    /// How many came since the last look.
    pub fn answers(&self) -> u64 {
        self.now.count().saturating_sub(self.before.count())
    }

    /// How many came since the last look that lie above each bucket.
    pub fn exceeding(&self, buckets: [Option<usize>; PROCESSES]) -> [u64; PROCESSES] {
        if self.is_empty() {
            return [0; PROCESSES];
        }
        let above = |bucket| self.now.count_above(bucket).saturating_sub(self.before.count_above(bucket));
        buckets.map(|bucket| bucket.map_or(0, above))
    }

    /// Whether none came since the last look.
    pub fn is_empty(&self) -> bool {
        self.answers() == 0
    }
}

/// The bucket that a latency is rounded up in: what lies above it certainly took longer.
pub fn bucket_up(latency_us: u64) -> usize {
    bucket_of(latency_us.saturating_sub(1))
}
