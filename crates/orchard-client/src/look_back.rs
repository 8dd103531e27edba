//! Time travel: the database as it was, and what a key held before, as long as that is kept
//! (`history_retention` of the configuration).

use crate::error::ClientError;
use crate::remote::Remote;
use crate::{Backend, Client, Entries, Moment, Window, shown, version_of};
use bytes::Bytes;
use hyper::Method;
use orchard_wire::element_json::Shape;
use orchard_wire::{Kind, entry_json};
use orcharddb::collection::{Found, Look};
use orcharddb::{
    Entry, IntoKey, KeptVersion, KeyRange, LimitError, ScanOptions, Snapshot, SpaceId, Versionstamp, limits,
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The versions of a key that are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct History {
    /// The newest first. Of a large collection the number of its elements is shown.
    pub versions: Vec<KeptVersion>,
    /// The oldest version that a view can show.
    pub floor: Versionstamp,
}

/// A database as it was at one version.
#[derive(Clone)]
pub struct ClientView {
    versionstamp: Versionstamp,
    source: Source,
}

#[derive(Clone)]
enum Source {
    Local(Box<Snapshot>, SpaceId),
    Remote(Remote),
}

#[derive(Deserialize)]
struct HistoryJson {
    versions: Vec<Box<RawValue>>,
    floor: String,
}

impl Client {
    /// The versions of a key that are kept, the newest first, at most `limit` (up to 10,000).
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn history(&self, key: impl IntoKey, limit: usize) -> Result<History, ClientError> {
        let key = key.into_key()?;
        LimitError::check("range_limit", limits::RANGE_LIMIT_MAX, limit).map_err(orcharddb::Error::from)?;
        match &self.backend {
            Backend::Local(db) => {
                let space = self.space_for_read(db)?;
                let floor = db.history_floor();
                let mut versions = db.history_in(space, &key, limit)?;
                for (value, _) in versions.iter_mut().filter_map(|version| version.value.as_mut()) {
                    *value = shown::written(std::mem::take(value))?;
                }
                Ok(History { versions, floor })
            }
            Backend::Remote(remote) => {
                let mut query = remote.query();
                query.add_key("key", &key);
                query.add("limit", &limit.to_string());
                let body = remote.http.ask(Method::GET, &query.path("/v1/history"), Bytes::new()).await?;
                let json: HistoryJson =
                    serde_json::from_slice(&body).map_err(|error| remote.http.foreign(error))?;
                let versions =
                    json.versions.iter().map(|raw| entry_json::parse_version(raw.get().as_bytes()));
                Ok(History {
                    versions: versions
                        .collect::<Result<_, _>>()
                        .map_err(|error| remote.http.foreign(error))?,
                    floor: json.floor.parse().map_err(|error| remote.http.foreign(error))?,
                })
            }
        }
    }

    /// The database as it was at a version, a time or an age. What a server shows can become too old while it is looked at,
    /// unless it keeps a history.
    ///
    /// # Errors
    /// [`ClientError`]; of kind [`SnapshotTooOld`](Kind::SnapshotTooOld) if that is no longer kept, of kind
    /// [`BadQuery`](Kind::BadQuery) if the version was not given out yet.
    pub async fn view(&self, at: Moment) -> Result<ClientView, ClientError> {
        match &self.backend {
            Backend::Local(db) => {
                let version = version_of(db, at)?;
                if version > db.visible() {
                    let detail = format!("version {version} lies ahead of the newest, {}", db.visible());
                    return Err(ClientError::Refused(orchard_wire::Problem::new(Kind::BadQuery, detail)));
                }
                let (snapshot, space) = (db.snapshot_at(version)?, self.space_for_read(db)?);
                let versionstamp = snapshot.versionstamp();
                Ok(ClientView { versionstamp, source: Source::Local(Box::new(snapshot), space) })
            }
            Backend::Remote(remote) => {
                let options = ScanOptions { limit: Some(1), keys_only: true, ..ScanOptions::default() };
                let scan = remote.scan(&KeyRange::all(), &options, &Window::default(), Some(at)).await?;
                let (lines, versionstamp) = scan;
                Entries::remote(lines, versionstamp).collect().await?;
                Ok(ClientView { versionstamp, source: Source::Remote(remote.clone()) })
            }
        }
    }
}

impl ClientView {
    /// The version that it shows.
    pub fn versionstamp(&self) -> Versionstamp {
        self.versionstamp
    }

    /// The entry of a key.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn get(&self, key: impl IntoKey) -> Result<Option<Entry>, ClientError> {
        let key = key.into_key()?;
        match &self.source {
            Source::Local(snapshot, space) => shown::get_at(snapshot, *space, &key),
            Source::Remote(remote) => remote.get(&key, Some(self.versionstamp)).await,
        }
    }

    /// Entries of a range in key order, as [`Client::scan`].
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn scan(&self, range: KeyRange, options: ScanOptions) -> Result<Entries, ClientError> {
        match &self.source {
            Source::Local(snapshot, space) => Ok(Entries::local(snapshot, *space, range, options)),
            Source::Remote(remote) => {
                let at = Some(Moment::Version(self.versionstamp));
                let (lines, version) = remote.scan(&range, &options, &Window::default(), at).await?;
                Ok(Entries::remote(lines, version))
            }
        }
    }

    /// Elements of the collection at a key.
    ///
    /// # Errors
    /// [`ClientError`]; of kind [`WrongType`](Kind::WrongType) if the key holds something else.
    pub async fn look(&self, key: impl IntoKey, look: &Look) -> Result<Found, ClientError> {
        let key = key.into_key()?;
        match &self.source {
            Source::Local(snapshot, space) => Ok(snapshot.look_in(*space, key, look)?),
            Source::Remote(remote) => {
                let shape = match look {
                    Look::Indexes(..) => Shape::List,
                    Look::Fields(_) | Look::FieldsAfter(..) => Shape::Hash,
                    Look::Members(_) | Look::MembersAfter(..) => Shape::Set,
                    Look::Scores(_) | Look::Ranks(..) | Look::ByScore(_) | Look::ByName(_) => Shape::ZSet,
                };
                remote.look(shape, &key, look, Some(self.versionstamp)).await
            }
        }
    }
}
