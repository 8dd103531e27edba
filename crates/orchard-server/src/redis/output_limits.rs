//! `client-output-buffer-limit`: how much a client may leave lying before it is disconnected.
//!
//! - By class: who listens to channels, and everybody else. There are no replicas; their limits are shown and kept.
//! - A hard limit ends the connection at once, a soft one when it was exceeded for so long without a break. That is looked at
//!   whenever something is added; a client that takes nothing at all is ended by the server's stall timeout.
//! - 0 is no limit of this kind. What others leave for a client (messages, `MONITOR`) has a bound nevertheless.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes that others may leave for a client that has no hard limit.
const LEFT_SIZE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// So few bytes are not looked at: most clients take what they get at once.
pub(crate) const SMALL_OUTPUT_SIZE_BYTES: usize = 16 * 1024;

/// Who is limited alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Normal = 0,
    Replica = 1,
    Pubsub = 2,
}

const CLASSES: [(Class, &str); 3] =
    [(Class::Normal, "normal"), (Class::Replica, "slave"), (Class::Pubsub, "pubsub")];

/// The limits of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Bytes; 0 is none.
    pub(crate) hard_bytes: u64,
    /// Bytes; 0 is none.
    pub(crate) soft_bytes: u64,
    pub(crate) soft_seconds: u64,
}

impl Limit {
    /// Whether a client that has left so many bytes lying is to be disconnected. `over_since` remembers since when it has
    /// been over the soft limit.
    pub(crate) fn is_over(self, bytes: usize, now: Instant, over_since: &mut Option<Instant>) -> bool {
        let bytes = bytes as u64;
        if self.soft_bytes == 0 || bytes <= self.soft_bytes {
            *over_since = None;
        }
        let is_long = self.soft_bytes != 0 && bytes > self.soft_bytes && {
            let since = *over_since.get_or_insert(now);
            now.duration_since(since) > Duration::from_secs(self.soft_seconds)
        };
        is_long || self.hard_bytes != 0 && bytes > self.hard_bytes
    }

    /// The same for what others leave.
    pub(crate) fn of_what_is_left(self) -> Limit {
        match self.hard_bytes {
            0 => Limit { hard_bytes: LEFT_SIZE_BYTES_MAX, ..self },
            _ => self,
        }
    }
}

/// The limits of all classes.
pub(crate) struct OutputLimits([[AtomicU64; 3]; 3]);

impl Default for OutputLimits {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        let limits = [[0, 0, 0], [256 * MIB, 64 * MIB, 60], [32 * MIB, 8 * MIB, 60]];
        OutputLimits(limits.map(|limit| limit.map(AtomicU64::new)))
    }
}

impl OutputLimits {
    pub(crate) fn get(&self, class: Class) -> Limit {
        let [hard_bytes, soft_bytes, soft_seconds] =
            self.0[class as usize].each_ref().map(|part| part.load(Ordering::Relaxed));
        Limit { hard_bytes, soft_bytes, soft_seconds }
    }

    pub(crate) fn set(&self, changes: &[(Class, Limit)]) {
        for (class, limit) in changes {
            let parts = [limit.hard_bytes, limit.soft_bytes, limit.soft_seconds];
            for (part, value) in self.0[*class as usize].iter().zip(parts) {
                part.store(value, Ordering::Relaxed);
            }
        }
    }

    /// As `CONFIG GET` shows them.
    pub(crate) fn text(&self) -> String {
        let texts = CLASSES.map(|(class, name)| {
            let Limit { hard_bytes, soft_bytes, soft_seconds } = self.get(class);
            format!("{name} {hard_bytes} {soft_bytes} {soft_seconds}")
        });
        texts.join(" ")
    }
}

/// Reads what `CONFIG SET` gets: a class and its three limits, as often as wanted.
///
/// # Errors
/// What is wrong, in Redis's words.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<(Class, Limit)>, &'static str> {
    let invalid = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    let text = std::str::from_utf8(text).map_err(|_| invalid)?;
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (limits, rest) = words.as_chunks::<4>();
    if !rest.is_empty() || limits.is_empty() {
        return Err("Wrong number of arguments in buffer limit configuration.");
    }
    let parsed = limits.iter().map(|[class, hard, soft, seconds]| {
        let class = match class.to_ascii_lowercase().as_str() {
            "normal" => Class::Normal,
            "slave" | "replica" => Class::Replica,
            "pubsub" => Class::Pubsub,
            _ => return Err("Invalid client class specified in buffer limit configuration."),
        };
        let limit = Limit {
            hard_bytes: memory_bytes(hard).ok_or(invalid)?,
            soft_bytes: memory_bytes(soft).ok_or(invalid)?,
            soft_seconds: seconds.parse().map_err(|_| invalid)?,
        };
        Ok((class, limit))
    });
    parsed.collect()
}

/// A size in Redis's notation: `1k` is 1,000 bytes, `1kb` 1,024.
fn memory_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_shown() {
        let limits = OutputLimits::default();
        let default = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(limits.text(), default);
        limits.set(&parse(b"pubsub 1mb 2k 5 Normal 1gb 0 0").expect("well formed"));
        assert_eq!(limits.text(), "normal 1073741824 0 0 slave 268435456 67108864 60 pubsub 1048576 2000 5");
        limits.set(&parse(default.as_bytes()).expect("what is shown can be set"));
        assert_eq!(limits.text(), default);
        for wrong in
            ["", "pubsub 1 1", "pubsub 1 1 1 normal", "nobody 1 1 1", "pubsub 1x 1 1", "pubsub 1 1 -1"]
        {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(parse(b"pubsub 99999999999999999gb 0 0").is_err());
    }

    #[test]
    fn a_soft_limit_ends_who_is_over_it_without_a_break() {
        let limit = Limit { hard_bytes: 100, soft_bytes: 10, soft_seconds: 5 };
        let (start, mut since) = (Instant::now(), None);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!limit.is_over(11, start, &mut since));
        assert!(!limit.is_over(11, after(5), &mut since));
        assert!(!limit.is_over(10, after(6), &mut since), "it took some");
        assert!(!limit.is_over(11, after(7), &mut since));
        assert!(!limit.is_over(100, after(12), &mut since));
        assert!(limit.is_over(11, after(13), &mut since));
        assert!(limit.is_over(101, start, &mut None), "the hard one at once");
        let none = Limit { hard_bytes: 0, soft_bytes: 0, soft_seconds: 0 };
        assert!(!none.is_over(usize::MAX, after(99), &mut Some(start)));
        assert!(none.of_what_is_left().is_over(33 << 20, start, &mut None), "what others leave has a bound");
    }
}
