//! Whole numbers as clients send them. JSON, and so the description of our API, does not tell 17 from 17.0:
//! whatever is described as an integer is read by this.

use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A whole number from 0, however it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole<T>(pub T);

/// Of members that are plain numbers: `#[serde(deserialize_with = "…")]`.
///
/// # Errors
/// What is no whole number, or none of the type.
pub fn read<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<T, D::Error> {
    Whole::deserialize(from).map(|Whole(number)| number)
}

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(from)?;
        let whole = match number.as_u64() {
            Some(number) => Whole::try_from(number),
            None => number.as_f64().ok_or(Wrong).and_then(Whole::try_from),
        };
        whole.map_err(D::Error::custom)
    }
}

/// A value in a query or a form.
impl<T: TryFrom<u64>> FromStr for Whole<T> {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        match text.parse::<u64>() {
            Ok(number) => Whole::try_from(number),
            Err(_) => text.parse::<f64>().map_err(|_| Wrong).and_then(Whole::try_from),
        }
    }
}

impl<T: TryFrom<u64>> TryFrom<u64> for Whole<T> {
    type Error = Wrong;

    fn try_from(number: u64) -> Result<Self, Wrong> {
        T::try_from(number).map(Whole).map_err(|_| Wrong)
    }
}

impl<T: TryFrom<u64>> TryFrom<f64> for Whole<T> {
    type Error = Wrong;

    fn try_from(number: f64) -> Result<Self, Wrong> {
        /// Every whole number up to it is a double (2^53).
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        let is_whole = number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&number);
        if is_whole { Whole::try_from(number as u64) } else { Err(Wrong) }
    }
}

/// It is no whole number, or too large a one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong;

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a whole number was expected")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_fraction_changes_nothing() {
        for (text, wanted) in [
            ("17", Some(17)),
            ("17.0", Some(17)),
            ("1.7e1", Some(17)),
            ("0.0", Some(0)),
            ("4294967295.0", Some(u32::MAX)),
            ("4294967296", None),
            ("0.5", None),
            ("-1", None),
            ("-1.0", None),
            ("1e300", None),
            ("true", None),
            ("", None),
        ] {
            assert_eq!(serde_json::from_str(text).ok(), wanted.map(Whole), "{text}");
            assert_eq!(text.parse().ok(), wanted.map(Whole), "{text}");
        }
        for word in ["NaN", "inf", " 1"] {
            assert_eq!(word.parse::<Whole<u64>>(), Err(Wrong), "{word}");
        }
        assert!(serde_json::from_str::<Whole<u64>>("\"1\"").is_err());
    }
}
