//! Shares of an alias's traffic, exact to one part per million.
//!
//! Inside serin a share is an integer, so that comparing, storing and adding weights never rounds. Fractions
//! `0.0..=1.0` exist only at the Lambda wire, percentages only in plans and on screens.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const PPM_FULL: u32 = 1_000_000;

/// A share of traffic in parts per million, from nothing (0) to everything (1 000 000).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Weight(u32);

impl Weight {
    /// No traffic at all.
    pub const ZERO: Weight = Weight(0);
    /// All traffic.
    pub const FULL: Weight = Weight(PPM_FULL);

    /// Makes a weight from parts per million; `None` above 1 000 000.
    pub const fn from_ppm(ppm: u32) -> Option<Weight> {
        if ppm <= PPM_FULL { Some(Weight(ppm)) } else { None }
    }

    /// Makes a weight from a fraction `0.0..=1.0`, rounded to the nearest part per million; `None` outside.
    ///
    /// AWS keeps the double it was given; serin answers with the rounded value, which differs only beyond the
    /// sixth decimal.
    pub fn from_fraction(fraction: f64) -> Option<Weight> {
        if (0.0..=1.0).contains(&fraction) {
            Some(Weight((fraction * f64::from(PPM_FULL)).round() as u32))
        } else {
            None
        }
    }

    /// Parts per million, `0..=1_000_000`.
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// The share as a fraction `0.0..=1.0`, as the Lambda wire writes it.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(PPM_FULL)
    }

    /// What is left for the other version.
    pub const fn complement(self) -> Weight {
        Weight(PPM_FULL - self.0)
    }

    /// The bound a uniform `u64` ticket must stay below to be drawn; a full weight needs no ticket at all.
    ///
    /// The error against the exact share is below 2⁻⁶⁴, so 0.0001 % is as exact as 50 %.
    pub fn ticket_bound(self) -> u64 {
        if self.0 == PPM_FULL {
            return u64::MAX;
        }
        ((u128::from(self.0) << 64) / u128::from(PPM_FULL)) as u64
    }

    /// Whether a uniform ticket falls into this share.
    pub fn draws(self, ticket: u64) -> bool {
        self.0 == PPM_FULL || ticket < self.ticket_bound()
    }
}

impl TryFrom<u32> for Weight {
    type Error = WeightError;

    fn try_from(ppm: u32) -> Result<Weight, WeightError> {
        Weight::from_ppm(ppm).ok_or(WeightError::AboveFull)
    }
}

impl From<Weight> for u32 {
    fn from(weight: Weight) -> u32 {
        weight.0
    }
}

/// Writes a percentage without needless zeros: `3%`, `0.1%`, `100%`.
impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        let text = if rest == 0 {
            format!("{whole}%")
        } else {
            format!("{}%", format!("{whole}.{rest:04}").trim_end_matches('0'))
        };
        f.pad(&text)
    }
}

/// Why a text is not a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightError {
    /// The `%` is missing.
    #[error("a share needs its unit, as in 3%")]
    NoUnit,
    /// Not a decimal number before the `%`.
    #[error("not a percentage; write a plain decimal number and %, as in 3% or 0.5%")]
    NotANumber,
    /// More than four decimals.
    #[error("finer than 0.0001%, the smallest share serin can route")]
    TooFine,
    /// More than 100 %.
    #[error("more than 100%")]
    AboveFull,
}

/// Reads `3%`, `0.5%`, `100%`: a plain decimal with at most four decimals, and the unit.
impl FromStr for Weight {
    type Err = WeightError;

    fn from_str(text: &str) -> Result<Weight, WeightError> {
        let number = text.trim().strip_suffix('%').ok_or(WeightError::NoUnit)?.trim_end();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(decimals) || number.ends_with('.') {
            return Err(WeightError::NotANumber);
        }
        let decimals = decimals.trim_end_matches('0');
        if decimals.len() > 4 {
            return Err(WeightError::TooFine);
        }
        let whole: u32 = whole.parse().map_err(|_| WeightError::AboveFull)?;
        let fine: u32 = format!("{decimals:0<4}").parse().map_err(|_| WeightError::NotANumber)?;
        let ppm = whole.checked_mul(10_000).and_then(|ppm| ppm.checked_add(fine));
        ppm.and_then(Weight::from_ppm).ok_or(WeightError::AboveFull)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for (text, ppm) in
            [("3%", 30_000), ("0.1%", 1_000), ("0.0001%", 1), ("100%", 1_000_000), ("12.50%", 125_000)]
        {
            assert_eq!(text.parse::<Weight>().map(Weight::ppm), Ok(ppm), "{text}");
        }
        assert_eq!(Weight(125_000).to_string(), "12.5%");
        assert_eq!(Weight(1).to_string(), "0.0001%");
    }

    #[test]
    fn bad_texts() {
        use WeightError::*;
        for (text, why) in [
            ("3", NoUnit),
            ("0.03", NoUnit),
            ("%", NotANumber),
            ("-3%", NotANumber),
            ("1e1%", NotANumber),
            ("3.%", NotANumber),
            ("٣%", NotANumber),
            ("0.00001%", TooFine),
            ("100.0001%", AboveFull),
            ("99999999999999%", AboveFull),
        ] {
            assert_eq!(text.parse::<Weight>(), Err(why), "{text}");
        }
    }

    #[test]
    fn every_weight_survives_the_wire() {
        for ppm in 0..=PPM_FULL {
            assert_eq!(Weight::from_fraction(Weight(ppm).fraction()), Some(Weight(ppm)));
        }
        assert_eq!(Weight::from_fraction(f64::NAN), None);
        assert_eq!(Weight::from_fraction(1.000_000_1), None);
    }

    #[test]
    fn ticket_bounds_are_exact() {
        assert_eq!(Weight::ZERO.ticket_bound(), 0);
        assert_eq!(Weight(500_000).ticket_bound(), 1 << 63);
        let share = Weight(100).ticket_bound() as f64 / 2f64.powi(64);
        assert!((share - 0.0001).abs() < 1e-18);
    }
}
