//! Moments as people and programs write them.

use super::Timestamp;

impl Timestamp {
    /// RFC 3339, in UTC, to the second. A year that has more than four digits has a sign before it, as ISO 8601 wants it:
    /// a file may have any time that a number of 64 bits can hold.
    pub fn rfc3339(self) -> String {
        match jiff::Timestamp::new(self.secs, 0) {
            Ok(moment) => moment.to_string(),
            Err(_) => far(self.secs),
        }
    }

    /// The moment that RFC 3339 names.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let moment: jiff::Timestamp = text.parse().ok()?;
        Some(Self { secs: moment.as_second(), nanos: moment.subsec_nanosecond().try_into().ok()? })
    }

    /// Whether a file system that keeps times less exactly, or not so far in the future, may have made `kept` of this one: it
    /// cuts off what is below 100 ns (NTFS), a microsecond, 10 ms (exFAT), a second (ext3) or two (FAT), and what is above 31
    /// bits of seconds (ext3).
    pub fn may_be_kept_as(self, kept: Self) -> bool {
        const STEPS: [u32; 4] = [100, 1_000, 10_000_000, 1_000_000_000];
        let cut = |step: u32| kept.nanos == self.nanos - self.nanos % step;
        let even = self.secs - self.secs.rem_euclid(2);
        (kept.secs == self.secs && (kept == self || STEPS.into_iter().any(cut)))
            || (kept.secs == even && kept.nanos == 0)
            || (kept.secs == i64::from(i32::MAX) && self.secs > kept.secs)
    }

    /// For calendars: this moment, or the first or last one that they know.
    pub fn in_calendar(self) -> jiff::Timestamp {
        let end = if self.secs < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        jiff::Timestamp::new(self.secs, 0).unwrap_or(end)
    }
}

/// A moment that jiff does not know, by the Gregorian calendar: its cycles of 400 years, to which 1 March of the year 0
/// begins one, have 146,097 days each.
fn far(secs: i64) -> String {
    let (days, second) = (secs.div_euclid(86_400) + 719_468, secs.rem_euclid(86_400));
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    // Months from March on have 153 days in each five.
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        10_000.. => format!("+{year}"),
        _ => format!("-{:06}", year.unsigned_abs()),
    };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_file_systems_cut() {
        let at = |secs, nanos| Timestamp { secs, nanos };
        let wanted = at(1_700_000_001, 123_456_789);
        for (secs, nanos) in [
            (1_700_000_001, 123_456_789),
            (1_700_000_001, 123_456_700),
            (1_700_000_001, 123_456_000),
            (1_700_000_001, 120_000_000),
            (1_700_000_001, 0),
            (1_700_000_000, 0),
        ] {
            assert!(wanted.may_be_kept_as(at(secs, nanos)), "{secs}.{nanos}");
        }
        for (secs, nanos) in [(1_700_000_002, 0), (1_700_000_001, 1), (1_699_999_999, 0), (2_147_483_647, 0)]
        {
            assert!(!wanted.may_be_kept_as(at(secs, nanos)), "{secs}.{nanos}");
        }
        assert!(at(4_300_000_000, 5).may_be_kept_as(at(2_147_483_647, 0)));
    }

    fn text(secs: i64) -> String {
        Timestamp { secs, nanos: 0 }.rfc3339()
    }

    #[test]
    fn years_of_more_than_four_digits_are_written_out() {
        // By `date -u -d @N`.
        for (secs, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (253_402_207_199, "9999-12-30T21:59:59Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (253_402_300_800, "+10000-01-01T00:00:00Z"),
            (951_782_400 + 12_622_780_800 * 25, "+12000-02-29T00:00:00Z"),
            (32_503_680_000_000, "+1031970-08-14T00:00:00Z"),
            (i64::MAX, "+292277026596-12-04T15:30:07Z"),
            (i64::MIN, "-292277022657-01-27T08:29:52Z"),
        ] {
            assert_eq!(text(secs), want, "{secs}");
        }
    }

    #[test]
    fn the_calendar_is_the_same_as_jiffs_where_that_knows_it() {
        for secs in (-62_135_596_800..253_402_207_200).step_by(86_400 * 97 + 3_601) {
            assert_eq!(far(secs), text(secs), "{secs}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let moment = Timestamp { secs: 1_744_100_000, nanos: 0 };
        assert_eq!(Timestamp::parse_rfc3339(&moment.rfc3339()), Some(moment));
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
    }
}
