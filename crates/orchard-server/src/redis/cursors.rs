//! Cursors of `HSCAN`, `SSCAN` and `ZSCAN`: numbers that stand for the last name of a page.
//!
//! The order of elements is that of their names, so going on behind a name visits every element that stays exactly once,
//! whatever else comes and goes. The names are kept here; when there are too many, the oldest are forgotten, and a scan
//! that goes on with a forgotten cursor starts anew.

use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Cursors that are kept.
const CURSORS_MAX: usize = 16_384;
/// Bytes of names that are kept.
const CURSORS_SIZE_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Default)]
struct Known {
    last: u64,
    names: BTreeMap<u64, Bytes>,
    size_bytes: usize,
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Cursors {
    known: Mutex<Known>,
}

impl Cursors {
    /// A cursor that stands for `name`; never 0.
    pub(crate) fn give(&self, name: Bytes) -> u64 {
        let mut known = self.known.lock();
        known.last += 1;
        let cursor = known.last;
        known.size_bytes += name.len();
        known.names.insert(cursor, Bytes::copy_from_slice(&name));
        while known.names.len() > CURSORS_MAX || known.size_bytes > CURSORS_SIZE_BYTES_MAX {
            let Some((_, oldest)) = known.names.pop_first() else { break };
            known.size_bytes -= oldest.len();
        }
        cursor
    }

    /// The name that a cursor stands for.
    pub(crate) fn name(&self, cursor: u64) -> Option<Bytes> {
        self.known.lock().names.get(&cursor).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let cursors = Cursors::default();
        let first = cursors.give(Bytes::from_static(b"first"));
        assert_eq!(cursors.name(first), Some(Bytes::from_static(b"first")));
        for _ in 0..CURSORS_MAX {
            cursors.give(Bytes::from_static(b"later"));
        }
        assert_eq!(cursors.name(first), None);
        assert_eq!(cursors.name(0), None);
        let large = cursors.give(Bytes::from(vec![0; CURSORS_SIZE_BYTES_MAX]));
        assert!(cursors.name(large).is_some());
    }
}
