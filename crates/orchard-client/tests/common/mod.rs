//! A client for each of the three places.

#![allow(clippy::expect_used, dead_code, reason = "helpers of tests")]

use orchard_client::{Client, ConnectOptions, connect};
use orchard_server::{Secret, ServerOptions, serve};
use orcharddb::Db;
use std::future::Future;
use std::net::SocketAddr;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A place, and what keeps it alive.
pub struct Place {
    pub name: &'static str,
    pub client: Client,
    _directory: Option<tempfile::TempDir>,
    server: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Place {
    pub async fn end(self) {
        drop(self.client);
        if let Some((stop, served)) = self.server {
            drop(stop);
            served.await.expect("it served");
        }
    }
}

pub async fn server(db: Db, token: Option<&str>) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let options = ServerOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        access_token: token.map(|token| Secret::new(token).expect("printable")).into(),
        ..ServerOptions::default()
    };
    let (ready, is_ready) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(async move {
        let stopped = async move { drop(stopped.await) };
        serve(db, options, stopped, |address| ready.send(address).expect("awaited"))
            .await
            .expect("it serves");
    });
    (is_ready.await.expect("it listens"), stop, served)
}

pub async fn places() -> Vec<Place> {
    let directory = tempfile::tempdir().expect("a directory");
    let (address, stop, served) = server(Db::memory().expect("memory"), Some("secret")).await;
    let remote = ConnectOptions { access_token: Some("secret".to_owned()), ..ConnectOptions::default() };
    let path = directory.path().join("data").display().to_string();
    vec![
        Place {
            name: "memory",
            client: connect("memory:").await.expect("memory"),
            _directory: None,
            server: None,
        },
        Place {
            name: "directory",
            client: connect(&path).await.expect("a directory"),
            _directory: Some(directory),
            server: None,
        },
        Place {
            name: "server",
            client: remote.connect(&format!("http://{address}")).await.expect("an address"),
            _directory: None,
            server: Some((stop, served)),
        },
    ]
}

/// Runs one script in each place.
pub async fn everywhere<F: Future<Output = Result<(), Box<dyn std::error::Error>>>>(
    script: impl Fn(Client) -> F,
) {
    for place in places().await {
        if let Err(error) = script(place.client.clone()).await {
            panic!("{}: {error}", place.name);
        }
        place.end().await;
    }
}
