//! Moments as text: `2026-11-23T04:31:48.123Z` (RFC 3339), milliseconds since 1970 inside.

use orcharddb::UnixMillis;

const DAY_MS: u64 = 86_400_000;
/// The last millisecond of the year 9999; later moments are shown as it.
const LAST_MS: u64 = 253_402_300_799_999;

/// The year, month and day of the day that is `days` after 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", 2013, `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil`], also for days before 1970.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The moment in UTC, to the millisecond. Moments behind the year 9999 are shown as its last.
///
/// ```
/// use orchard_wire::rfc3339;
/// use orcharddb::UnixMillis;
/// assert_eq!(rfc3339::render(UnixMillis(1_000)), "1970-01-01T00:00:01.000Z");
/// assert_eq!(rfc3339::parse("1970-01-01T01:00:01+01:00"), Ok(UnixMillis(1_000)));
/// ```
pub fn render(moment: UnixMillis) -> String {
    let moment_ms = moment.0.min(LAST_MS);
    let (year, month, day) = civil(moment_ms / DAY_MS);
    let of_day = moment_ms % DAY_MS;
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", of_day % 1_000)
}

/// A cursor over the text: each step takes what it expects or gives up.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        number
            .iter()
            .try_fold(0, |sum: i64, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    }

    fn one_of(&mut self, choices: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        choices.contains(first).then_some(*first)
    }

    /// The first three digits of a fraction, if there is one.
    fn milliseconds(&mut self) -> Option<i64> {
        if self.0.first() != Some(&b'.') {
            return Some(0);
        }
        let digits = self.0.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
        let (fraction, rest) = self.0.split_at_checked(digits + 1)?;
        self.0 = rest;
        let mut padded = fraction.iter().skip(1).chain(b"00").take(3);
        let mut value = 0;
        for _ in 0..3 {
            value = value * 10 + i64::from(padded.next()? - b'0');
        }
        (digits > 0).then_some(value)
    }
}

fn moment_ms(text: &[u8]) -> Option<i64> {
    let mut reader = Reader(text);
    let year = reader.number(4)?;
    reader.one_of(b"-")?;
    let month = reader.number(2)?;
    reader.one_of(b"-")?;
    let day = reader.number(2)?;
    reader.one_of(b"Tt ")?;
    let hour = reader.number(2)?;
    reader.one_of(b":")?;
    let minute = reader.number(2)?;
    reader.one_of(b":")?;
    let second = reader.number(2)?;
    let millisecond = reader.milliseconds()?;
    let offset_minutes = match reader.one_of(b"Zz+-")? {
        sign @ (b'+' | b'-') => {
            let hours = reader.number(2)?;
            reader.one_of(b":")?;
            let minutes = reader.number(2)?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if sign == b'+' { 1 } else { -1 }
        }
        _ => 0,
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => 31,
    };
    let valid = (1..=12).contains(&month) && (1..=month_days).contains(&day) && hour < 24 && minute < 60;
    if !valid || second > 60 || !reader.0.is_empty() {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + (minute - offset_minutes) * 60 + second;
    Some(seconds * 1_000 + millisecond)
}

/// A moment with its offset; a leap second is the second after, digits behind milliseconds are cut off.
///
/// # Errors
/// A text for people.
pub fn parse(text: &str) -> Result<UnixMillis, String> {
    let shown = || crate::query::shown(text.as_bytes());
    let moment_ms = moment_ms(text.as_bytes())
        .ok_or_else(|| format!("{} is not an RFC 3339 time such as 2026-11-23T04:31:48.123Z", shown()))?;
    u64::try_from(moment_ms).map(UnixMillis).map_err(|_| format!("{} lies before 1970", shown()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_moments() {
        for (text, moment_ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00.5Z", 951_825_600_500),
            ("2026-11-23T04:31:48.123456Z", 1_795_408_308_123),
            ("2026-11-23t04:31:48z", 1_795_408_308_000),
            ("2026-11-23 06:31:48+02:00", 1_795_408_308_000),
            ("1969-12-31T23:00:00-02:00", 3_600_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
            ("9999-12-31T23:59:59.999Z", LAST_MS),
        ] {
            assert_eq!(parse(text), Ok(UnixMillis(moment_ms)), "{text}");
        }
        assert_eq!(render(UnixMillis(u64::MAX)), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2026-11-23",
            "2026-11-23T04:31:48",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00Zx",
            "2026-01-01T00:00:00+1:00",
            "1969-12-31T23:59:59Z",
            "2026-01-01T00:00:00+24:00",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn moments_come_back(moment_ms in 0..=LAST_MS) {
            prop_assert_eq!(parse(&render(UnixMillis(moment_ms))), Ok(UnixMillis(moment_ms)));
        }

        #[test]
        fn no_text_panics(text in "[0-9TZ:.+é -]{0,30}") {
            let _ = parse(&text);
        }
    }
}
