//! Time as data: milliseconds since the Unix epoch. Reading a clock is `orchard-env`'s business.

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct UnixMillis(pub u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct DurationMs(pub u64);

impl UnixMillis {
    /// The moment `duration` later; the far future if that overflows.
    pub const fn saturating_add(self, duration: DurationMs) -> UnixMillis {
        UnixMillis(self.0.saturating_add(duration.0))
    }
}
