//! Which entries expire when, so that a sweep finds them without looking at the others.

use crate::engine::Engine;
use crate::format::split_flat_key;
use orchard_types::{SpaceId, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};

/// Entries by the time of their expiry. Holds exactly the entries in memory that have one.
#[derive(Default)]
pub struct ExpiryIndex {
    due: BTreeSet<(u64, Box<[u8]>)>,
    key_bytes: usize,
    spaces: BTreeMap<SpaceId, Sums>,
}

/// Of the entries of a space: their number, and the sum of their moments.
#[derive(Clone, Copy, Default)]
struct Sums {
    count: u64,
    expires_at_ms: u128,
}

/// Memory of one item beside its key: the tuple, the tree's share and the allocation's.
const ITEM_OVERHEAD_BYTES: usize = 48;

impl ExpiryIndex {
    /// An entry's expiry changed.
    pub fn change(&mut self, key: Vec<u8>, before: Option<u64>, after: Option<u64>) {
        if before == after {
            return;
        }
        let mut item = (before.unwrap_or_default(), key.into_boxed_slice());
        if before.is_some() && self.due.remove(&item) {
            self.key_bytes -= item.1.len();
            if let Some(sums) = split_flat_key(&item.1).and_then(|(space, _)| self.spaces.get_mut(&space)) {
                sums.count -= 1;
                sums.expires_at_ms -= u128::from(item.0);
            }
        }
        if let Some(after) = after {
            item.0 = after;
            if let Some((space, _)) = split_flat_key(&item.1)
                && !self.due.contains(&item)
            {
                let sums = self.spaces.entry(space).or_default();
                sums.count += 1;
                sums.expires_at_ms += u128::from(after);
            }
            self.key_bytes += item.1.len();
            self.due.insert(item);
        }
    }

    /// Takes over the entries of `other`, whose keys are others.
    pub(crate) fn absorb(&mut self, mut other: ExpiryIndex) {
        self.due.append(&mut other.due);
        self.key_bytes += other.key_bytes;
        for (space, sums) in other.spaces {
            let own = self.spaces.entry(space).or_default();
            own.count += sums.count;
            own.expires_at_ms += sums.expires_at_ms;
        }
    }

    /// How many entries of a space expire, and when on average.
    pub fn of_space(&self, space: SpaceId) -> (u64, UnixMillis) {
        let sums = self.spaces.get(&space).copied().unwrap_or_default();
        let mean = sums.expires_at_ms / u128::from(sums.count.max(1));
        (sums.count, UnixMillis(u64::try_from(mean).unwrap_or(u64::MAX)))
    }

    /// The entries that expire at or before `now_ms`, soonest first, each with its moment.
    pub fn due(&self, now_ms: u64) -> impl Iterator<Item = (u64, &[u8])> {
        self.due
            .iter()
            .take_while(move |(expires_at_ms, _)| *expires_at_ms <= now_ms)
            .map(|(expires_at_ms, key)| (*expires_at_ms, key.as_ref()))
    }

    /// The keys of entries that expire behind `after_ms` and not behind `until_ms`.
    pub fn between(&self, after_ms: u64, until_ms: u64) -> impl Iterator<Item = &[u8]> {
        let first = (after_ms.saturating_add(1), Box::<[u8]>::default());
        self.due
            .range(first..)
            .take_while(move |(expires_at_ms, _)| *expires_at_ms <= until_ms)
            .map(|(_, key)| key.as_ref())
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// Memory in bytes, about.
    pub fn memory_bytes(&self) -> usize {
        self.key_bytes + self.due.len() * ITEM_OVERHEAD_BYTES
    }
}

impl Engine {
    /// How many entries of a space expire, and when on average; those that have and are not swept yet are counted.
    pub fn expiring(&self, space: SpaceId) -> (u64, UnixMillis) {
        self.expiry.lock().of_space(space)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchard_env::SeededRandom;
    use std::collections::BTreeMap;

    #[test]
    fn it_holds_what_a_map_of_expiries_holds() {
        for seed in 0..20 {
            let random = SeededRandom::new(seed);
            let (mut index, mut model) = (ExpiryIndex::default(), BTreeMap::<Vec<u8>, u64>::new());
            for _ in 0..2_000 {
                let key = vec![b'k'; random.below(12) as usize];
                let after = (random.below(3) > 0).then(|| random.below(50));
                index.change(key.clone(), model.get(&key).copied(), after);
                match after {
                    Some(after) => model.insert(key, after),
                    None => model.remove(&key),
                };
                let now = random.below(60);
                let limit = random.below(15) as usize;
                let mut due: Vec<_> = model.iter().map(|(key, at)| (*at, key.clone())).collect();
                due.retain(|(at, _)| *at <= now);
                due.sort_unstable();
                due.truncate(limit);
                let found: Vec<_> = index.due(now).take(limit).map(|(at, key)| (at, key.to_vec())).collect();
                assert_eq!(found, due, "seed {seed}");
                let after = random.below(60);
                let between: Vec<_> = model
                    .iter()
                    .filter(|(_, at)| **at > after && **at <= now)
                    .map(|(key, at)| (*at, key.as_slice()))
                    .collect::<std::collections::BTreeSet<_>>()
                    .into_iter()
                    .map(|(_, key)| key)
                    .collect();
                assert_eq!(index.between(after, now).collect::<Vec<_>>(), between, "seed {seed}");
                assert_eq!((index.len(), index.is_empty()), (model.len(), model.is_empty()));
                let key_bytes: usize = model.keys().map(Vec::len).sum();
                assert_eq!(index.memory_bytes(), key_bytes + model.len() * ITEM_OVERHEAD_BYTES);
            }
        }
    }
}
