//! Requests: arrays of bulk strings, and inline commands.
//!
//! - A decoder remembers how far it has read, so a request that arrives in a thousand pieces is read once.
//! - `at` lies at the start of a request, of an argument's head, or of an argument's bytes; nothing before it is looked
//!   at again.

use super::inline::split_in_place;
use super::number::parse_integer;
use bytes::{Bytes, BytesMut};
use std::fmt;

/// Longest inline command, and longest head of a count or length, in bytes.
pub const INLINE_SIZE_BYTES_MAX: usize = 64 * 1024;
/// Arguments and bytes of one that a client may send before it has shown who it is.
const STRANGER_ARGS_MAX: usize = 10;
const STRANGER_BULK_SIZE_BYTES_MAX: usize = 16_384;

/// What one request may be.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Longest argument in bytes.
    pub bulk_size_bytes_max: usize,
    /// Most arguments.
    pub args_max: usize,
    /// Most bytes of a whole request.
    pub request_size_bytes_max: usize,
    /// Whether the client still has to show who it is; then it may send little.
    pub is_stranger: bool,
    /// Most requests that one call decodes.
    pub requests_max: usize,
}

impl Default for RequestLimits {
    fn default() -> RequestLimits {
        RequestLimits {
            bulk_size_bytes_max: orcharddb::limits::VALUE_SIZE_BYTES_MAX,
            args_max: 1024 * 1024,
            request_size_bytes_max: 64 * 1024 * 1024,
            is_stranger: false,
            requests_max: usize::MAX,
        }
    }
}

/// Why the bytes are no request; Redis's own words. The connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// An inline command is over [`INLINE_SIZE_BYTES_MAX`].
    TooBigInline,
    /// The quotes of an inline command do not match up.
    UnbalancedQuotes,
    /// The head of a count does not end.
    TooBigCountString,
    /// The head of a length does not end.
    TooBigBulkCountString,
    /// The count is none, or over the limit.
    InvalidMultibulkLength,
    /// The length is none, or over the limit.
    InvalidBulkLength,
    /// An argument does not start with `$`.
    ExpectedBulk(u8),
    /// More arguments than a client may send before it has shown who it is.
    UnauthenticatedMultibulkLength,
    /// A longer argument than a client may send before it has shown who it is.
    UnauthenticatedBulkLength,
    /// The whole request is over the limit.
    TooBigRequest,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        match self {
            ProtocolError::TooBigInline => f.write_str("too big inline request"),
            ProtocolError::UnbalancedQuotes => f.write_str("unbalanced quotes in request"),
            ProtocolError::TooBigCountString => f.write_str("too big mbulk count string"),
            ProtocolError::TooBigBulkCountString => f.write_str("too big bulk count string"),
            ProtocolError::InvalidMultibulkLength => f.write_str("invalid multibulk length"),
            ProtocolError::InvalidBulkLength => f.write_str("invalid bulk length"),
            ProtocolError::ExpectedBulk(found) => write!(f, "expected '$', got '{}'", char::from(*found)),
            ProtocolError::UnauthenticatedMultibulkLength => f.write_str("unauthenticated multibulk length"),
            ProtocolError::UnauthenticatedBulkLength => f.write_str("unauthenticated bulk length"),
            ProtocolError::TooBigRequest => f.write_str("too big request"),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// Where an argument lies in the bytes of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// A request is far below 4 GiB.
    fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    #[inline(always)]
    fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Whole requests, and what was wrong behind them.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Bytes,
    spans: Vec<Span>,
    /// Where each request's spans end.
    ends: Vec<u32>,
    /// The bytes behind the last request are none.
    pub error: Option<ProtocolError>,
}

impl Batch {
    /// Number of requests.
    #[inline]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no request.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The arguments of one request, the command's name first; empty if there is none.
    #[inline]
    pub fn request(&self, index: usize) -> Args<'_> {
        let end = self.ends.get(index).map_or(0, |end| *end as usize);
        let start =
            index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        Args { bytes: &self.bytes, spans: self.spans.get(start..end).unwrap_or_default() }
    }

    /// Every request.
    pub fn iter(&self) -> impl Iterator<Item = Args<'_>> {
        (0..self.len()).map(|index| self.request(index))
    }
}

