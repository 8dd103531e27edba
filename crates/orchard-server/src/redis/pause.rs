//! `CLIENT PAUSE`: for a while no command runs, or none that writes; requests wait where they are.

use super::command::{Command, Handler, WRITE};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The longest pause; what is asked for beyond it is as good as for ever.
const PAUSE_MAX: Duration = Duration::from_secs(365 * 86_400);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Until {
    end: Instant,
    only_writes: bool,
}

/// Whether commands wait.
pub(crate) struct Pause {
    /// Whether there may be a pause: the one thing that most commands look at.
    is_any: AtomicBool,
    until: watch::Sender<Option<Until>>,
}

impl Default for Pause {
    fn default() -> Pause {
        Pause { is_any: AtomicBool::new(false), until: watch::Sender::new(None) }
    }
}

impl Pause {
    /// Commands wait for so long. Of two pauses the later end counts, and that one of them holds all commands.
    pub(crate) fn begin(&self, duration: Duration, only_writes: bool) {
        let end = Instant::now() + duration.min(PAUSE_MAX);
        self.until.send_modify(|until| {
            let before = until.filter(|before| before.end > Instant::now());
            *until = Some(Until {
                end: before.map_or(end, |before| before.end.max(end)),
                only_writes: only_writes && before.is_none_or(|before| before.only_writes),
            });
            self.is_any.store(true, Ordering::Relaxed);
        });
    }

    /// They go on.
    pub(crate) fn end(&self) {
        self.is_any.store(false, Ordering::Relaxed);
        self.until.send_replace(None);
    }

    /// Whether a command waits now. `writes`: it is an `EXEC` of commands that do.
    pub(crate) fn holds(&self, command: &Command, writes: bool) -> bool {
        if !self.is_any.load(Ordering::Relaxed) {
            return false;
        }
        let until = *self.until.borrow();
        let Some(until) = until.filter(|until| until.end > Instant::now()) else {
            self.is_any.store(false, Ordering::Relaxed);
            return false;
        };
        let may_write = writes
            || command.flags.has(WRITE)
            || matches!(command.handler, Handler::Write(_))
            || matches!(command.name, "publish" | "spublish");
        !until.only_writes || may_write
    }

    /// Ready when the pause is over.
    pub(crate) fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut until = self.until.subscribe();
        async move {
            loop {
                let now = *until.borrow_and_update();
                let Some(pause) = now.filter(|pause| pause.end > Instant::now()) else { return };
                tokio::select! {
                    () = sleep_until(pause.end) => {}
                    changed = until.changed() => if changed.is_err() { return },
                }
            }
        }
    }
}
