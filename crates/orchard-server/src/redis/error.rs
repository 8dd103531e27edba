//! Why a command did not do what it was asked to, in Redis's words.

use orchard_wire::Problem;
use orchard_wire::resp::Reply;
use orcharddb::{CollectionError, CommitError, KeyError, LimitError};
use std::borrow::Cow;

/// An error reply. Its text begins with the prefix that clients compare.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RedisError(pub(crate) Cow<'static, str>);

impl RedisError {
    pub(crate) const WRONG_TYPE: RedisError =
        RedisError(Cow::Borrowed("WRONGTYPE Operation against a key holding the wrong kind of value"));
    pub(crate) const SYNTAX: RedisError = RedisError(Cow::Borrowed("ERR syntax error"));
    pub(crate) const NOT_INTEGER: RedisError =
        RedisError(Cow::Borrowed("ERR value is not an integer or out of range"));
    pub(crate) const NOT_FLOAT: RedisError = RedisError(Cow::Borrowed("ERR value is not a valid float"));
    pub(crate) const NO_SUCH_KEY: RedisError = RedisError(Cow::Borrowed("ERR no such key"));
    pub(crate) const OUT_OF_RANGE: RedisError = RedisError(Cow::Borrowed("ERR index out of range"));
    pub(crate) const DB_OUT_OF_RANGE: RedisError = RedisError(Cow::Borrowed("ERR DB index is out of range"));
    pub(crate) const NO_MEMORY: RedisError =
        RedisError(Cow::Borrowed("OOM command not allowed when used memory > 'maxmemory'."));
    pub(crate) const STRING_TOO_LONG: RedisError =
        RedisError(Cow::Borrowed("ERR string exceeds maximum allowed size (proto-max-bulk-len)"));

    /// An error that begins with `ERR`.
    pub(crate) fn err(text: impl std::fmt::Display) -> RedisError {
        RedisError(format!("ERR {text}").into())
    }

    /// `ERR invalid expire time in 'set' command`
    pub(crate) fn invalid_expire(command: &str) -> RedisError {
        RedisError::err(format_args!("invalid expire time in '{command}' command"))
    }

    /// `ERR wrong number of arguments for 'get' command`
    pub(crate) fn wrong_arity(command: &str) -> RedisError {
        RedisError::err(format_args!("wrong number of arguments for '{command}' command"))
    }
}

impl From<RedisError> for Reply {
    fn from(error: RedisError) -> Reply {
        Reply::Error(error.0)
    }
}

impl From<Problem> for RedisError {
    fn from(problem: Problem) -> RedisError {
        RedisError(format!("{} {}", problem.kind.resp_prefix(), problem.detail).into())
    }
}

impl From<orcharddb::Error> for RedisError {
    fn from(error: orcharddb::Error) -> RedisError {
        match error {
            orcharddb::Error::Commit(error) => error.into(),
            orcharddb::Error::Collection(CollectionError::WrongType { .. }) => RedisError::WRONG_TYPE,
            error => Problem::from(error).into(),
        }
    }
}

impl From<CommitError> for RedisError {
    fn from(error: CommitError) -> RedisError {
        match error {
            CommitError::MemoryFull { .. } => RedisError::NO_MEMORY,
            CommitError::Limit(LimitError { name: "value_size_bytes", .. }) => RedisError::STRING_TOO_LONG,
            error => Problem::from(error).into(),
        }
    }
}

impl From<KeyError> for RedisError {
    fn from(error: KeyError) -> RedisError {
        Problem::from(error).into()
    }
}

impl From<LimitError> for RedisError {
    fn from(error: LimitError) -> RedisError {
        Problem::from(error).into()
    }
}
