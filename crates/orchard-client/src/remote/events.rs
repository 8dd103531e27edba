//! Server-sent events.

use super::lines::Lines;
use crate::error::ClientError;
use orcharddb::Versionstamp;

/// One event. A sign of life has no name.
pub(crate) struct RawEvent {
    pub(crate) name: String,
    pub(crate) data: Vec<u8>,
    pub(crate) id: Option<Versionstamp>,
}

impl Lines {
    /// The next server-sent event; `None` at the end of the reply.
    pub(crate) async fn next_event(&mut self) -> Result<Option<RawEvent>, ClientError> {
        let mut event = RawEvent { name: String::new(), data: Vec::new(), id: None };
        loop {
            let Some(line) = self.next().await? else { return Ok(None) };
            if line.is_empty() {
                return Ok(Some(event));
            }
            if let Some(text) = line.strip_prefix(b"event: ") {
                event.name = String::from_utf8_lossy(text).into_owned();
            } else if let Some(text) = line.strip_prefix(b"id: ") {
                event.id = std::str::from_utf8(text).ok().and_then(|id| id.parse().ok());
            } else if let Some(text) = line.strip_prefix(b"data: ") {
                event.data = text.to_vec();
            }
        }
    }
}