/// The arguments of one request, borrowed from its batch. The first is the command's name; it is there.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a Bytes,
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// Number of arguments, the name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none, not even a name.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// One argument, if there are so many.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.spans.get(index).map(|span| span.of(self.bytes))
    }

    /// One argument that the command's arity promises; empty if it is missing.
    #[inline]
    pub fn at(&self, index: usize) -> &'a [u8] {
        self.get(index).unwrap_or_default()
    }

    /// The bytes of an argument, shared with the batch instead of copied: for values on their way to the log.
    pub fn shared(&self, index: usize) -> Bytes {
        self.spans.get(index).map_or_else(Bytes::new, |span| {
            self.bytes.slice(span.start as usize..(span.end as usize).max(span.start as usize))
        })
    }

    /// The arguments from `index` on.
    pub fn from(&self, index: usize) -> Args<'a> {
        Args { bytes: self.bytes, spans: self.spans.get(index..).unwrap_or_default() }
    }

    /// The arguments from `index` on, two at a time; `None` if one is left over.
    #[inline]
    pub fn pairs(
        &self,
        index: usize,
    ) -> Option<impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a>> {
        let bytes = self.bytes;
        let (pairs, rest) = self.spans.get(index..).unwrap_or_default().as_chunks::<2>();
        rest.is_empty().then(|| pairs.iter().map(move |[one, other]| (one.of(bytes), other.of(bytes))))
    }

    /// Every argument, the name included.
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + Clone + use<'a> {
        let bytes = self.bytes;
        self.spans.iter().map(move |span| span.of(bytes))
    }

    /// A copy that outlives the batch, without the bytes of other requests.
    pub fn to_owned(&self) -> OwnedArgs {
        OwnedArgs::new(self.iter())
    }
}

impl fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.iter().map(|word| word.escape_ascii().to_string());
        f.debug_list().entries(words).finish()
    }
}

/// The arguments of one request, owned.
#[derive(Clone, Debug, Default)]
pub struct OwnedArgs {
    bytes: Bytes,
    spans: Vec<Span>,
}

impl OwnedArgs {
    /// A request of these arguments.
    pub fn new<'a>(words: impl Iterator<Item = &'a [u8]>) -> OwnedArgs {
        let mut bytes = Vec::new();
        let mut spans = Vec::new();
        for word in words {
            let start = bytes.len();
            bytes.extend_from_slice(word);
            spans.push(Span::new(start, bytes.len()));
        }
        OwnedArgs { bytes: Bytes::from(bytes), spans }
    }

    /// The arguments.
    pub fn args(&self) -> Args<'_> {
        Args { bytes: &self.bytes, spans: &self.spans }
    }

    /// Bytes that it holds.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() + self.spans.len() * size_of::<Span>()
    }
}

/// A head of one to three digits, as most are: its number, and where what follows it begins. `None`: it has another form,
/// or is not there whole; behind a head lie two bytes at least.
#[inline(always)]
fn short_head(buffer: &[u8], at: usize, mark: u8) -> Option<(usize, usize)> {
    let [first, one, two, three, end, _] = *buffer.get(at..)?.first_chunk()?;
    let digit = |byte: u8| usize::from(byte.wrapping_sub(b'0'));
    if first != mark || digit(one) > 9 {
        return None;
    }
    if two == b'\r' {
        return Some((digit(one), at + 4));
    }
    if one == b'0' || digit(two) > 9 {
        return None;
    }
    let number = 10 * digit(one) + digit(two);
    if three == b'\r' {
        return Some((number, at + 5));
    }
    (digit(three) <= 9 && end == b'\r').then(|| (10 * number + digit(three), at + 6))
}

/// The number of a [`short_head`] at most.
const SHORT_MAX: usize = 999;

/// What a step found.
enum Step {
    /// Go on.
    On,
    /// The rest has not arrived.
    Wait,
}

/// Finds requests in what arrives.
///
/// ```
/// use bytes::BytesMut;
/// use orchard_wire::resp::{RequestDecoder, RequestLimits};
/// let mut decoder = RequestDecoder::default();
/// let mut buffer = BytesMut::from(&b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n*1\r\n$4\r\nEC"[..]);
/// let batch = decoder.decode(&mut buffer, &RequestLimits::default());
/// let requests: Vec<Vec<_>> = batch.iter().map(|args| args.iter().collect()).collect();
/// assert_eq!(requests, [vec![&b"GET"[..], b"k"], vec![b"PING"]]);
/// buffer.extend_from_slice(b"HO\r\n");
/// assert_eq!(decoder.decode(&mut buffer, &RequestLimits::default()).request(0).at(0), b"ECHO");
/// ```
#[derive(Debug, Default)]
pub struct RequestDecoder {
    /// Everything before this is read.
    at: usize,
    /// Bytes that belong to whole requests.
    whole: usize,
    /// No line ends before this.
    searched: usize,
    /// Arguments of the request being read that are still to come; 0 between two requests.
    args_left: usize,
    /// Length of the argument being read.
    bulk: Option<usize>,
    /// Arguments of whole requests, then those of the one being read.
    spans: Vec<Span>,
    ends: Vec<u32>,
}

