//! The server of OrchardDB: one port, its listener and its protocols.
//!
//! Invariants:
//! - A handler is a thin translation: it reads a snapshot or submits a commit, and knows nothing of how either is done.
//! - No reply leaves before what it depends on is acknowledged: commits are awaited, reads see visible versions only.
//! - Every request passes `http::guard` first. It writes by GET, so a web page must not be able to send one.
//! - Whatever a client sends or leaves out has a bound in bytes and in time; see [`ServerOptions`] and `limits`.
//! - No log line holds a value (unless `log_values`), a query string or a secret.

mod aside;
mod connection;
mod http;
mod kvconnect;
mod listener;
mod log_task;
mod metrics;
mod options;
mod redis;
mod snapshots;
mod streams;

pub use options::{AccessToken, PORT_DEFAULT, Secret, SecretError, ServerOptions};

use aside::Aside;
use metrics::Metrics;
use orcharddb::Db;
use snapshots::Snapshots;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fmt, io};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Why the server did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// The address could not be listened on. Choose another, or stop what uses it.
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The address can be reached from other machines and no access token is set. Set one, or listen on 127.0.0.1.
    TokenRequired {
        /// The address.
        address: SocketAddr,
    },
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Bind { address, source } => write!(f, "cannot listen on {address}: {source}"),
            ServeError::TokenRequired { address } => write!(
                f,
                "{address} can be reached from other machines: set an access token, or listen on 127.0.0.1"
            ),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServeError::Bind { source, .. } => Some(source),
            ServeError::TokenRequired { .. } => None,
        }
    }
}

/// What all connections share.
struct Server {
    db: Db,
    options: ServerOptions,
    snapshots: Snapshots,
    metrics: Metrics,
    /// Most connections at a time.
    connections_max: AtomicUsize,
    redis: redis::RedisShared,
    /// The machine's memory, or what of it this process may use.
    machine_memory_bytes: u64,
    /// KiB that large request bodies may still take.
    body_memory_kib: Arc<Semaphore>,
    aside: Arc<Aside>,
}

impl Server {
    fn new(db: Db, options: ServerOptions) -> Server {
        let body_memory_kib = (options.body_memory_bytes / 1024).clamp(1, u32::MAX as usize / 2);
        Server {
            redis: redis::RedisShared::new(&db),
            db,
            snapshots: Snapshots::new(options.cursor_idle_timeout),
            metrics: Metrics::default(),
            machine_memory_bytes: orchard_env::machine_memory_bytes(),
            connections_max: AtomicUsize::new(options.connections_max.max(1)),
            body_memory_kib: Arc::new(Semaphore::new(body_memory_kib)),
            aside: Arc::default(),
            options,
        }
    }

    /// Has the operating system allow a file for each connection, or allows fewer connections.
    fn make_room_for_connections(&self) {
        let wanted = self.connections_max.load(Ordering::Relaxed);
        let possible = connections_possible(wanted);
        if possible < wanted {
            tracing::warn!(wanted, possible, "fewer connections: the limit of open files is low");
            self.connections_max.store(possible.max(1), Ordering::Relaxed);
        }
    }
}

/// Files that are no connections: the database's own and those of clients that are turned away.
const FILES_RESERVED: usize = 512;

/// How many connections, up to `wanted`, the operating system allows this process.
fn connections_possible(wanted: usize) -> usize {
    let files = u64::try_from(wanted.saturating_add(FILES_RESERVED)).unwrap_or(u64::MAX);
    let allowed = usize::try_from(orchard_env::allow_open_files(files)).unwrap_or(usize::MAX);
    wanted.min(allowed.saturating_sub(FILES_RESERVED))
}

/// Serves `db` until `shutdown` is ready: then it stops accepting, lets requests in flight finish for at most
/// `drain_timeout`, and returns. `on_ready` gets the address, once it is listened on. Runs on a tokio runtime with time
/// and I/O. The database stays open: closing it is the caller's.
///
/// # Errors
/// [`ServeError`] if it could not start.
pub async fn serve(
    db: Db,
    options: ServerOptions,
    shutdown: impl Future<Output = ()>,
    on_ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let address = options.listen;
    if !address.ip().is_loopback() && options.access_token.current().is_none() {
        return Err(ServeError::TokenRequired { address });
    }
    let bind = |source| ServeError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(bind)?;
    on_ready(listener.local_addr().map_err(bind)?);
    let server = Arc::new(Server::new(db, options));
    let aside = server.aside.clone();
    server.db.engine().set_long_wait(Box::new(move |wait| aside.wait(wait)));
    server.make_room_for_connections();
    redis::tell_expired(&server);
    // Ends with this future, too.
    let mut tasks = JoinSet::new();
    tasks.spawn(log_task::run(server.db.clone()));
    tasks.spawn(redis::keep_house(server.clone()));
    listener::run(server, listener, shutdown).await;
    tasks.shutdown().await;
    Ok(())
}
