//! Weeks, exactly as `date +%Y-%W` prints them.

use super::Timestamp;
use std::fmt;
use std::str::FromStr;

/// Seconds by which the day on the easternmost islands (UTC+14) is ahead of UTC, and the hour by which clocks may differ.
const AHEAD: i64 = 15 * 3600;

/// A week of a year: weeks start on Monday, and the days before a year's first Monday are in week 00.
///
/// This is strftime's `%W`, not the ISO 8601 week. A year has weeks 00 to 53 at most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Week {
    year: u16,
    week: u8,
}

/// A text that is not a week.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid week {0:?}: give YYYY-WW as `date +%Y-%W` prints it (weeks 00 to 53), e.g. 2025-14")]
pub struct InvalidWeek(pub String);

impl Week {
    /// The week of a date. `day_of_year` counts from 1; `days_since_monday` is 0 on Mondays.
    pub fn of_day(year: u16, day_of_year: u16, days_since_monday: u16) -> Self {
        // POSIX: %W counts the Mondays from January 1st up to and with this day.
        let week = (day_of_year - 1 + 7 - days_since_monday) / 7;
        Self { year, week: week as u8 }
    }

    /// The week of a date.
    pub fn of_date(date: jiff::civil::Date) -> Self {
        let since_monday = date.weekday().to_monday_zero_offset();
        Self::of_day(
            date.year().unsigned_abs(),
            date.day_of_year().unsigned_abs(),
            since_monday.unsigned_abs().into(),
        )
    }

    /// The last week that has begun anywhere on Earth: a label after it is later than now, whatever time zone it was
    /// made in.
    pub fn last_begun(now: Timestamp) -> Self {
        Self::of_date(now.plus_seconds(AHEAD).in_calendar().to_zoned(jiff::tz::TimeZone::UTC).date())
    }
}

impl FromStr for Week {
    type Err = InvalidWeek;

    fn from_str(s: &str) -> Result<Self, InvalidWeek> {
        let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
        let parse = || {
            let (year, week) = s.split_once('-')?;
            if year.len() != 4 || week.len() != 2 || !digits(year) || !digits(week) {
                return None;
            }
            let (year, week) = (year.parse().ok()?, week.parse().ok()?);
            (week <= 53).then_some(Self { year, week })
        };
        parse().ok_or_else(|| InvalidWeek(super::names::first(s)))
    }
}

impl fmt::Display for Week {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.week)
    }
}

/// How a command line names a week: by its label, or relative to what the store has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WeekRef {
    /// This very week.
    Exact(Week),
    /// The newest week that has a manifest of the pvc.
    Latest,
    /// The one before the newest.
    Previous,
}

impl FromStr for WeekRef {
    type Err = InvalidWeek;

    fn from_str(s: &str) -> Result<Self, InvalidWeek> {
        match s {
            "latest" => Ok(Self::Latest),
            "previous" => Ok(Self::Previous),
            _ => s.parse().map(Self::Exact),
        }
    }
}

impl fmt::Display for WeekRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(week) => week.fmt(f),
            Self::Latest => f.write_str("latest"),
            Self::Previous => f.write_str("previous"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        // `date -d 2025-04-08 +%Y-%W` prints 2025-14: a Tuesday, day 98.
        assert_eq!(Week::of_day(2025, 98, 1).to_string(), "2025-14");
        // 2024-01-01 is a Monday: week 01. 2023-01-01 is a Sunday: week 00.
        assert_eq!(Week::of_day(2024, 1, 0).to_string(), "2024-01");
        assert_eq!(Week::of_day(2023, 1, 6).to_string(), "2023-00");
    }

    #[test]
    fn a_week_begins_first_on_the_easternmost_islands() {
        let last = |moment: &str| Week::last_begun(Timestamp::parse_rfc3339(moment).unwrap()).to_string();
        // 2025-04-06 is a Sunday; on Kiritimati it is Monday from 10:00 UTC on, and an hour is for clocks that differ.
        assert_eq!(last("2025-04-06T08:59:59Z"), "2025-13");
        assert_eq!(last("2025-04-06T09:00:00Z"), "2025-14");
    }

    #[test]
    fn parses_only_the_exact_form() {
        assert_eq!("2025-14".parse::<Week>().unwrap().to_string(), "2025-14");
        for bad in ["2025-54", "2025-1", "25-14", "2025/14", "2025-W14", " 2025-14", "2025-+1", "", "latest"]
        {
            assert!(bad.parse::<Week>().is_err(), "{bad:?}");
        }
        assert_eq!("latest".parse::<WeekRef>().unwrap(), WeekRef::Latest);
    }
}
