//! Replies on their way out, and the gate before them.
//!
//! - Replies leave in order. A reply leaves when *visible* has passed the stamp that it depends on.
//! - `sent <= open <= bytes.len()`; the first gate ends behind `open`, and gates stand in the order of their ends.
//! - If a stamp was taken back (disk full) or will never be durable (log failed), its replies become errors, one for one.

use super::error::RedisError;
use orchard_wire::resp::{Reply, RespVersion};
use orcharddb::{CommitError, Db, Versionstamp};
use std::collections::VecDeque;
use std::task::{Context, Poll};

/// A buffer larger than this is not kept when it is empty, in bytes.
const KEPT_SIZE_BYTES_MAX: usize = 64 * 1024;

/// A reply that waits.
#[derive(Clone, Copy, Debug)]
struct Gate {
    stamp: Versionstamp,
    /// Where the reply ends.
    end: usize,
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    sent: usize,
    /// What lies before may leave.
    open: usize,
    gates: VecDeque<Gate>,
    /// At least this is visible.
    visible: Versionstamp,
    /// The stamp that the task was last registered for.
    registered: Option<Versionstamp>,
}

impl Output {
    /// Bytes that have not been sent.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether everything has been sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting_bytes() == 0
    }

    /// Replies that wait for the log.
    pub(crate) fn gated(&self) -> usize {
        self.gates.len()
    }

    /// The bytes that may leave now.
    pub(crate) fn open_bytes(&self) -> &[u8] {
        self.bytes.get(self.sent..self.open).unwrap_or_default()
    }

    /// So many of them were sent.
    pub(crate) fn advance(&mut self, sent: usize) {
        self.sent += sent;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            (self.sent, self.open) = (0, 0);
            if self.bytes.capacity() > KEPT_SIZE_BYTES_MAX {
                self.bytes = Vec::new();
            }
        }
    }

    /// Adds a reply.
    pub(crate) fn push(&mut self, reply: &Reply, version: RespVersion, depends_on: Versionstamp) {
        self.push_with(depends_on, |bytes| reply.encode(version, bytes));
    }

    /// Adds a reply that `write` appends.
    pub(crate) fn push_with(&mut self, depends_on: Versionstamp, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        write(&mut self.bytes);
        let end = self.bytes.len();
        if end == before {
            return;
        }
        match self.gates.back() {
            None if depends_on <= self.visible => self.open = end,
            None => self.gates.push_back(Gate { stamp: depends_on, end }),
            Some(last) => {
                let stamp = last.stamp.max(depends_on);
                self.gates.push_back(Gate { stamp, end });
            }
        }
    }

    /// Opens what may be opened; ready if something was. The task is woken when more can be.
    pub(crate) fn poll_gates(&mut self, db: &Db, cx: &mut Context<'_>) -> Poll<()> {
        let mut has_opened = false;
        while let Some(gate) = self.gates.front().copied() {
            // Asked again for another reason, the task must not be registered again.
            let outcome = match self.registered == Some(gate.stamp) {
                true => db.durable(gate.stamp),
                false => db.poll_durable(gate.stamp, cx.waker()),
            };
            match outcome {
                Poll::Pending => {
                    self.registered = Some(gate.stamp);
                    break;
                }
                Poll::Ready(Ok(())) => {
                    self.visible = self.visible.max(gate.stamp);
                    self.open = gate.end;
                }
                Poll::Ready(Err(error)) => self.fail_front(gate, error),
            }
            self.registered = None;
            self.gates.pop_front();
            has_opened = true;
        }
        if has_opened { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Notes how far the log has come, so that replies need no gate.
    pub(crate) fn note_visible(&mut self, visible: Versionstamp) {
        self.visible = self.visible.max(visible);
    }

    /// The first waiting reply tells of something that did not happen.
    fn fail_front(&mut self, gate: Gate, error: CommitError) {
        let mut told = Vec::new();
        Reply::from(RedisError::from(error)).encode(RespVersion::Two, &mut told);
        let start = self.open;
        let (was, is) = (gate.end - start, told.len());
        self.bytes.splice(start..gate.end, told);
        self.open = start + is;
        for later in &mut self.gates {
            later.end = later.end + is - was;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orcharddb::Commit;
    use std::task::Waker;

    fn sent(output: &Output) -> String {
        String::from_utf8(output.open_bytes().to_vec()).expect("ASCII")
    }

    #[test]
    fn replies_wait_in_order_and_failures_take_their_place() {
        let db = Db::memory().expect("it opens");
        let mut output = Output::default();
        let mut cx = Context::from_waker(Waker::noop());
        let visible =
            db.commit(&Commit::new().set(orcharddb::SpaceId::DEFAULT, Db::key("k").expect("a key"), "v"));
        let visible = visible.expect("it commits").versionstamp;
        output.push(&Reply::Ok, RespVersion::Two, Versionstamp::ZERO);
        assert_eq!(sent(&output), "+OK\r\n");
        output.push(&Reply::Integer(1), RespVersion::Two, visible);
        output.push(&Reply::Integer(2), RespVersion::Two, Versionstamp::MAX);
        output.push(&Reply::Integer(3), RespVersion::Two, Versionstamp::ZERO);
        assert_eq!((sent(&output).as_str(), output.gated()), ("+OK\r\n", 3));
        assert!(output.poll_gates(&db, &mut cx).is_ready());
        assert_eq!((sent(&output).as_str(), output.gated()), ("+OK\r\n:1\r\n", 2), "behind a gate all wait");
        output.advance(3);
        let gate = output.gates.pop_front().expect("a gate");
        output.fail_front(gate, CommitError::DiskFull);
        assert_eq!(sent(&output), "\r\n:1\r\n-MISCONF the disk is full\r\n");
        let last = output.gates.pop_front().expect("a gate");
        output.open = last.end;
        assert!(sent(&output).ends_with("full\r\n:3\r\n"));
        output.advance(sent(&output).len());
        assert!(output.is_empty() && output.open_bytes().is_empty());
    }
}
