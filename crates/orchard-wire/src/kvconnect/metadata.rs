//! The metadata exchange: which version is spoken, and where.

use super::Refused;
use crate::{json_text, rfc3339};
use orcharddb::UnixMillis;
use serde::Deserialize;
use xxhash_rust::xxh3::Xxh3;

/// The versions that are spoken.
pub const VERSIONS: [u8; 3] = [1, 2, 3];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request {
    supported_versions: Vec<f64>,
}

/// The newest version that both sides speak. A client that sends no body speaks version 1.
///
/// # Errors
/// [`Refused::Invalid`] if there is none, [`Refused::Malformed`] if the body is not the JSON that it should be.
///
/// ```
/// use orchard_wire::kvconnect::negotiate;
/// assert_eq!(negotiate(b""), Ok(1));
/// assert_eq!(negotiate(br#"{"supportedVersions":[1,2,3,4]}"#), Ok(3));
/// ```
pub fn negotiate(body: &[u8]) -> Result<u8, Refused> {
    if body.trim_ascii().is_empty() {
        return Ok(1);
    }
    let request: Request = serde_json::from_slice(body).map_err(|error| {
        Refused::Number(format!("The metadata request is not {{\"supportedVersions\": [1, 2, 3]}}: {error}."))
    })?;
    let speaks = |version: &u8| request.supported_versions.contains(&f64::from(*version));
    VERSIONS.into_iter().rev().find(speaks).ok_or(Refused::Invalid(
        "The server could not negotiate a protocol version. It speaks the versions 1, 2 and 3.",
    ))
}

/// The id of a database as the protocol has it: a lower-case UUID (version 8, its own kind) of the directory's id and the
/// database's name.
pub fn database_uuid(directory: &[u8], name: &str) -> String {
    let mut hash = Xxh3::new();
    hash.update(directory);
    hash.update(name.as_bytes());
    let bits = hash.digest128();
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// What a client needs to know.
#[derive(Clone, Debug)]
pub struct Metadata<'a> {
    /// The version spoken.
    pub version: u8,
    /// See [`database_uuid`].
    pub database_id: &'a str,
    /// The endpoint: absolute, or for versions 2 and 3 relative to where the metadata came from.
    pub endpoint: &'a str,
    /// What requests to the endpoint show.
    pub token: &'a str,
    /// Until when all this may be used.
    pub expires_at: UnixMillis,
}

impl Metadata<'_> {
    /// The JSON of the answer: these members and no more, or clients refuse it.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = format!("{{\"version\":{},\"databaseId\":", self.version).into_bytes();
        json_text::write_string(&mut out, self.database_id);
        out.extend_from_slice(b",\"endpoints\":[{\"url\":");
        json_text::write_string(&mut out, self.endpoint);
        out.extend_from_slice(b",\"consistency\":\"strong\"}],\"token\":");
        json_text::write_string(&mut out, self.token);
        out.extend_from_slice(b",\"expiresAt\":");
        json_text::write_string(&mut out, &rfc3339::render(self.expires_at));
        out.push(b'}');
        out
    }
}
