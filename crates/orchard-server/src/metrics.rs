//! Numbers about the server, and all numbers as Prometheus text.

use hyper::StatusCode;
use orcharddb::Stats;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of the server itself.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    connections_opened: AtomicU64,
    connections_closed: AtomicU64,
    connections_refused: AtomicU64,
    informational: AtomicU64,
    successful: AtomicU64,
    redirected: AtomicU64,
    client_errors: AtomicU64,
    server_errors: AtomicU64,
}

impl Metrics {
    pub(crate) fn connection_opened(&self) {
        self.connections_opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_closed(&self) {
        self.connections_closed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_refused(&self) {
        self.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that were turned away because there were too many.
    pub(crate) fn refused(&self) -> u64 {
        self.connections_refused.load(Ordering::Relaxed)
    }

    pub(crate) fn replied(&self, status: StatusCode) {
        let counter = match status.as_u16() / 100 {
            1 => &self.informational,
            2 => &self.successful,
            3 => &self.redirected,
            4 => &self.client_errors,
            _ => &self.server_errors,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything in the Prometheus text format.
    pub(crate) fn render(&self, stats: &Stats, list_snapshots: usize) -> String {
        let mut out = String::new();
        let opened = self.connections_opened.load(Ordering::Relaxed);
        let open = opened.saturating_sub(self.connections_closed.load(Ordering::Relaxed));
        for (name, kind, help, number) in [
            ("entries", "gauge", "Entries that are not deleted.", stats.entries),
            ("key_bytes", "gauge", "Key bytes of them.", stats.key_bytes),
            ("value_bytes", "gauge", "Value bytes of them.", stats.value_bytes),
            ("memory_bytes", "gauge", "Memory used by the database.", stats.memory_bytes),
            ("memory_limit_bytes", "gauge", "The limit of that memory.", stats.memory_limit_bytes),
            ("log_bytes", "gauge", "Bytes in log files.", stats.log_bytes),
            ("segment_bytes", "gauge", "Bytes in segments.", stats.segment_bytes),
            ("segments", "gauge", "Segments.", stats.segments),
            ("commits_total", "counter", "Commits since the database was opened.", stats.commits),
            ("groups_total", "counter", "Groups of commits since then.", stats.groups),
            ("log_syncs_total", "counter", "Syncs of the log since then.", stats.syncs),
            ("poisoned", "gauge", "1 if commits are refused.", u64::from(stats.poisoned.is_some())),
            ("connections_total", "counter", "Connections accepted.", opened),
            ("connections_open", "gauge", "Connections open now.", open),
            ("connections_refused_total", "counter", "Connections turned away: too many.", self.refused()),
            ("list_snapshots_open", "gauge", "Snapshots kept for cursors.", list_snapshots as u64),
        ] {
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                out,
                "# HELP orchard_{name} {help}\n# TYPE orchard_{name} {kind}\norchard_{name} {number}"
            );
        }
        let name = "orchard_http_responses_total";
        let _ = writeln!(out, "# HELP {name} Replies sent, by class of status.\n# TYPE {name} counter");
        for (class, counter) in [
            ("1xx", &self.informational),
            ("2xx", &self.successful),
            ("3xx", &self.redirected),
            ("4xx", &self.client_errors),
            ("5xx", &self.server_errors),
        ] {
            let _ = writeln!(out, "{name}{{class=\"{class}\"}} {}", counter.load(Ordering::Relaxed));
        }
        out
    }
}
