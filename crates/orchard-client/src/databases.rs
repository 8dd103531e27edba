//! Databases by name, wherever they are.

use crate::error::ClientError;
use crate::{Backend, Client};
use bytes::Bytes;
use hyper::Method;
use orchard_wire::{Kind, percent};
use serde_json::{Value as Json, json};

/// Runs what waits for the disk, where blocking is allowed.
async fn run<T: Send + 'static>(
    db: &orcharddb::Db,
    work: impl FnOnce(&orcharddb::Db) -> Result<T, orcharddb::Error> + Send + 'static,
) -> Result<T, ClientError> {
    let db = db.clone();
    let done = tokio::task::spawn_blocking(move || work(&db)).await;
    Ok(done.map_err(|error| ClientError::Unreachable(error.to_string()))??)
}

fn check(name: &str) -> Result<(), ClientError> {
    Ok(orcharddb::check_database_name(name).map_err(orcharddb::Error::from)?)
}

impl Client {
    /// The name of the database that this client works on.
    pub fn database_name(&self) -> &str {
        self.name()
    }

    /// The names of all databases, in the order of their bytes.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn databases(&self) -> Result<Vec<String>, ClientError> {
        match &self.backend {
            Backend::Local(db) => {
                let databases = run(db, orcharddb::Db::databases).await?;
                Ok(databases.into_iter().map(|(name, _)| name).collect())
            }
            Backend::Remote(remote) => {
                let json = remote.http.ask_json(Method::GET, "/v1/databases", Bytes::new()).await?;
                let names = json.get("databases").and_then(Json::as_array);
                let names = names.ok_or_else(|| remote.http.foreign("there are no names"))?;
                Ok(names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
            }
        }
    }

    /// Creates a database; fine if there is one of this name.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn create_database(&self, name: &str) -> Result<(), ClientError> {
        check(name)?;
        match &self.backend {
            Backend::Local(db) => {
                let name = name.to_owned();
                run(db, move |db| db.create_database(&name)).await.map(drop)
            }
            Backend::Remote(remote) => {
                let path = format!("/v1/databases/{}", percent::encode(name.as_bytes()));
                remote.http.ask(Method::PUT, &path, Bytes::new()).await.map(drop)
            }
        }
    }

    /// Removes a database with everything in it, at once; the default database is emptied and stays. `false`: there was none
    /// of this name.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn drop_database(&self, name: &str) -> Result<bool, ClientError> {
        check(name)?;
        match &self.backend {
            Backend::Local(db) => {
                let name = name.to_owned();
                run(db, move |db| db.drop_database(&name)).await
            }
            Backend::Remote(remote) => {
                let path = format!("/v1/databases/{}", percent::encode(name.as_bytes()));
                match remote.http.ask(Method::DELETE, &path, Bytes::new()).await {
                    Ok(_) => Ok(true),
                    Err(ClientError::Refused(problem)) if problem.kind == Kind::DatabaseNotFound => Ok(false),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Lets each of two names mean the other's database; a name without one gets a new one first.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn swap_databases(&self, one: &str, other: &str) -> Result<(), ClientError> {
        check(one)?;
        check(other)?;
        match &self.backend {
            Backend::Local(db) => {
                let (one, other) = (one.to_owned(), other.to_owned());
                run(db, move |db| db.swap_databases(&one, &other)).await
            }
            Backend::Remote(remote) => {
                let body = json!({ "databases": [one, other] }).to_string();
                remote.http.ask(Method::POST, "/v1/databases/swap", Bytes::from(body)).await.map(drop)
            }
        }
    }
}
