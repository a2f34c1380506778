//! The pace of a run: when a tick may open. It never decides what is in a tick, so it is no part of the journal.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The pace of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Pace {
    /// A tick opens as soon as the one before it is committed.
    #[default]
    Free,
    /// Ticks open at a rate, in thousandths of a hertz.
    MilliHertz(u64),
}

/// One tick in about a quarter of an hour, to ten thousand in a second.
const MILLI_HERTZ: std::ops::RangeInclusive<u64> = 1..=10_000_000;

/// The next step for a text that is no pace.
pub const PACE_HELP: &str = "write \"free\", or a rate from \"0.001 Hz\" to \"10000 Hz\"";

impl Pace {
    /// The time between the openings of two ticks, if there is a rate.
    #[must_use]
    pub fn period(self) -> Option<Duration> {
        match self {
            Pace::Free => None,
            Pace::MilliHertz(rate) => Some(Duration::from_nanos(1_000_000_000_000 / rate)),
        }
    }
}

impl FromStr for Pace {
    type Err = &'static str;

    /// Parses `free`, or a rate with at most three decimals: `100 Hz`, `0.5Hz`, `25`.
    fn from_str(text: &str) -> Result<Pace, &'static str> {
        if text == "free" {
            return Ok(Pace::Free);
        }
        let number = text.strip_suffix("Hz").unwrap_or(text).trim_end();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) || decimals.len() > 3 {
            return Err("no pace");
        }
        let thousandths = format!("{whole}{decimals:0<3}").parse().ok();
        let rate = thousandths.filter(|rate| MILLI_HERTZ.contains(rate));
        rate.map(Pace::MilliHertz).ok_or("out of range")
    }
}

impl TryFrom<String> for Pace {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Pace, &'static str> {
        text.parse()
    }
}

impl From<Pace> for String {
    fn from(pace: Pace) -> String {
        pace.to_string()
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pace::Free => f.write_str("free"),
            Pace::MilliHertz(rate) if rate % 1000 == 0 => write!(f, "{} Hz", rate / 1000),
            Pace::MilliHertz(rate) => {
                let text = format!("{}.{:03}", rate / 1000, rate % 1000);
                write!(f, "{} Hz", text.trim_end_matches('0'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_read_and_written() {
        for (text, pace, written) in [
            ("free", Pace::Free, "free"),
            ("100 Hz", Pace::MilliHertz(100_000), "100 Hz"),
            ("0.5Hz", Pace::MilliHertz(500), "0.5 Hz"),
            ("25", Pace::MilliHertz(25_000), "25 Hz"),
            ("0.001 Hz", Pace::MilliHertz(1), "0.001 Hz"),
            ("10000 Hz", Pace::MilliHertz(10_000_000), "10000 Hz"),
        ] {
            assert_eq!(text.parse(), Ok(pace), "{text}");
            assert_eq!(pace.to_string(), written);
            assert_eq!(written.parse(), Ok(pace));
        }
        for text in [
            "",
            "0",
            "0 Hz",
            "Hz",
            "-1",
            "1e3",
            "fast",
            "0.0001",
            "10001",
            "1.",
            ".5",
            "+5",
            "99999999999999999999",
        ] {
            assert!(text.parse::<Pace>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_has_a_period() {
        assert_eq!(
            Pace::MilliHertz(100_000).period(),
            Some(Duration::from_millis(10))
        );
        assert_eq!(Pace::MilliHertz(500).period(), Some(Duration::from_secs(2)));
        assert_eq!(Pace::Free.period(), None);
    }
}
