//! Accepts connections, turns those over a bound away, and stops gracefully.
//!
//! Every connection is one task in one set; when the set is empty after a stop, every reply has been sent or given up.

use crate::{Server, connection};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

/// The pause after a failed accept, such as one for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Clients that are told at one time that there is no room for them. More are closed without a word, so that a flood of
/// them costs an accept and a close each.
const TURNED_AWAY_MAX: usize = 256;
/// How often snapshots that no cursor asked for are let go.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

pub(crate) async fn run(server: Arc<Server>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    accept_until(shutdown, &server, listener, &stopped, &mut connections).await;
    // Nobody left to tell is no error.
    let _ = stop.send(true);
    info!(connections = connections.len(), "stopping: no new connections, finishing requests");
    let drained = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(server.options.drain_timeout, drained).await.is_err() {
        warn!(connections = connections.len(), "cutting connections that did not finish in time");
        connections.shutdown().await;
    }
    server.snapshots.clear();
}

/// Accepts until `shutdown` is ready. The listener is closed when this returns, so that later clients are refused
/// instead of waiting.
async fn accept_until(
    shutdown: impl Future<Output = ()>,
    server: &Arc<Server>,
    listener: TcpListener,
    stopped: &watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) {
    let mut turned_away = JoinSet::new();
    let mut was_full = false;
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shutdown = pin!(shutdown);
    let mut accepting = pin!(accept(&listener));
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => return,
            Some(ended) = connections.join_next(), if !connections.is_empty() => report(ended),
            Some(ended) = turned_away.join_next(), if !turned_away.is_empty() => report(ended),
            stream = &mut accepting => {
                accepting.set(accept(&listener));
                let connections_max = server.connections_max.load(Ordering::Relaxed);
                let is_full = connections.len() >= connections_max;
                if is_full && !was_full {
                    warn!(connections_max, "no room for another connection: clients are turned away");
                }
                was_full = is_full;
                let server = server.clone();
                if is_full {
                    server.metrics.connection_refused();
                    if turned_away.len() < TURNED_AWAY_MAX {
                        turned_away.spawn(async move { connection::turn_away(&server, stream).await });
                    }
                    continue;
                }
                let stopped = stopped.clone();
                connections.spawn(async move {
                    server.metrics.connection_opened();
                    connection::run(&server, stream, stopped).await;
                    server.metrics.connection_closed();
                });
            }
            _ = sweep.tick() => server.snapshots.sweep(),
        }
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!("a connection ended by a panic: this is a mistake in OrchardDB, please report it");
    }
}
