//! The feed: the committed changes in order, from the tail in memory or read back from the log files.
//!
//! - It shows exactly the commits up to `visible`, each once, in the order of the log.
//! - What it cannot show it says: a position that the log does not reach back to, that lies ahead, or that a crash has
//!   taken back is a gap.
//! - A reader holds no lock and nothing in memory between two calls; one that is slow reads log files, one that is
//!   slower than their retention gets a gap.
//! - After a failed write or fsync what lies behind the durable part of the log may be gone from its files: what is before it
//!   is shown, and then it says why it ends.

use crate::engine::Engine;
use crate::error::StorageError;
use crate::tail::TailRead;
use crate::wal::follow::{self, LogPlace};
use crate::wal::log::LogFileEnd;
use crate::wal::record::{self, Record};
use bytes::Bytes;
use orchard_types::{Durability, Mutation, UnixMillis, Versionstamp};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::Waker;

/// One commit as the feed shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its place.
    pub versionstamp: Versionstamp,
    /// The time of its group.
    pub log_time: UnixMillis,
    /// What it did, as it was asked for.
    pub mutations: Vec<Mutation>,
}

/// Why there is no feed from that version on.
#[derive(Debug)]
pub enum ChangesError {
    /// Commits behind the asked version are no longer (or never were) in the log: start again from a snapshot at or
    /// behind `restart_at`.
    Gap {
        /// The first version from which the feed is whole.
        restart_at: Versionstamp,
    },
    /// A log write or fsync failed, and the commits behind the asked version are in memory or nowhere. Reads go on; a feed
    /// does once the engine is opened again.
    Poisoned(Arc<str>),
    /// The log could not be read.
    Storage(StorageError),
}

/// One group of the log as the feed hands it out. Cloning shares its bytes.
#[derive(Debug, Clone)]
pub struct FeedGroup {
    pub(crate) index: u64,
    pub(crate) log_time: UnixMillis,
    pub(crate) count: u32,
    pub(crate) payload: Bytes,
}

impl FeedGroup {
    /// The stamp of its last commit; an idle group has one, too.
    pub fn last_stamp(&self) -> Versionstamp {
        Versionstamp::new(self.index, self.count.saturating_sub(1) as u16)
    }

    /// Whether `stamp` is one of its commits, or the idle group's own.
    pub fn holds(&self, stamp: Versionstamp) -> bool {
        self.index == stamp.index() && u32::from(stamp.place()) < self.count.max(1)
    }

    /// Its commits behind `after`, decoded one by one. Their keys and values share the group's bytes.
    pub fn commits(&self, after: Versionstamp) -> impl Iterator<Item = Result<Change, StorageError>> + '_ {
        let mut rest = self.payload.clone();
        (0..self.count).filter_map(move |place| {
            let versionstamp = Versionstamp::new(self.index, place as u16);
            match record::decode_shared(&rest) {
                Ok((Record { mutations, .. }, behind)) => {
                    rest = behind;
                    let change = Change { versionstamp, log_time: self.log_time, mutations };
                    (versionstamp > after).then_some(Ok(change))
                }
                // Every group was checked when it was written, and its frame when it was read back.
                Err(error) => Some(Err(StorageError::corrupt(
                    format!("log entry {}", self.index),
                    u64::from(place),
                    error.to_string(),
                ))),
            }
        })
    }
}

/// Where a reader of the feed stands.
#[derive(Debug, Clone)]
pub struct FeedCursor {
    after: Versionstamp,
    /// The position is ours, or was found in the log: it cannot have been taken back.
    is_known: bool,
    place: Option<LogPlace>,
}

impl FeedCursor {
    /// Behind a commit that a client has seen. If a crash has taken that commit back there is a gap.
    pub fn after(stamp: Versionstamp) -> FeedCursor {
        FeedCursor { after: stamp, is_known: false, place: None }
    }

    /// Behind a stamp that need not be a commit's, such as that of a point in time.
    pub fn behind(stamp: Versionstamp) -> FeedCursor {
        FeedCursor { after: stamp, is_known: true, place: None }
    }

    /// Everything up to here was read.
    pub fn position(&self) -> Versionstamp {
        self.after
    }
}

impl Engine {
    /// Every commit behind `from` up to `visible`, in order and without gaps; at most `limit` of them.
    ///
    /// # Errors
    /// [`ChangesError::Gap`] if the log does not reach back that far, if `from` lies behind its end, or if a crash has
    /// taken `from` back: below `fsync` a reader may have seen it.
    pub fn changes(&self, from: Versionstamp, limit: usize) -> Result<Vec<Change>, ChangesError> {
        const BATCH_BYTES: usize = 1 << 20;
        let mut cursor = FeedCursor::after(from);
        let mut changes = Vec::new();
        while changes.len() < limit {
            let after = cursor.position();
            let groups = self.read_feed(&mut cursor, BATCH_BYTES)?;
            if groups.is_empty() {
                break;
            }
            let commits = groups.iter().flat_map(|group| group.commits(after));
            for change in commits.take(limit - changes.len()) {
                changes.push(change.map_err(ChangesError::Storage)?);
            }
        }
        Ok(changes)
    }

