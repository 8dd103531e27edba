//! What is looked at every second.
//!
//! - `timeout`: clients that have sent and taken nothing for so long are disconnected. As in Redis that is not for those who
//!   wait for something: for an element, for the end of a pause, for messages. With the default of 0 nobody is looked at.
//! - The memory in use, for its peak.

use super::clients::Clients;
use crate::Server;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::debug;

const INTERVAL: Duration = Duration::from_secs(1);

/// Does so until it is dropped.
pub(crate) async fn keep_house(server: Arc<Server>) {
    loop {
        if let Some(timeout) = server.redis.config.timeout() {
            close_idle(&server.redis.clients, timeout, Instant::now());
        }
        server.redis.note_memory(server.db.stats().memory_bytes);
        sleep(INTERVAL).await;
    }
}

/// Disconnects who has been idle for more than `timeout`.
fn close_idle(clients: &Clients, timeout: Duration, now: Instant) {
    for client in clients.all() {
        let seen = client.seen.lock();
        let waits = seen.is_blocked || seen.is_paused || seen.is_monitor || seen.subscriptions != [0, 0, 0];
        let since = seen.active_at.unwrap_or(client.connected_at);
        drop(seen);
        if !waits && now.saturating_duration_since(since) > timeout {
            debug!(peer = ?client.address, "closed an idle Redis client");
            client.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::clients::Seen;

    #[test]
    fn who_waits_is_not_idle() {
        let clients = Clients::default();
        let begin = Instant::now();
        let open = |change: fn(&mut Seen)| {
            let client = clients.open(None, None);
            let mut seen = client.seen.lock();
            seen.active_at = Some(begin);
            change(&mut seen);
            drop(seen);
            client
        };
        let idle = open(|_| ());
        let busy = open(|seen| seen.active_at = seen.active_at.map(|at| at + Duration::from_secs(9)));
        let waiting = [
            open(|seen| seen.is_blocked = true),
            open(|seen| seen.is_paused = true),
            open(|seen| seen.is_monitor = true),
            open(|seen| seen.subscriptions = [0, 1, 0]),
        ];
        let look =
            |seconds| close_idle(&clients, Duration::from_secs(10), begin + Duration::from_secs(seconds));
        look(10);
        assert!(clients.all().iter().all(|client| !client.is_killed()));
        look(11);
        assert!(idle.is_killed() && !busy.is_killed());
        look(1_000);
        assert!(busy.is_killed() && waiting.iter().all(|client| !client.is_killed()));
    }
}
