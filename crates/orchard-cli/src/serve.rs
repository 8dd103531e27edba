//! `orchard serve`: opens the database, serves it, and stops in good order.

use crate::error::{CliError, Exit, Result, opening};
use crate::logging::{self, LevelHandle};
use crate::settings::{ServerFlags, Settings, process_environment};
use crate::target::check_directory;
use orchard_server::{AccessToken, ServeError, ServerOptions};
use orcharddb::{Db, EngineOptions, Options};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a shell reports of a process that SIGTERM ended.
const TERMINATED: i32 = 128 + 15;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// The settings are wrong, the database does not open, or the address is taken.
pub fn run(flags: &ServerFlags) -> Result<()> {
    let settings = Settings::resolve(flags, &process_environment)?;
    check(&settings)?;
    let level = logging::start(settings.log_format, settings.log_level);
    let db = open(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::io("the async runtime"))?;
    let served = runtime.block_on(serve(db.clone(), options(&settings), flags.clone(), level));
    drop(runtime);
    let closed = db.close();
    served?;
    closed?;
    tracing::info!("stopped");
    Ok(())
}

/// Whether the server would start with these settings, as far as they tell.
///
/// # Errors
/// Exit code 3.
pub fn check(settings: &Settings) -> Result<()> {
    if settings.access_token.is_none() && !settings.listen.ip().is_loopback() {
        let error = ServeError::TokenRequired { address: settings.listen };
        return Err(CliError::config(error.to_string()));
    }
    Ok(())
}

fn open(settings: &Settings) -> Result<Db> {
    let options = Options {
        durability: settings.durability,
        memory_limit_bytes: settings.memory_limit_bytes,
        engine: EngineOptions {
            history_retention_ms: settings.history_retention_ms,
            log_retention_ms: settings.log_retention_ms,
            log_retention_bytes: settings.log_retention_bytes,
            default_expiry: settings.default_expiry.clone(),
            ..EngineOptions::default()
        },
    };
    match &settings.data {
        Some(path) => {
            check_directory(path, true)?;
            let db = options.open(path).map_err(opening(path))?;
            tracing::info!(data = %path.display(), entries = db.stats().entries, "opened");
            if let Some(damage) = db.engine().manifest_damage() {
                tracing::warn!("{damage}; its other copy was whole, and both are written anew");
            }
            Ok(db)
        }
        None => {
            tracing::warn!("in memory: everything is gone when the server stops");
            Ok(options.memory()?)
        }
    }
}

fn options(settings: &Settings) -> ServerOptions {
    ServerOptions {
        listen: settings.listen,
        access_token: settings.access_token.clone().into(),
        log_values: settings.log_values,
        ..ServerOptions::default()
    }
}

async fn serve(db: Db, options: ServerOptions, flags: ServerFlags, level: LevelHandle) -> Result<()> {
    let failed = |error: io::Error| CliError::failure(format!("signals: {error}"));
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let mut stop = Stop {
        terminate: signal(SignalKind::terminate()).map_err(failed)?,
        interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
    };
    // A write past a limit on file sizes (`ulimit -f`) ends the process unless somebody listens; then it is an error of the disk
    // like others, and reads go on.
    let _beyond_file_size =
        signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map_err(failed)?;
    let token = options.access_token.clone();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            reload(&flags, &level, &token);
        }
    });
    let shutdown = async move {
        stop.wait().await;
        tokio::spawn(async move {
            stop.wait().await;
            // The log is written as far as anything was acknowledged; the next start reads it.
            std::process::exit(TERMINATED);
        });
    };
    orchard_server::serve(db, options, shutdown, announce).await.map_err(|error| match error {
        ServeError::TokenRequired { .. } => CliError::new(Exit::Config, error.to_string()),
        _ => CliError::failure(error.to_string()),
    })
}

/// The signals that stop the server.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Tells whoever waits for the server that it is ready. Nobody may be reading.
fn announce(address: SocketAddr) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "Listening on {address}").and_then(|()| stdout.flush());
    tracing::info!(%address, "listening");
}

/// Takes log level and access token from the settings as they are now. Settings that are wrong change nothing.
fn reload(flags: &ServerFlags, level: &LevelHandle, token: &AccessToken) {
    match Settings::resolve(flags, &process_environment) {
        Ok(settings) => {
            level.set(settings.log_level);
            match settings.access_token {
                Some(secret) => {
                    if !token.replace(secret) {
                        tracing::error!("an access token is demanded only after a restart");
                    }
                }
                None => {
                    if token.current().is_some() {
                        tracing::error!("the access token stays: it is given up only by a restart");
                    }
                }
            }
            tracing::info!(log_level = %settings.log_level, "reloaded");
        }
        Err(error) => tracing::error!(%error, "the settings are wrong and stay as they were"),
    }
}
