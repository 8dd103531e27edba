//! Accepts connections up to a bound, and stops gracefully.
//!
//! Every connection is one task in one set; when the set is empty after a stop, every reply has been sent or given up.

use crate::{Server, connection};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

/// The pause after a failed accept, such as one for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
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
    let permits = Arc::new(Semaphore::new(server.options.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shutdown = pin!(shutdown);
    let mut accepting = pin!(accept(&listener, &permits));
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => return,
            Some(ended) = connections.join_next(), if !connections.is_empty() => report(ended),
            (stream, permit) = &mut accepting => {
                accepting.set(accept(&listener, &permits));
                let (server, stopped) = (server.clone(), stopped.clone());
                connections.spawn(async move {
                    server.metrics.connection_opened();
                    connection::run(&server, stream, stopped).await;
                    server.metrics.connection_closed();
                    drop(permit);
                });
            }
            _ = sweep.tick() => server.snapshots.sweep(),
        }
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (tokio::net::TcpStream, Option<tokio::sync::OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there is always a permit in the end.
    let permit = permits.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
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
