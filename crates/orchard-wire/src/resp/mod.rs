//! The Redis protocol, versions 2 and 3: requests in, replies out.
//!
//! - [`RequestDecoder`] takes what has arrived, in pieces of any size, and gives whole pipelines: every complete request
//!   in one [`Batch`] whose arguments borrow the received bytes. How the bytes were cut never changes the requests.
//! - Errors have Redis's own texts ([`ProtocolError`]); requests before the error are still given.
//! - What a client may make us hold is bounded by [`RequestLimits`]: counts are announcements, never allocations.
//! - [`Reply`] is written for either version by [`Reply::encode`].

pub mod inline;
pub mod long_double;
pub mod number;
pub mod reply;
pub mod request;

pub use reply::{Reply, RespVersion};
pub use request::{Args, Batch, OwnedArgs, ProtocolError, RequestDecoder, RequestLimits};