impl RequestDecoder {
    /// Takes every whole request off the front of `buffer`. What is left there is the beginning of the next one; append
    /// to it, and change nothing before.
    pub fn decode(&mut self, buffer: &mut BytesMut, limits: &RequestLimits) -> Batch {
        let mut error = None;
        // Most requests are there whole and have short heads; whether they are too much is then asked for none of them.
        let may_be_short =
            !limits.is_stranger && limits.args_max.min(limits.bulk_size_bytes_max) >= SHORT_MAX;
        while self.ends.len() < limits.requests_max {
            if may_be_short && self.args_left == 0 && self.short_request(buffer, limits) {
                continue;
            }
            match self.step(buffer, limits) {
                Ok(Step::On) => {}
                Ok(Step::Wait) => break,
                Err(found) => {
                    error = Some(found);
                    break;
                }
            }
        }
        self.give(buffer, error)
    }

    /// How many more bytes the argument being read needs; a reader may make room for them at once.
    pub fn wanted_bytes(&self, buffered_bytes: usize) -> usize {
        self.bulk.map_or(0, |length| (self.at + length + 2).saturating_sub(buffered_bytes))
    }

    /// Takes a batch's room back for the next one.
    pub fn recycle(&mut self, mut batch: Batch) {
        const KEPT_MAX: usize = 4_096;
        if self.spans.is_empty() && self.spans.capacity() == 0 && batch.spans.capacity() <= KEPT_MAX {
            batch.spans.clear();
            self.spans = batch.spans;
        }
        if self.ends.is_empty() && batch.ends.capacity() <= KEPT_MAX {
            batch.ends.clear();
            self.ends = batch.ends;
        }
    }

    fn give(&mut self, buffer: &mut BytesMut, error: Option<ProtocolError>) -> Batch {
        if self.ends.is_empty() && error.is_none() {
            if self.whole > 0 {
                // Empty lines and empty arrays are no requests.
                let _ = buffer.split_to(self.whole.min(buffer.len()));
                self.rebase();
            }
            return Batch::default();
        }
        let whole_spans = self.ends.last().map_or(0, |end| *end as usize);
        let started = self.spans.split_off(whole_spans.min(self.spans.len()));
        let bytes = buffer.split_to(self.whole.min(buffer.len())).freeze();
        let batch = Batch {
            bytes,
            spans: std::mem::replace(&mut self.spans, started),
            ends: std::mem::take(&mut self.ends),
            error,
        };
        self.rebase();
        batch
    }

    /// The bytes of whole requests are gone from the buffer.
    fn rebase(&mut self) {
        let gone = std::mem::take(&mut self.whole);
        self.at -= gone.min(self.at);
        self.searched -= gone.min(self.searched);
        for span in &mut self.spans {
            *span = Span::new(span.start as usize - gone, span.end as usize - gone);
        }
    }

    fn request_is_whole(&mut self) {
        self.whole = self.at;
        let begun = self.ends.last().map_or(0, |end| *end as usize);
        if self.spans.len() > begun {
            self.ends.push(self.spans.len() as u32);
        }
    }

    /// Reads a whole request with short heads; `false`, and nothing is read, if there is none.
    #[inline(always)]
    fn short_request(&mut self, buffer: &[u8], limits: &RequestLimits) -> bool {
        let Some((count, mut at)) = short_head(buffer, self.at, b'*') else { return false };
        let begun = self.spans.len();
        for _ in 0..count {
            let Some((length, start)) = short_head(buffer, at, b'$') else { break };
            self.spans.push(Span::new(start, start + length));
            at = start + length + 2;
        }
        let is_whole = count > 0 && self.spans.len() - begun == count && at <= buffer.len();
        if !is_whole || at - self.whole > limits.request_size_bytes_max {
            self.spans.truncate(begun);
            return false;
        }
        self.at = at;
        self.whole = at;
        self.ends.push(self.spans.len() as u32);
        true
    }

    /// Reads one count, one argument or one line.
    fn step(&mut self, buffer: &mut BytesMut, limits: &RequestLimits) -> Result<Step, ProtocolError> {
        if self.args_left > 0 {
            return self.argument(buffer, limits);
        }
        match buffer.get(self.at) {
            None => Ok(Step::Wait),
            Some(b'*') => self.count(buffer, limits),
            Some(_) => self.inline(buffer),
        }
    }

