//! What virtual clients ask for: keys from small and skewed sets, so that they meet; checks that hold and checks
//! that do not; values of every size; everything a commit can say.

use crate::oracle::{Live, Oracle, key, suffixed};
use bytes::Bytes;
use orchard_env::SeededRandom;
use orchard_types::{
    Check, CollectionId, Commit, DurationMs, Expiry, Key, KeyRange, Mutation, NumberOp, Operation, SpaceId,
    Token, UnixMillis, Value, ValueType, Versionstamp,
};

/// What a run's commits look like; drawn from its seed, so that runs differ.
#[derive(Clone, Debug)]
pub struct Style {
    pub key_count: u64,
    /// How strongly low keys are preferred: a key is the least of so many draws.
    pub skew: u32,
    pub spaces: Vec<SpaceId>,
    /// Usual size limit of a value.
    pub value_size_bytes: u64,
    /// Of a thousand values so many are large (up to 64 KiB), and one in ten of those larger than a group.
    pub large_per_mille: u64,
    /// Of a hundred commits so many have checks.
    pub checked_percent: u64,
    pub expiring_percent: u64,
    pub token_percent: u64,
    pub mutations_max: u64,
    /// Of a hundred operations so many delete a range, beside the usual ones.
    pub ranges_percent: u64,
    /// Of a hundred commits so many change a collection; without any, no value looks like a header.
    pub collections_percent: u64,
}

/// A commit that is no more than a few writes.
#[derive(Clone, Debug)]
pub enum Small {
    /// Sets and deletes.
    Plain(Vec<Mutation>),
    /// An element of a collection is set, or taken away if it is there and not the last; the header counts.
    Element { space: SpaceId, key: Key, number: u64, removes: bool },
}

/// The commits of one run.
pub struct Workload {
    pub style: Style,
    /// Tokens used lately, with their commits, for retries.
    used: Vec<Commit>,
}

fn pick<'a, T>(random: &SeededRandom, all: &'a [T]) -> &'a T {
    &all[random.below(all.len() as u64) as usize]
}

impl Style {
    pub fn draw(random: &SeededRandom) -> Style {
        let spaces = [SpaceId(0), SpaceId(1), SpaceId(7), SpaceId(238), SpaceId(240), SpaceId(70_000)];
        let space_count = 1 + random.below(3) as usize;
        let first = random.below(spaces.len() as u64 - space_count as u64 + 1) as usize;
        Style {
            key_count: *pick(random, &[3, 12, 60, 300]),
            skew: 1 + random.below(3) as u32,
            spaces: spaces[first..first + space_count].to_vec(),
            value_size_bytes: *pick(random, &[8, 40, 200, 1_500]),
            large_per_mille: *pick(random, &[0, 0, 2, 20]),
            checked_percent: *pick(random, &[0, 20, 60]),
            expiring_percent: *pick(random, &[0, 10, 50]),
            token_percent: *pick(random, &[0, 5, 30]),
            mutations_max: *pick(random, &[1, 4, 20]),
            ranges_percent: *pick(random, &[0, 10, 40]),
            collections_percent: *pick(random, &[0, 0, 20, 60]),
        }
    }

    /// The run's keys differ in length and content: empty, binary, near the limit, prefixes of each other.
    pub fn key(&self, random: &SeededRandom) -> Key {
        let number = (0..self.skew).map(|_| random.below(self.key_count)).min().unwrap_or_default();
        match number {
            0 => key(b""),
            7 => key(&[0xff; 2_048]),
            11 => key(&[0; 3]),
            13 => key(&[0xff, 0xff]),
            _ if number % 5 == 0 => key(format!("user/{}/{}", number / 10, number).as_bytes()),
            _ => key(format!("k{number}").as_bytes()),
        }
    }

    pub fn space(&self, random: &SeededRandom) -> SpaceId {
        *pick(random, &self.spaces)
    }

    pub fn range(&self, random: &SeededRandom) -> KeyRange {
        match random.below(6) {
            0 => KeyRange::all(),
            1 => KeyRange::prefix(b"user/"),
            2 => KeyRange::prefix(&self.key(random)),
            3 => KeyRange { start: self.key(random).into_bytes(), end: None },
            _ => {
                let (a, b) = (self.key(random).into_bytes(), self.key(random).into_bytes());
                KeyRange { start: a.clone().min(b.clone()), end: Some(a.max(b)) }
            }
        }
    }

    pub fn value(&self, random: &SeededRandom) -> Value {
        match random.below(10) {
            0 => Value::from(random.below(100) as i64 - 50),
            1 => Value::u64(random.below(100)),
            2 => Value::from(random.below(100) as f64 / 8.0),
            3 => Value::null(),
            4 => Value::from("text"),
            _ => {
                let size_bytes = if random.below(1_000) < self.large_per_mille {
                    if random.below(10) == 0 { 1_200_000 } else { random.below(64 * 1024) }
                } else {
                    random.below(self.value_size_bytes)
                };
                let mut data = vec![0; size_bytes as usize];
                // Some compressible, some not; the first bytes tell who wrote it.
                let noisy = if random.below(2) == 0 { data.len() } else { data.len().min(8) };
                orchard_env::Random::fill(random, &mut data[..noisy])
                    .expect("seeded randomness does not fail");
                // Headers of collections are written on purpose only.
                if let Some(layout) = data.first_mut() {
                    *layout |= 0x80;
                }
                let value_type =
                    *pick(random, &[ValueType::Bytes, ValueType::Json, ValueType::V8, ValueType::Hash]);
                Value::new(value_type, data)
            }
        }
    }

