//! Times of expiry, as commands give them.

use super::error::RedisError;
use orchard_wire::resp::number::parse_integer;
use orcharddb::UnixMillis;

/// How a time is given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeUnit {
    /// Milliseconds of one.
    pub(crate) scale_ms: i64,
    /// A moment rather than a length.
    pub(crate) is_moment: bool,
}

/// `EX`, `PX`, `EXAT`, `PXAT`.
pub(crate) fn time_unit(option: &[u8]) -> Option<TimeUnit> {
    Some(match option.to_ascii_lowercase().as_slice() {
        b"ex" => TimeUnit { scale_ms: 1_000, is_moment: false },
        b"px" => TimeUnit { scale_ms: 1, is_moment: false },
        b"exat" => TimeUnit { scale_ms: 1_000, is_moment: true },
        b"pxat" => TimeUnit { scale_ms: 1, is_moment: true },
        _ => return None,
    })
}

/// The moment in Unix milliseconds that a time means, which may lie in the past or before 1970.
pub(crate) fn any_moment(
    time: i64,
    unit: TimeUnit,
    now: UnixMillis,
    command: &str,
) -> Result<i64, RedisError> {
    let invalid = || RedisError::invalid_expire(command);
    let time_ms = time.checked_mul(unit.scale_ms).ok_or_else(invalid)?;
    let now_ms = if unit.is_moment { 0 } else { i64::try_from(now.0).unwrap_or(i64::MAX) };
    time_ms.checked_add(now_ms).ok_or_else(invalid)
}

/// The moment that a time above zero means.
pub(crate) fn moment(
    text: &[u8],
    unit: TimeUnit,
    now: UnixMillis,
    command: &str,
) -> Result<UnixMillis, RedisError> {
    let time = parse_integer(text).ok_or(RedisError::NOT_INTEGER)?;
    if time <= 0 {
        return Err(RedisError::invalid_expire(command));
    }
    let at_ms = any_moment(time, unit, now, command)?;
    Ok(UnixMillis(u64::try_from(at_ms).unwrap_or(0)))
}

/// Whether a time of this unit may follow the options so far: the same unit may be given again, and the last one counts.
pub(crate) fn may_follow(unit: TimeUnit, before: Option<(TimeUnit, &[u8])>) -> bool {
    before.is_none_or(|(before, _)| before == unit)
}
