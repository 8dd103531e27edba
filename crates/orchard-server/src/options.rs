//! What the server is told at its start.

use parking_lot::RwLock;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The port that everyone knows.
pub const PORT_DEFAULT: u16 = 4206;

/// How a server behaves. Every field has a default.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where to listen; port 0 takes a free one. An address that is not loopback needs an access token.
    pub listen: SocketAddr,
    /// What every request must show, except the two probes. None: whatever a client sends is accepted.
    pub access_token: AccessToken,
    /// Whether log lines of the plain routes show values instead of their sizes.
    pub log_values: bool,
    /// Most connections at a time; further ones are told so and closed. `CONFIG SET maxclients` changes it.
    pub connections_max: usize,
    /// Longest time for the first line of a connection, which tells its protocol, from its first byte on.
    pub first_line_timeout: Duration,
    /// Longest time for a request's header, the wait for it on an idle connection included.
    pub header_timeout: Duration,
    /// Longest time between two pieces of a request's body, and without progress of a reply.
    pub stall_timeout: Duration,
    /// Longest time for a whole request body.
    pub body_timeout: Duration,
    /// Longest time that requests in flight get at a graceful stop.
    pub drain_timeout: Duration,
    /// How long a list's snapshot waits for the request with its cursor.
    pub cursor_idle_timeout: Duration,
    /// Bytes that request bodies over 64 KiB may use together; further ones wait.
    pub body_memory_bytes: usize,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT_DEFAULT)),
            access_token: AccessToken::default(),
            log_values: false,
            connections_max: 10_000,
            first_line_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(300),
            drain_timeout: Duration::from_secs(10),
            cursor_idle_timeout: Duration::from_secs(60),
            body_memory_bytes: 256 * 1024 * 1024,
        }
    }
}

/// A secret that no log line and no error shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The text can be no access token: it is empty, or holds something else than printable ASCII without spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretError;

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an access token is one or more printable ASCII characters without spaces")
    }
}

impl std::error::Error for SecretError {}

impl Secret {
    /// # Errors
    /// [`SecretError`] if no `Authorization` header could carry it.
    pub fn new(text: impl Into<String>) -> Result<Secret, SecretError> {
        let text = text.into();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SecretError);
        }
        Ok(Secret(text))
    }

    /// Whether `candidate` is the secret, in a time that does not tell where they differ.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        let mut difference = u8::from(secret.len() != candidate.len());
        for (index, byte) in candidate.iter().enumerate() {
            let own = secret.get(index % secret.len()).copied().unwrap_or_default();
            difference = std::hint::black_box(difference | (own ^ byte));
        }
        difference == 0
    }
}

/// The access token in force. Clones share it, so that it can be changed while the server runs.
#[derive(Clone, Debug, Default)]
pub struct AccessToken(Arc<RwLock<Option<Arc<Secret>>>>);

impl AccessToken {
    /// The token; `None`: whatever a client sends is accepted.
    pub fn current(&self) -> Option<Arc<Secret>> {
        self.0.read().clone()
    }

    /// Demands another secret from the next request on. A server that demanded none keeps doing so: whether it is safe
    /// without one was decided when it began to listen.
    pub fn replace(&self, secret: Secret) -> bool {
        let mut current = self.0.write();
        let demands = current.is_some();
        if demands {
            *current = Some(Arc::new(secret));
        }
        demands
    }
}

impl From<Option<Secret>> for AccessToken {
    fn from(secret: Option<Secret>) -> AccessToken {
        AccessToken(Arc::new(RwLock::new(secret.map(Arc::new))))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_itself_alone() {
        let secret = Secret::new("orchard").expect("printable");
        assert!(secret.matches(b"orchard"));
        for other in [&b""[..], b"orchar", b"orchardorchard", b"orcharD", b"Orchard"] {
            assert!(!secret.matches(other), "{other:?}");
        }
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        let token = AccessToken::from(Some(secret));
        assert!(token.clone().replace(Secret::new("plum").expect("printable")));
        assert!(token.current().is_some_and(|secret| secret.matches(b"plum")));
        assert!(!AccessToken::default().replace(Secret::new("plum").expect("printable")));
        assert!(Secret::new("").is_err() && Secret::new("a b").is_err() && Secret::new("a\n").is_err());
    }
}
