//! Every answer is held against what was written; one wrong answer ends the whole benchmark.

use crate::data::{self, Shape};
use crate::store::{Reader, Result, Store};

/// A wrong answer: the process ends with its own exit code, and the whole benchmark with it.
pub const WRONG_ANSWER: i32 = 3;

#[derive(Debug)]
pub struct WrongAnswer(String);

impl WrongAnswer {
    pub fn of(what: String) -> WrongAnswer {
        WrongAnswer(what)
    }
}

impl std::fmt::Display for WrongAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "wrong answer: {}", self.0)
    }
}

impl std::error::Error for WrongAnswer {}

/// Wrong unless `right`.
pub fn verify(right: bool, what: impl FnOnce() -> String) -> Result {
    if right { Ok(()) } else { Err(Box::new(WrongAnswer(what()))) }
}

/// Wrong unless it is a value that was written under the key.
pub fn verify_value(key: &[u8], value: Option<&[u8]>) -> Result {
    verify(value.is_some_and(|value| data::check(key, value)), || match value {
        Some(value) => format!("key {} has {}", key.escape_ascii(), value.escape_ascii()),
        None => format!("key {} is missing", key.escape_ascii()),
    })
}

/// The index of a record that is not among the loaded ones.
pub fn fresh(thread: usize, number: u64) -> u64 {
    (thread as u64 + 1) << 40 | number
}

/// Each thread's written records are there.
pub fn verify_fresh<S: Store>(store: &S, written: &[u64]) -> Result {
    for (thread, written) in written.iter().enumerate() {
        read_all(store, Shape::Random, fresh(thread, 0)..fresh(thread, *written))?;
    }
    Ok(())
}

/// Reads records and holds each against what was written.
pub fn read_all<S: Store>(store: &S, shape: Shape, indexes: std::ops::Range<u64>) -> Result {
    let mut reader = store.reader()?;
    for index in indexes {
        let key = shape.key(index);
        reader.get(&key, |value| verify_value(&key, value))??;
    }
    Ok(())
}