    fn expiry(&self, random: &SeededRandom, now: UnixMillis) -> Expiry {
        if random.below(100) >= self.expiring_percent {
            return match random.below(20) {
                0 => Expiry::Keep,
                1 => Expiry::KeepOr(DurationMs(random.below(50))),
                _ => Expiry::Never,
            };
        }
        match random.below(4) {
            0 => Expiry::At(UnixMillis(now.0.saturating_add(random.below(3_000)).saturating_sub(500))),
            1 => Expiry::After(DurationMs(random.below(5))),
            2 => Expiry::After(DurationMs(random.below(100_000))),
            _ => Expiry::After(DurationMs(random.below(2_000))),
        }
    }

    fn operation(&self, random: &SeededRandom, now: UnixMillis) -> Operation {
        let expiry = self.expiry(random, now);
        if random.below(100) < self.ranges_percent {
            return Operation::DeleteRange { end: self.range(random).end };
        }
        match random.below(20) {
            0..=8 => Operation::Set { value: self.value(random), expiry },
            9..=11 => Operation::Delete,
            12 => Operation::DeleteRange { end: self.range(random).end },
            13..=15 => self.number(random, expiry),
            16 => Operation::SetWithVersionstampSuffix { value: self.value(random), expiry },
            17..=18 => Operation::Touch { expiry },
            // Never the commit's own stamp, which a refusal does not tell.
            _ => Operation::DeleteIfStamp(Versionstamp::new(1 << 40, 0)),
        }
    }

    fn number(&self, random: &SeededRandom, expiry: Expiry) -> Operation {
        let op = *pick(random, &[NumberOp::Sum, NumberOp::Sum, NumberOp::Min, NumberOp::Max]);
        let kind = random.below(3);
        let of = |number: i64| match kind {
            0 => Value::from(number),
            1 => Value::u64(number.unsigned_abs()),
            _ => Value::from(number as f64 / 4.0),
        };
        let extreme = random.below(20) == 0;
        let bound = |sign: i64| (random.below(4) == 0).then(|| of(sign * random.below(100) as i64));
        Operation::Number {
            op,
            operand: of(if extreme { i64::MAX } else { random.below(20) as i64 - 8 }),
            at_least: bound(-1),
            at_most: bound(1),
            clamp: random.below(2) == 0,
            expiry,
        }
    }
}

impl Workload {
    pub fn new(style: Style) -> Workload {
        Workload { style, used: Vec::new() }
    }

    /// The next commit of some client. `truth` tells what checks would hold now; `now` is about the log's time.
    pub fn commit(&mut self, random: &SeededRandom, truth: &Oracle, now: UnixMillis) -> Commit {
        if !self.used.is_empty() && random.below(100) < self.style.token_percent {
            return self.retry(random);
        }
        let mut commit = Commit::new();
        if random.below(100) < self.style.checked_percent {
            for _ in 0..=random.below(3) {
                commit.checks.push(self.check(random, truth, now));
            }
        }
        let count = random.below(self.style.mutations_max + 1);
        for _ in 0..count {
            let (space, key) = (self.style.space(random), self.style.key(random));
            let mut operation = self.style.operation(random, now);
            if let Operation::DeleteIfStamp(stamp) = &mut operation
                && random.below(2) == 0
            {
                let place = (space, key.clone().into_bytes());
                *stamp = truth.version(&place, Versionstamp::MAX).map_or(*stamp, |version| version.stamp);
            }
            if let Operation::DeleteRange { end } = &operation
                && end.as_ref().is_some_and(|end| *end < key.clone().into_bytes())
                && random.below(4) > 0
            {
                let end = suffixed(key.get(..40).unwrap_or(&key), Versionstamp::MAX);
                operation = Operation::DeleteRange { end: Some(end) };
            }
            commit.mutations.push(Mutation { space, key, operation });
        }
        if random.below(100) < self.style.token_percent {
            let ahead_ms = *pick(random, &[0, 5, 1_000, 100_000, 86_000_000, 90_000_000]);
            let id = Bytes::from(format!("token{}", random.below(40)));
            commit.token = Some(Token { id, deadline: UnixMillis(now.0 + ahead_ms) });
            self.used.push(commit.clone());
            if self.used.len() > 30 {
                self.used.remove(0);
            }
        }
        commit
    }

