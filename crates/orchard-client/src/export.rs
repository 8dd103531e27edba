//! Entries with all that belongs to them, to be kept elsewhere and written again: collections in pieces.

use crate::error::ClientError;
use crate::remote::lines::Lines;
use crate::remote::record_to_entry;
use crate::{Backend, Client, CommitOptions, Window, within};
use bytes::Bytes;
use hyper::Method;
use orchard_wire::entry_json::{self, ExportLine, Piece};
use orchard_wire::{commit_json, media};
use orcharddb::collection::{Elements, Exported};
use orcharddb::{Entry, Expiry, KeyRange, ScanOptions, Value, ValueType, Versionstamp};

/// The parts of an export in key order, from one snapshot, in bounded memory.
pub struct Export {
    versionstamp: Versionstamp,
    source: Source,
}

enum Source {
    Local(Box<orcharddb::collection::Export>),
    Remote(Box<Lines>),
}

impl Client {
    /// Entries of a range with all that belongs to them: as [`Client::scan_window`], but collections with every element, in
    /// pieces that [`Client::put_piece`] writes.
    ///
    /// # Errors
    /// As [`Client::scan_window`].
    pub async fn export(
        &self,
        range: KeyRange,
        options: ScanOptions,
        window: Window,
    ) -> Result<Export, ClientError> {
        match &self.backend {
            Backend::Local(db) => {
                let space = self.space_for_read(db)?;
                let options = within(db, options, window)?;
                let snapshot = db.snapshot();
                let versionstamp = snapshot.versionstamp();
                let export = snapshot.export_in(space, range, options);
                Ok(Export { versionstamp, source: Source::Local(Box::new(export)) })
            }
            Backend::Remote(remote) => {
                let mut query = remote.query();
                query.add("export", "true");
                let (lines, versionstamp) = remote.lines_of(query, &range, &options, &window, None).await?;
                Ok(Export { versionstamp, source: Source::Remote(Box::new(lines)) })
            }
        }
    }

    /// Writes a piece of a collection: the first takes the place of whatever the key held, the others have to follow in order. A
    /// piece written twice is there once. What has expired is left out.
    ///
    /// # Errors
    /// [`ClientError`]; of kind [`BadValue`](orchard_wire::Kind::BadValue) if the pieces before it are not there.
    pub async fn put_piece(&self, piece: &Piece, options: &CommitOptions) -> Result<(), ClientError> {
        match &self.backend {
            Backend::Local(db) => {
                let space = self.space_for_write(db)?;
                let (outcome, pending) = db.exclusive(|tx| {
                    let Piece { key, offset, elements, expiry, .. } = piece;
                    let outcome = tx.put_chunk_in(space, key.clone(), *offset, elements, *expiry);
                    if outcome.is_err() {
                        tx.clear();
                    }
                    Ok::<_, orcharddb::Error>(outcome)
                })?;
                let durability = options.durability.filter(|_| outcome.is_ok());
                pending.with_durability(durability).await?;
                outcome?;
                Ok(())
            }
            Backend::Remote(remote) => {
                let mut query = remote.query();
                if let Some(durability) = options.durability {
                    query.add("durability", commit_json::durability_name(durability));
                }
                let mut line = Vec::new();
                entry_json::write_piece(&mut line, piece);
                let path = query.path("/v1/kv");
                remote.http.ask_with(Method::PUT, &path, media::NDJSON, Bytes::from(line)).await.map(drop)
            }
        }
    }
}

impl Export {
    /// The version that is read.
    pub fn versionstamp(&self) -> Versionstamp {
        self.versionstamp
    }

    /// The next part; `None` behind the last.
    ///
    /// # Errors
    /// [`ClientError`]; the export ends there.
    pub async fn next(&mut self) -> Result<Option<Exported>, ClientError> {
        match &mut self.source {
            Source::Local(export) => Ok(export.next().transpose()?),
            Source::Remote(lines) => loop {
                let Some(line) = lines.next().await? else { return Ok(None) };
                if !line.is_empty() {
                    return parse(&line).map(Some).map_err(|error| lines.http().foreign(error));
                }
            },
        }
    }
}

fn parse(line: &[u8]) -> Result<Exported, String> {
    Ok(match entry_json::parse_exported(line).map_err(|problem| problem.to_string())? {
        ExportLine::Entry(record) => Exported::Entry(record_to_entry(record)?),
        ExportLine::Piece(piece) => {
            let value_type = match &piece.elements {
                Elements::Values(_) => ValueType::List,
                Elements::Fields(_) => ValueType::Hash,
                Elements::Members(_) => ValueType::Set,
                Elements::Scored(_) => ValueType::ZSet,
            };
            let entry = Entry {
                key: piece.key,
                value: Value::new(value_type, Vec::new()),
                versionstamp: piece.versionstamp.ok_or("a piece has no versionstamp")?,
                expires_at: match piece.expiry {
                    Expiry::At(moment) => Some(moment),
                    _ => None,
                },
            };
            Exported::Piece { entry, offset: piece.offset, elements: piece.elements }
        }
    })
}
