//! Runs of small commits as a Redis pipeline makes them: most go straight into the open group without being built
//! (`orchard_engine::direct`), and what they saw on the way is held against the truth as well as what they wrote.

use super::*;
use crate::workload::{Small, header};
use orchard_engine::direct::{Direct, Seen};
use orchard_engine::format::push_flat_key;
use orchard_engine::pipeline::Pipeline;
use std::ops::ControlFlow;

/// What one commit of a run saw and wrote.
#[derive(Default)]
struct Made {
    commit: Commit,
    looks: Vec<(Place, Look)>,
    is_direct: bool,
}

/// What a look found: an entry that is not in memory is only known to be there.
#[derive(Debug)]
enum Look {
    Absent,
    Here(Value),
    Elsewhere,
}

/// How a commit looks and writes, whichever way it is made.
trait Writes {
    /// `None`: it cannot be told now.
    fn look(&mut self, place: &Place) -> Option<Look>;
    fn write(&mut self, mutation: &Mutation, is_last_header: bool);
}

/// A run of commits on its way through the engine.
struct Run<'r> {
    subject: &'r Subject,
    small: &'r [Small],
    new_ids: &'r [CollectionId],
    may_be_direct: Vec<bool>,
    made: Vec<Made>,
    done: Vec<Submitted>,
    rollbacks: u64,
    read_error: Option<ReadError>,
}

fn flat(place: &Place) -> Vec<u8> {
    let mut flat = Vec::new();
    push_flat_key(&mut flat, place.0, &place.1);
    flat
}

struct Straight<'d, 'h>(&'d mut Direct<'h>);

impl Writes for Straight<'_, '_> {
    fn look(&mut self, place: &Place) -> Option<Look> {
        let flat = flat(place);
        match self.0.look(self.0.hashed(&flat)) {
            Seen::Absent => Some(Look::Absent),
            Seen::Here(value_type, data) => Some(Look::Here(Value::new(value_type, data.to_vec()))),
            Seen::Elsewhere => Some(Look::Elsewhere),
        }
    }

    fn write(&mut self, mutation: &Mutation, is_last_header: bool) {
        let flat = flat(&(mutation.space, mutation.key.clone().into_bytes()));
        let key = self.0.hashed(&flat);
        match &mutation.operation {
            Operation::Set { value, .. } if is_last_header => {
                self.0.set_behind(key, value.value_type, &value.data);
            }
            Operation::Set { value, expiry } => self.0.set(key, value.value_type, &value.data, *expiry),
            _ => self.0.delete(key),
        }
    }
}

/// Reads, and writes nothing: the mutations are the commit.
struct Built<'b> {
    subject: &'b Subject,
    snapshot: &'b SnapshotPin,
    error: &'b mut Option<ReadError>,
}

impl Writes for Built<'_> {
    fn look(&mut self, place: &Place) -> Option<Look> {
        match self.subject.get(self.snapshot, place.0, &place.1) {
            Ok(found) => Some(found.map_or(Look::Absent, |found| Look::Here(found.live.value))),
            Err(error) => {
                *self.error = Some(error);
                None
            }
        }
    }

    fn write(&mut self, _: &Mutation, _: bool) {}
}

/// Makes one commit. `None`, and nothing written: it needs to know what cannot be told.
fn make(small: &Small, new_id: CollectionId, writes: &mut impl Writes) -> Option<Made> {
    let mut made = Made::default();
    let set = |value| Operation::Set { value, expiry: Expiry::Keep };
    match small {
        Small::Plain(mutations) => {
            for mutation in mutations {
                let place = (mutation.space, mutation.key.clone().into_bytes());
                // Some of the writes rest on what was there.
                let look = writes.look(&place)?;
                made.looks.push((place, look));
                writes.write(mutation, false);
                made.commit.mutations.push(mutation.clone());
            }
        }
        Small::Element { space, key, number, removes } => {
            let place = (*space, key.clone().into_bytes());
            let look = writes.look(&place)?;
            let known = match &look {
                Look::Here(value) => CollectionId::of_value(value.value_type, &value.data)
                    .map(|id| (id, elements_in(&value.data))),
                Look::Absent => None,
                Look::Elsewhere => return None,
            };
            made.looks.push((place, look));
            let (id, count) = known.unwrap_or((new_id, 0));
            let name = Workload::element(id, *number);
            let element = (SpaceId::ELEMENTS, name.clone().into_bytes());
            let look = writes.look(&element)?;
            let is_there = !matches!(look, Look::Absent);
            made.looks.push((element, look));
            let goes = *removes && is_there && count > 1;
            let operation = if goes { Operation::Delete } else { set(Value::from("of a run")) };
            let count = if goes { count - 1 } else { count + u64::from(!is_there) };
            let mutations = [
                Mutation { space: SpaceId::ELEMENTS, key: name, operation },
                Mutation { space: *space, key: key.clone(), operation: set(header(id, count)) },
            ];
            for (number, mutation) in mutations.into_iter().enumerate() {
                writes.write(&mutation, number == 1 && known.is_some());
                made.commit.mutations.push(mutation);
            }
        }
    }
    Some(made)
}

