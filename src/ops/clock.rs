//! The time, and what week it is.

use super::Error;
use crate::archive::{Archive, ArchiveError};
use crate::model::{Timestamp, Week};
use std::time::{SystemTime, UNIX_EPOCH};

/// The time now.
pub fn now() -> Timestamp {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp { secs: since.as_secs() as i64, nanos: since.subsec_nanos() },
        // A clock before 1970 is wrong anyway.
        Err(_) => Timestamp::default(),
    }
}

/// This week, where nobody says which: the store's clock has to agree with ours.
///
/// # Errors
/// [`Error::WhichWeek`] when they disagree on the week by more than an hour; [`Error::Archive`].
pub fn this_week(archive: &Archive) -> Result<Week, Error> {
    let (now, ours) = (now(), week_of(now()));
    match archive.check_clock(now) {
        Err(ArchiveError::Clock { store, .. }) if week_of(store) != ours => {
            Err(Error::WhichWeek { ours, store: week_of(store) })
        }
        Ok(()) | Err(ArchiveError::Clock { .. }) => Ok(ours),
        Err(error) => Err(error.into()),
    }
}

/// Refuses a week that somebody has named and that has not begun: by the store's clock, by ours where that agrees or is not
/// to be asked.
///
/// # Errors
/// [`Error::FutureWeek`]; [`Error::Archive`].
pub fn check_begun(archive: &Archive, week: Week, ask_store: bool) -> Result<(), Error> {
    let ours = now();
    let asked = if ask_store { archive.check_clock(ours) } else { Ok(()) };
    let by = match asked {
        Ok(()) => ours,
        Err(ArchiveError::Clock { store, .. }) => store,
        Err(error) => return Err(error.into()),
    };
    let this = week_of(by);
    // Of two clocks that agree one may be in the next week for up to an hour.
    if week > week_of(by.plus_seconds(3600)) { Err(Error::FutureWeek { week, this }) } else { Ok(()) }
}

/// The week of a moment in the local time zone (`TZ`, or `/etc/localtime`), as `date +%Y-%W` prints it.
pub fn week_of(moment: Timestamp) -> Week {
    let moment = moment.in_calendar();
    week_of_date(moment.to_zoned(jiff::tz::TimeZone::system()).date())
}

/// The week of a date.
pub fn week_of_date(date: jiff::civil::Date) -> Week {
    Week::of_date(date)
}

/// RFC 3339, in UTC; see [`Timestamp::rfc3339`].
pub fn rfc3339(moment: Timestamp) -> String {
    moment.rfc3339()
}