    /// The next groups behind the cursor, about `bytes_max` bytes of them and at least one; none if it has reached
    /// `visible`. The first may hold commits before the cursor, too: [`FeedGroup::commits`] leaves them out. After an
    /// error the cursor is where it was.
    ///
    /// # Errors
    /// [`ChangesError`]
    pub fn read_feed(
        &self,
        cursor: &mut FeedCursor,
        bytes_max: usize,
    ) -> Result<Vec<FeedGroup>, ChangesError> {
        self.follow_feed();
        self.write_what_is_visible();
        let visible = self.visible();
        if cursor.after > visible {
            return Err(ChangesError::Gap { restart_at: self.feed_floor() });
        }
        let visible = visible.min(self.watermark(Durability::Os));
        if cursor.after >= visible {
            return Ok(Vec::new());
        }
        match self.tail.read(cursor.after, visible, bytes_max) {
            TailRead::Groups { groups, is_known } => {
                if !is_known && !cursor.is_known {
                    return Err(ChangesError::Gap { restart_at: self.feed_floor() });
                }
                if let Some(last) = groups.last() {
                    *cursor = FeedCursor::behind(last.last_stamp());
                }
                Ok(groups)
            }
            TailRead::Before(floor) if !self.keeps_log() => Err(ChangesError::Gap { restart_at: floor }),
            TailRead::Before(_) => self.read_log_files(cursor, visible, bytes_max),
        }
    }

    /// Below `os` commits are visible before they are written; the feed shows what is written.
    fn write_what_is_visible(&self) {
        if self.options.durability == Durability::None {
            while self.watermark(Durability::Os) < self.visible() {
                // What stops it, a full disk or a failed write, is told to those who commit.
                if !matches!(self.log_step(), Ok(true)) {
                    break;
                }
            }
        }
    }

    /// The feed is whole behind this.
    pub fn feed_floor(&self) -> Versionstamp {
        if self.keeps_log() {
            Versionstamp::from_raw(self.manifest.lock().feed_floor.last_commit)
        } else {
            self.tail.floor()
        }
    }

    fn read_log_files(
        &self,
        cursor: &mut FeedCursor,
        visible: Versionstamp,
        bytes_max: usize,
    ) -> Result<Vec<FeedGroup>, ChangesError> {
        let (floor, floor_end, first_log) = {
            let manifest = self.manifest.lock();
            let LogFileEnd { last_commit, last_stamp, .. } = manifest.feed_floor;
            (
                Versionstamp::from_raw(last_commit),
                Versionstamp::from_raw(last_stamp),
                manifest.first_feed_log(),
            )
        };
        if cursor.after < floor {
            return Err(ChangesError::Gap { restart_at: floor });
        }
        let disk = self.env.disk.as_ref();
        let after = cursor.after;
        let poisoned = self.poisoned();
        let durable = self.watermark(Durability::Fsync);
        let last = match &poisoned {
            Some(_) if after < durable => visible.min(durable),
            _ => visible,
        };
        // Nothing but idle groups lies between the two.
        let mut is_known = cursor.is_known || after <= floor_end;
        let mut is_lost = false;
        let mut bytes = 0;
        let mut groups: Vec<FeedGroup> = Vec::new();
        let mut visit = |group: crate::wal::Group| {
            let group = FeedGroup {
                index: group.index,
                log_time: group.log_time,
                count: group.count,
                payload: Bytes::from(group.payload),
            };
            is_known |= group.holds(after);
            if group.last_stamp() > after {
                if !is_known {
                    is_lost = true;
                    return ControlFlow::Break(());
                }
                bytes += group.payload.len();
                groups.push(group);
            }
            if bytes >= bytes_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let start = match cursor.place {
            Some(place) => Ok(place),
            None => follow::find(disk, self.database, first_log, after.index()),
        };
        let read =
            start.and_then(|start| follow::read_groups(disk, self.database, start, last.index(), &mut visit));
        match read {
            Ok(_) if is_lost => Err(ChangesError::Gap { restart_at: floor }),
            Ok(place) => {
                if let Some(last) = groups.last() {
                    *cursor = FeedCursor { after: last.last_stamp(), is_known: true, place: Some(place) };
                }
                Ok(groups)
            }
            Err(error) => {
                // A file may have been let go meanwhile, and be written again.
                let floor = self.feed_floor();
                if after < floor {
                    return Err(ChangesError::Gap { restart_at: floor });
                }
                match (error, self.poisoned()) {
                    // Poisoned while it was read: what is durable is to be shown first.
                    (StorageError::Corrupt(_), Some(_)) if poisoned.is_none() => {
                        self.read_log_files(cursor, visible, bytes_max)
                    }
                    (StorageError::Corrupt(_), Some(why)) if after >= durable => {
                        Err(ChangesError::Poisoned(why))
                    }
                    (error, _) => Err(ChangesError::Storage(error)),
                }
            }
        }
    }

    /// From now on every commit is kept in memory for readers of the feed, as far back as there is room. A database spares
    /// itself that until somebody asks for the first time: then what came before is in the log, if there is one.
    pub fn follow_feed(&self) {
        self.tail.follow();
    }

    /// The newest visible version if it is behind `after`; else `waker` is woken once it is.
    pub fn poll_visible_after(&self, after: Versionstamp, waker: &Waker) -> Option<Versionstamp> {
        self.progress.follow(after.raw(), waker).map(Versionstamp::from_raw)
    }
}
