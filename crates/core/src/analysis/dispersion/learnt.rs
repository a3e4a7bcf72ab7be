//! What an estimate rests on in five numbers: enough to go on from elsewhere, as `replay` does.

use serde::{Deserialize, Serialize};

use super::{Block, Dispersion, Sums};

/// How long was looked at, and the sums of seconds and of spans of five: squares, and what they would be if failures
/// were independent.
///
/// Blocks are one here, without what is left out. Of places nothing is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 5]", into = "[f64; 5]")]
pub struct Learnt {
    length_s: f64,
    seconds: Sums,
    spans: Sums,
}

impl From<[f64; 5]> for Learnt {
    fn from([length_s, squares, expected, squares_of_spans, expected_of_spans]: [f64; 5]) -> Learnt {
        Learnt {
            length_s,
            seconds: Sums { squares, expected },
            spans: Sums { squares: squares_of_spans, expected: expected_of_spans },
        }
    }
}

impl From<Learnt> for [f64; 5] {
    fn from(Learnt { length_s, seconds, spans }: Learnt) -> [f64; 5] {
        // What was left out may leave a little less than nothing.
        let all = [length_s, seconds.squares, seconds.expected, spans.squares, spans.expected];
        all.map(|number| number.max(0.0))
    }
}

impl Dispersion {
    /// What the estimate over time rests on.
    pub fn learnt(&self) -> Learnt {
        Learnt {
            length_s: self.blocks().map(|block| block.length_s).sum(),
            seconds: self.total_of(|block| block.seconds, Some(&self.episodes.seconds)),
            spans: self.total_of(|block| block.spans, Some(&self.episodes.spans)),
        }
    }

    /// Goes on from there.
    pub fn going_on_from(Learnt { length_s, seconds, spans }: Learnt) -> Dispersion {
        Dispersion { open: Block { length_s, seconds, spans, ..Block::default() }, ..Dispersion::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Uptime;

    #[test]
    fn what_was_learnt_says_the_same_elsewhere() {
        let mut dispersion = Dispersion::default();
        for second in 0..100_u64 {
            let count = if second % 7 == 0 { 3 } else { 0 };
            dispersion.learn(count, Uptime(second * 1000), Uptime(second * 1000 + 1000));
        }
        let told: Learnt =
            serde_json::from_str(&serde_json::to_string(&dispersion.learnt()).unwrap()).unwrap();
        let again = Dispersion::going_on_from(told);
        assert!(dispersion.phi() > 1.5, "{}", dispersion.phi());
        assert!((again.phi() - dispersion.phi()).abs() < 1e-9, "{} and {}", again.phi(), dispersion.phi());
        assert!((Dispersion::going_on_from(Learnt::default()).phi() - 1.0).abs() < 1e-12);
    }
}
