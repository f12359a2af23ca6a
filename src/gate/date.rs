//! A day, so that suppressions can expire.

pub use chrono::NaiveDate as Date;

use chrono::DateTime;

/// The day (UTC) this many seconds after the beginning of 1970.
pub fn day_of(unix_seconds: u64) -> Date {
    let seconds = i64::try_from(unix_seconds).ok();
    seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0)).map_or(Date::MAX, |when| when.date_naive())
}

#[cfg(test)]
mod tests {
    use super::{Date, day_of};

    #[test]
    fn days_of_seconds() {
        for (seconds, want) in [
            (0, "1970-01-01"),
            (86_399, "1970-01-01"),
            (86_400, "1970-01-02"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_798_761_599, "2026-12-31"),
            (1_798_761_600, "2027-01-01"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(day_of(seconds).to_string(), want);
        }
        assert_eq!(day_of(u64::MAX), Date::MAX);
    }
}