    /// The digits of a head that ends with `\r` and any byte, as Redis reads it; `at` moves behind it.
    fn head<'b>(
        &mut self,
        buffer: &'b [u8],
        too_big: ProtocolError,
    ) -> Result<Option<&'b [u8]>, ProtocolError> {
        let from = self.searched.max(self.at);
        let end = buffer.get(from..).unwrap_or_default().iter().position(|byte| *byte == b'\r');
        let Some(end) = end.map(|end| from + end) else {
            self.searched = buffer.len();
            if buffer.len() - self.at > INLINE_SIZE_BYTES_MAX {
                return Err(too_big);
            }
            return Ok(None);
        };
        if end + 2 > buffer.len() {
            self.searched = end;
            return Ok(None);
        }
        let digits = buffer.get(self.at + 1..end).unwrap_or_default();
        self.at = end + 2;
        Ok(Some(digits))
    }

    fn count(&mut self, buffer: &[u8], limits: &RequestLimits) -> Result<Step, ProtocolError> {
        let count = if let Some((count, behind)) = short_head(buffer, self.at, b'*') {
            self.at = behind;
            count as i64
        } else {
            let Some(digits) = self.head(buffer, ProtocolError::TooBigCountString)? else {
                return Ok(Step::Wait);
            };
            parse_integer(digits).ok_or(ProtocolError::InvalidMultibulkLength)?
        };
        if count <= 0 {
            self.whole = self.at;
            return Ok(Step::On);
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > limits.args_max {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if limits.is_stranger && count > STRANGER_ARGS_MAX {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        self.args_left = count;
        Ok(Step::On)
    }

    fn argument(&mut self, buffer: &[u8], limits: &RequestLimits) -> Result<Step, ProtocolError> {
        let length = match self.bulk {
            Some(length) => length,
            None => {
                let length = if let Some((length, behind)) = short_head(buffer, self.at, b'$') {
                    self.at = behind;
                    Some(length)
                } else {
                    let first = buffer.get(self.at).copied();
                    // As in Redis the head must be there whole before its first byte is looked at.
                    let head = self.head(buffer, ProtocolError::TooBigBulkCountString)?;
                    let (Some(digits), Some(first)) = (head, first) else { return Ok(Step::Wait) };
                    if first != b'$' {
                        return Err(ProtocolError::ExpectedBulk(first));
                    }
                    parse_integer(digits).and_then(|length| usize::try_from(length).ok())
                };
                let length = length
                    .filter(|length| *length <= limits.bulk_size_bytes_max)
                    .ok_or(ProtocolError::InvalidBulkLength)?;
                if limits.is_stranger && length > STRANGER_BULK_SIZE_BYTES_MAX {
                    return Err(ProtocolError::UnauthenticatedBulkLength);
                }
                self.bulk = Some(length);
                length
            }
        };
        if self.at - self.whole + length > limits.request_size_bytes_max {
            return Err(ProtocolError::TooBigRequest);
        }
        if buffer.len() < self.at + length + 2 {
            return Ok(Step::Wait);
        }
        self.spans.push(Span::new(self.at, self.at + length));
        self.at += length + 2;
        self.bulk = None;
        self.args_left -= 1;
        if self.args_left == 0 {
            self.request_is_whole();
        }
        Ok(Step::On)
    }

    fn inline(&mut self, buffer: &mut BytesMut) -> Result<Step, ProtocolError> {
        let from = self.searched.max(self.at);
        let end = buffer.get(from..).unwrap_or_default().iter().position(|byte| *byte == b'\n');
        let Some(end) = end.map(|end| from + end) else {
            self.searched = buffer.len();
            if buffer.len() - self.at > INLINE_SIZE_BYTES_MAX {
                return Err(ProtocolError::TooBigInline);
            }
            return Ok(Step::Wait);
        };
        let start = self.at;
        let line = buffer.get_mut(start..end).unwrap_or_default();
        let length = line.strip_suffix(b"\r").map_or(line.len(), <[u8]>::len);
        let line = line.get_mut(..length).unwrap_or_default();
        let spans = &mut self.spans;
        split_in_place(line, |from, to| spans.push(Span::new(start + from, start + to)))
            .map_err(|_| ProtocolError::UnbalancedQuotes)?;
        self.at = end + 1;
        self.request_is_whole();
        Ok(Step::On)
    }
}

#[cfg(test)]
mod tests;
