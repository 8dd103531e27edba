//! When entries expire: by what a write says, by what it leaves to its prefix, and by a touch.

use crate::db::Db;
use crate::error::Error;
use crate::tuple::{IntoKey, KeyError, KeyPart, encode_bound, parts_from_json};
use orchard_engine::default_expiry::DefaultExpiry;
use orchard_engine::engine::Committed;
use orchard_types::{Commit, DurationMs, Expiry, LimitError, Operation, SpaceId, Value, limits};

/// The rules of [`EngineOptions::default_expiry`](crate::EngineOptions): each prefix gives its entries that long to live
/// if their write names no expiry.
///
/// A prefix that begins with `[` is a JSON key, and means every key with more parts. Any other is text, and means every
/// key whose first part begins with it; with a `/` at its end, as well every key below those parts: `users/sessions/`
/// means the name `users/sessions/x` and the key `["users","sessions","x"]` alike. Of two that fit, the longer counts.
///
/// ```
/// use orcharddb::{Db, DurationMs, EngineOptions, Options, default_expiry};
/// let rules = default_expiry(&[("sessions/", DurationMs(1_800_000))])?;
/// let engine = EngineOptions { default_expiry: rules, ..EngineOptions::default() };
/// let db = Options { engine, ..Options::default() }.memory()?;
/// db.put("sessions/ada", 1_i64)?;
/// db.put("users/ada", 1_i64)?;
/// assert!(db.get("sessions/ada")?.is_some_and(|entry| entry.expires_at.is_some()));
/// assert!(db.get("users/ada")?.is_some_and(|entry| entry.expires_at.is_none()));
/// # Ok::<(), orcharddb::Error>(())
/// ```
///
/// # Errors
/// [`Error::Key`] if a prefix is none, a time is zero, or there are too many.
pub fn default_expiry<P: AsRef<str>>(rules: &[(P, DurationMs)]) -> Result<DefaultExpiry, Error> {
    LimitError::check("default_expiry_rules", limits::DEFAULT_EXPIRY_RULES_MAX, rules.len())?;
    let mut prefixes = Vec::new();
    for (text, ttl) in rules {
        let text = text.as_ref();
        if ttl.0 == 0 {
            return Err(KeyError::Form(format!("{text}: what expires at once is never there")).into());
        }
        let mut add = |parts: &[KeyPart]| {
            encode_bound(parts).map(|prefix| prefixes.push((prefix, *ttl))).map_err(Error::from)
        };
        if text.starts_with('[') {
            let json = serde_json::from_str(text);
            let json = json.map_err(|error| KeyError::Form(format!("{text} is no JSON: {error}")))?;
            add(&parts_from_json(&json)?)?;
            continue;
        }
        if let Some(path) = text.strip_suffix('/') {
            let parts: Vec<_> = path.split('/').map(|part| KeyPart::String(part.to_owned())).collect();
            add(&parts)?;
        }
        // A string part without its end.
        let name = encode_bound(&[KeyPart::String(text.to_owned())])?;
        prefixes.push((name.slice(..name.len() - 1), *ttl));
    }
    for (prefix, _) in &prefixes {
        LimitError::check("key_size_bytes", limits::KEY_SIZE_BYTES_MAX, prefix.len())?;
    }
    Ok(DefaultExpiry::new(prefixes))
}

impl Db {
    /// Writes a value with an expiry; [`Expiry::Keep`]: the one that the entry has.
    ///
    /// # Errors
    /// [`Error::Key`] or [`Error::Commit`]
    pub fn put_expiring(
        &self,
        key: impl IntoKey,
        value: impl Into<Value>,
        expiry: Expiry,
    ) -> Result<Committed, Error> {
        let operation = Operation::Set { value: value.into(), expiry };
        Ok(self.commit(&Commit::new().mutate(SpaceId::DEFAULT, key.into_key()?, operation))?)
    }

    /// Changes the expiry of an entry that exists; its value stays. Nothing happens if it is absent.
    ///
    /// ```
    /// use orcharddb::{Db, DurationMs, Expiry};
    /// let db = Db::memory()?;
    /// db.put_expiring("apple", "red", Expiry::After(DurationMs(60_000)))?;
    /// db.put_expiring("apple", "green", Expiry::Keep)?;
    /// assert!(db.get("apple")?.is_some_and(|entry| entry.expires_at.is_some()));
    /// db.touch("apple", Expiry::Never)?;
    /// assert!(db.get("apple")?.is_some_and(|entry| entry.expires_at.is_none()));
    /// # Ok::<(), orcharddb::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Key`] or [`Error::Commit`]
    pub fn touch(&self, key: impl IntoKey, expiry: Expiry) -> Result<Committed, Error> {
        let operation = Operation::Touch { expiry };
        Ok(self.commit(&Commit::new().mutate(SpaceId::DEFAULT, key.into_key()?, operation))?)
    }
}