impl Run<'_> {
    fn keep(&mut self, number: usize, made: Made) {
        self.made.resize_with(number + 1, Made::default);
        if let Some(place) = self.made.get_mut(number) {
            *place = made;
        }
    }
}

impl Pipeline for Run<'_> {
    fn build(&mut self, number: usize, snapshot: &SnapshotPin, commit: &mut Commit) {
        let (small, new_id) = (&self.small[number], self.new_ids[number]);
        let mut built = Built { subject: self.subject, snapshot, error: &mut self.read_error };
        // What could not be read leaves the commit empty.
        let made = make(small, new_id, &mut built).unwrap_or_default();
        commit.mutations.extend_from_slice(&made.commit.mutations);
        self.keep(number, made);
    }

    fn direct(&mut self, number: usize, direct: &mut Direct<'_>) -> bool {
        let (small, new_id) = (&self.small[number], self.new_ids[number]);
        if !self.may_be_direct[number] || !direct.begin(small.writes_max(), small.size_bytes_max()) {
            return false;
        }
        match make(small, new_id, &mut Straight(direct)) {
            Some(made) => {
                self.keep(number, Made { is_direct: true, ..made });
                true
            }
            None => false,
        }
    }

    fn done(&mut self, number: usize, submitted: Submitted) -> ControlFlow<()> {
        self.made.resize_with(number + 1, Made::default);
        self.done.push(submitted);
        // What was made before a rollback is gone, what comes after it rests on that.
        if self.subject.engine().rollbacks() == self.rollbacks {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }
}

impl Simulation {
    pub(super) fn submit_run(&mut self) -> Step {
        let free = self.weather.clients.saturating_sub(self.waiting.len());
        if free == 0 {
            return self.log_step();
        }
        let now = self.clock.now();
        let count = 1 + self.random.below(free.min(8) as u64) as usize;
        let small: Vec<Small> = (0..count).map(|_| self.workload.small(&self.random, now)).collect();
        let new_ids: Vec<_> = small.iter().map(|_| self.engine().engine().new_collection_id()).collect();
        let may_be_direct = small.iter().map(|_| self.random.below(8) > 0).collect();
        let started = self.clock.now();
        let (made, done, read_error) = {
            let subject = self.engine();
            let rollbacks = subject.engine().rollbacks();
            let (made, done) = (Vec::new(), Vec::new());
            let (small, new_ids) = (small.as_slice(), new_ids.as_slice());
            let mut run =
                Run { subject, small, new_ids, may_be_direct, made, done, rollbacks, read_error: None };
            subject.engine().submit_pipeline(count, &mut run);
            (run.made, run.done, run.read_error)
        };
        if let Some(error) = read_error {
            self.read_error(&error)?;
        }
        let last = done.len();
        for (number, (made, submitted)) in made.into_iter().zip(done).enumerate() {
            tell!(self, "of a run: {:?}, direct: {} -> {submitted:?}", made.commit, made.is_direct);
            if number + 1 == last {
                // If there was a rollback, then before the last one.
                self.look_for_rollback();
            }
            if made.commit.is_empty() && submitted.outcome.is_ok() {
                continue;
            }
            if let Ok(placed) = &submitted.outcome {
                self.summary.direct += u64::from(made.is_direct);
                for (place, look) in &made.looks {
                    self.same_look(place, look, placed.log_time)?;
                }
            }
            self.settled(&made.commit, submitted, started)?;
        }
        Ok(())
    }

    /// What a commit of a run saw is what the truth has just before it.
    fn same_look(&self, place: &Place, look: &Look, at: UnixMillis) -> Step {
        let expected = self.truth.get(place, Versionstamp::MAX, at);
        let agrees = match (look, &expected) {
            (Look::Absent, None) | (Look::Elsewhere, Some(_)) => true,
            (Look::Here(value), Some(found)) => *value == found.live.value,
            _ => false,
        };
        ensure!(
            agrees,
            "a commit of a run saw {look:?} at {place:?}, expected {}",
            show(expected.map(|found| found.live).as_ref())
        );
        Ok(())
    }
}

impl Small {
    fn writes_max(&self) -> usize {
        match self {
            Small::Plain(mutations) => mutations.len(),
            Small::Element { .. } => 2,
        }
    }

    /// Bytes of keys and values.
    fn size_bytes_max(&self) -> usize {
        match self {
            Small::Plain(mutations) => mutations
                .iter()
                .map(|mutation| match &mutation.operation {
                    Operation::Set { value, .. } => mutation.key.len() + value.data.len(),
                    _ => mutation.key.len(),
                })
                .sum(),
            Small::Element { key, .. } => key.len() + 200,
        }
    }
}
