//! Lengths of time as people type them: `500ms`, `30s`, `10m`, `1h`, `7d`.

use orcharddb::DurationMs;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A whole number with its unit.
///
/// # Errors
/// A text for people.
///
/// ```
/// use orchard_wire::duration;
/// assert_eq!(duration::parse("10m").map(|duration| duration.0), Ok(600_000));
/// assert!(duration::parse("10").is_err());
/// ```
pub fn parse(text: &str) -> Result<DurationMs, String> {
    let form = || {
        format!(
            "{} is not a duration such as 500ms, 30s, 10m, 1h or 7d",
            crate::query::shown(text.as_bytes())
        )
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(form)?;
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(form)?;
    if number.is_empty() {
        return Err(form());
    }
    let milliseconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*unit_ms));
    milliseconds
        .map(DurationMs)
        .ok_or_else(|| format!("{} is too long", crate::query::shown(text.as_bytes())))
}

/// The shortest text that [`parse`] reads back.
pub fn render(duration: DurationMs) -> String {
    let fits = |(_, unit_ms): &&(&str, u64)| duration.0.is_multiple_of(*unit_ms) && duration.0 > 0;
    let (name, unit_ms) = UNITS.iter().rev().find(fits).unwrap_or(&("ms", 1));
    format!("{}{name}", duration.0 / unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn durations_come_back(milliseconds in any::<u64>(), scale in 0..5usize) {
            let duration = DurationMs(milliseconds / UNITS[scale].1 * UNITS[scale].1);
            prop_assert_eq!(parse(&render(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn a_unit_is_needed() {
        for text in
            ["", "s", "30", "-1s", "+1s", "1.5h", "1h30m", "1 s", "1S", "99999999999999999999ms", "1é"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
