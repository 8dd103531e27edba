//! The position of a commit in the one total order.

use std::fmt;
use std::str::FromStr;

/// The place of a commit in the log: 48 bits of log index, 16 bits of place in the group.
///
/// Given once and strictly increasing; it is the MVCC version of everything the commit wrote.
/// On the wire it is 10 bytes (u64 big-endian index, u16 big-endian place), as text 20 hex digits.
///
/// ```
/// use orchard_types::Versionstamp;
/// let stamp = Versionstamp::new(7, 2);
/// assert_eq!(stamp.to_string(), "00000000000000070002");
/// assert_eq!("00000000000000070002".parse(), Ok(stamp));
/// assert!(stamp < Versionstamp::new(8, 0));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Versionstamp(u64);

/// Largest log index: 48 bits.
pub const INDEX_MAX: u64 = (1 << 48) - 1;

impl Versionstamp {
    /// Before every commit; also the stamp of "never written".
    pub const ZERO: Versionstamp = Versionstamp(0);
    /// Behind every commit.
    pub const MAX: Versionstamp = Versionstamp(u64::MAX);

    /// The stamp of the commit at `place` in log entry `index`.
    ///
    /// # Panics
    /// If `index` is over [`INDEX_MAX`]: indexes come from our own log, never from a client.
    #[expect(clippy::panic, reason = "the log hands out indexes; 2^48 of them outlive the machine")]
    pub const fn new(index: u64, place: u16) -> Self {
        if index > INDEX_MAX {
            panic!("log index over 48 bits");
        }
        Versionstamp(index << 16 | place as u64)
    }

    /// From the 64-bit form that the engine keeps in memory and on disk.
    pub const fn from_raw(raw: u64) -> Self {
        Versionstamp(raw)
    }

    /// The 64-bit form that the engine keeps in memory and on disk.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The index of the log entry.
    pub const fn index(self) -> u64 {
        self.0 >> 16
    }

    /// The place in that log entry.
    pub const fn place(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The 10 bytes of the wire.
    pub fn to_bytes(self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.index().to_be_bytes());
        bytes[8..].copy_from_slice(&self.place().to_be_bytes());
        bytes
    }

    /// What a key that ends in its commit's versionstamp ends in: a string part of 20 hex digits.
    pub fn key_suffix(self) -> [u8; 22] {
        let mut suffix = [0; 22];
        suffix[0] = 0x02;
        suffix[1..21].copy_from_slice(self.to_string().as_bytes());
        suffix
    }

    /// From the 10 bytes of the wire; `None` if the index has more than 48 bits.
    pub fn from_bytes(bytes: [u8; 10]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, i, j] = bytes;
        let index = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        (index <= INDEX_MAX).then(|| Versionstamp::new(index, u16::from_be_bytes([i, j])))
    }
}

impl fmt::Display for Versionstamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:04x}", self.index(), self.place())
    }
}

impl fmt::Debug for Versionstamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index(), self.place())
    }
}

/// The text is not 20 hex digits of a versionstamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseVersionstampError;

impl fmt::Display for ParseVersionstampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a versionstamp is 20 hex digits")
    }
}

impl std::error::Error for ParseVersionstampError {}

impl FromStr for Versionstamp {
    type Err = ParseVersionstampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 20 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseVersionstampError);
        }
        let (index, place) = text.split_at(16);
        let index = u64::from_str_radix(index, 16).map_err(|_| ParseVersionstampError)?;
        let place = u16::from_str_radix(place, 16).map_err(|_| ParseVersionstampError)?;
        if index > INDEX_MAX {
            return Err(ParseVersionstampError);
        }
        Ok(Versionstamp::new(index, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_text_and_order_agree() {
        let stamps = [
            Versionstamp::ZERO,
            Versionstamp::new(0, 1),
            Versionstamp::new(1, 0),
            Versionstamp::new(1, u16::MAX),
            Versionstamp::new(INDEX_MAX, u16::MAX),
        ];
        for pair in stamps.windows(2) {
            assert!(pair[0] < pair[1]);
            assert!(pair[0].to_bytes() < pair[1].to_bytes());
            assert!(pair[0].to_string() < pair[1].to_string());
        }
        for stamp in stamps {
            assert_eq!(Versionstamp::from_bytes(stamp.to_bytes()), Some(stamp));
            assert_eq!(stamp.to_string().parse(), Ok(stamp));
        }
    }

    #[test]
    fn foreign_text_is_refused() {
        for text in [
            "",
            "1",
            "0000000000000007000g",
            "000000000000000700021",
            "ffffffffffffffff0000",
            "+0000000000000070002",
        ] {
            assert_eq!(text.parse::<Versionstamp>(), Err(ParseVersionstampError), "{text}");
        }
        assert_eq!(Versionstamp::from_bytes([0xff; 10]), None);
    }
}