    /// What one command of a pipeline writes.
    pub fn small(&self, random: &SeededRandom, now: UnixMillis) -> Small {
        let (space, key) = (self.style.space(random), self.style.key(random));
        if random.below(100) < self.style.collections_percent {
            let (number, removes) = (random.below(16), random.below(3) == 0);
            return Small::Element { space, key, number, removes };
        }
        let mut places = vec![(space, key)];
        for _ in 0..random.below(3) {
            let place = (self.style.space(random), self.style.key(random));
            if !places.contains(&place) {
                places.push(place);
            }
        }
        let mutation = |(space, key)| {
            let operation = match random.below(4) {
                0 => Operation::Delete,
                _ => {
                    Operation::Set { value: self.style.value(random), expiry: self.style.expiry(random, now) }
                }
            };
            Mutation { space, key, operation }
        };
        Small::Plain(places.into_iter().map(mutation).collect())
    }

    /// The key of a collection's element.
    pub fn element(id: CollectionId, number: u64) -> Key {
        let flat = [id.as_ref(), format!("element {number}").as_bytes()].concat();
        Key::new(flat).unwrap_or_default()
    }

    /// A commit that changes one collection as a client of it would: elements and header together, if the header is still
    /// the one that the client has read. `new_id` for a new collection.
    pub fn collection_commit(
        &self,
        random: &SeededRandom,
        truth: &Oracle,
        now: UnixMillis,
        new_id: CollectionId,
    ) -> Commit {
        let (space, key) = (self.style.space(random), self.style.key(random));
        let place = (space, key.clone().into_bytes());
        let found = truth.get(&place, Versionstamp::MAX, now);
        let commit = Commit::new().check(space, key.clone(), found.as_ref().map(|found| found.stamp));
        let known = found.as_ref().and_then(|found| {
            let value = &found.live.value;
            Some((CollectionId::of_value(value.value_type, &value.data)?, value.clone()))
        });
        let set = |value| Operation::Set { value, expiry: Expiry::Keep };
        let element = Workload::element;
        let Some((id, header_value)) = known else {
            let count = 1 + random.below(12);
            let elements = (0..count).fold(commit, |commit, number| {
                commit.mutate(SpaceId::ELEMENTS, element(new_id, number), set(Value::from("element")))
            });
            return elements.mutate(space, key, set(header(new_id, count)));
        };
        let elsewhere = (self.style.space(random), self.style.key(random));
        match random.below(8) {
            // A rename, and one that deletes a whole range on its way.
            0 => commit.mutate(space, key.clone(), Operation::Delete).mutate(
                elsewhere.0,
                elsewhere.1,
                set(header_value),
            ),
            1 => commit
                .mutate(space, key.clone(), Operation::DeleteRange { end: self.style.range(random).end })
                .mutate(space, key, Operation::Delete)
                .mutate(elsewhere.0, elsewhere.1, set(header_value)),
            2 => commit.mutate(space, key, Operation::Delete),
            _ => {
                let number = random.below(16);
                let name = element(id, number);
                let place = (SpaceId::ELEMENTS, name.clone().into_bytes());
                let is_there = truth.get(&place, Versionstamp::MAX, now).is_some();
                let count = elements_in(&header_value.data);
                if is_there && random.below(2) == 0 && count > 1 {
                    commit.mutate(SpaceId::ELEMENTS, name, Operation::Delete).mutate(
                        space,
                        key,
                        set(header(id, count - 1)),
                    )
                } else {
                    commit.mutate(SpaceId::ELEMENTS, name, set(Value::from("again"))).mutate(
                        space,
                        key,
                        set(header(id, count + u64::from(!is_there))),
                    )
                }
            }
        }
    }

    fn retry(&self, random: &SeededRandom) -> Commit {
        let mut commit = pick(random, &self.used).clone();
        if random.below(8) == 0 {
            commit.mutations.push(Mutation {
                space: self.style.space(random),
                key: self.style.key(random),
                operation: Operation::Delete,
            });
        }
        commit
    }

    fn check(&self, random: &SeededRandom, truth: &Oracle, now: UnixMillis) -> Check {
        let space = self.style.space(random);
        let last = truth.last();
        let back = |most: u64| Versionstamp::new(last.index().saturating_sub(random.below(most)), u16::MAX);
        if random.below(3) == 0 {
            let unchanged_since = match random.below(8) {
                0 => back(1_000),
                1 => Versionstamp::new(last.index().saturating_sub(1), last.place()),
                2..=4 => back(6),
                _ => last,
            };
            return Check::Range { space, range: self.style.range(random), unchanged_since };
        }
        let key = self.style.key(random).into_bytes();
        let found = truth.get(&(space, key.clone()), Versionstamp::MAX, now);
        let expected = match random.below(10) {
            0 => None,
            1 => Some(back(10)),
            _ => found.map(|found| found.stamp),
        };
        Check::Key { space, key, expected }
    }
}

/// The header of a collection of `count` elements.
pub fn header(id: CollectionId, count: u64) -> Value {
    let data = [&[1], id.as_ref(), &count.to_le_bytes()].concat();
    Value::new(ValueType::Set, data)
}

/// The count in a header.
pub fn elements_in(header: &[u8]) -> u64 {
    header.get(11..19).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// A mark that tells two values apart without showing all of them.
pub fn show(live: Option<&Live>) -> String {
    live.map_or("nothing".to_owned(), |live| format!("{:?} expiring {:?}", live.value, live.expires_at))
}
