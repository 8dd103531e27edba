//! News for clients that track: which of the keys they know have changed.

use bytes::Bytes;
use orchard_wire::resp::{Reply, RespVersion};
use orcharddb::Versionstamp;

/// The channel on which a listener that speaks RESP2 gets the news that another client redirects to it.
pub(crate) const CHANNEL: &str = "__redis__:invalidate";

/// What each name takes in an inbox next to its bytes.
const NAME_OVERHEAD_BYTES: usize = 64;

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalidation {
    /// Names of keys, each with the version of its change; `None`: everything may have changed.
    pub(crate) keys: Option<Vec<(Bytes, Versionstamp)>>,
    /// They are told in one message.
    pub(crate) is_broadcast: bool,
    /// Another client, which tracks, has redirected it.
    pub(crate) is_redirected: bool,
}

impl Invalidation {
    /// One key has changed.
    pub(crate) fn key(name: Bytes, stamp: Versionstamp, is_broadcast: bool) -> Invalidation {
        Invalidation { keys: Some(vec![(name, stamp)]), is_broadcast, is_redirected: false }
    }

    /// Everything may have changed.
    pub(crate) fn all(is_broadcast: bool) -> Invalidation {
        Invalidation { keys: None, is_broadcast, is_redirected: false }
    }

    /// Bytes that it takes, about.
    pub(crate) fn size_bytes(&self) -> usize {
        self.keys.iter().flatten().map(|(name, _)| name.len() + NAME_OVERHEAD_BYTES).sum()
    }

    /// Takes in what came right behind it; what cannot be said together is given back.
    pub(crate) fn absorb(&mut self, more: Invalidation) -> Option<Invalidation> {
        if (self.is_broadcast, self.is_redirected) != (more.is_broadcast, more.is_redirected) {
            return Some(more);
        }
        match (&mut self.keys, more.keys) {
            (Some(keys), Some(more)) => keys.extend(more),
            (None, None) => {}
            // Everything that was said before is in it.
            (keys @ Some(_), None) => *keys = None,
            (None, keys) => return Some(Invalidation { keys, ..*self }),
        }
        None
    }

    /// The messages that say it to a client; none to one that could not tell them from replies.
    pub(crate) fn messages(&self, version: RespVersion, listens: bool) -> Vec<Reply> {
        if version == RespVersion::Two && !(self.is_redirected && listens) {
            return Vec::new();
        }
        let message = |keys: Reply| {
            Reply::Push(match version {
                RespVersion::Two => vec![Reply::Static("message"), Reply::Static(CHANNEL), keys],
                RespVersion::Three => vec![Reply::Static("invalidate"), keys],
            })
        };
        match &self.keys {
            None => vec![message(Reply::Null)],
            Some(keys) if self.is_broadcast => {
                let names = keys.iter().map(|(name, _)| Reply::Bulk(name.clone()));
                vec![message(Reply::Array(names.collect()))]
            }
            Some(keys) => {
                keys.iter().map(|(name, _)| message(Reply::Array(vec![Reply::Bulk(name.clone())]))).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &'static str, stamp: u64) -> Invalidation {
        Invalidation::key(Bytes::from_static(name.as_bytes()), Versionstamp::from_raw(stamp), false)
    }

    fn told(news: &Invalidation, version: RespVersion, listens: bool) -> String {
        let mut bytes = Vec::new();
        news.messages(version, listens).iter().for_each(|message| message.encode(version, &mut bytes));
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn news_is_taken_together_and_nothing_of_it_is_lost() {
        let mut news = key("a", 1);
        assert_eq!(news.absorb(key("b", 2)), None);
        assert_eq!(
            told(&news, RespVersion::Three, false),
            ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nb\r\n"
        );
        news.is_broadcast = true;
        assert_eq!(
            told(&news, RespVersion::Three, false),
            ">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n"
        );
        assert_eq!(news.absorb(key("c", 3)), Some(key("c", 3)), "of another kind");
        assert_eq!(news.absorb(Invalidation::all(true)), None);
        assert_eq!(told(&news, RespVersion::Three, false), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
        let mut after = key("d", 4);
        after.is_broadcast = true;
        assert_eq!(
            news.absorb(after.clone()),
            Some(after),
            "what changes after everything did is told by itself"
        );
    }

    #[test]
    fn a_client_of_resp2_is_told_only_as_a_listener_to_whom_it_is_redirected() {
        let mut news = key("a", 1);
        assert_eq!(told(&news, RespVersion::Two, true), "");
        news.is_redirected = true;
        assert_eq!(told(&news, RespVersion::Two, false), "");
        let message = "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n";
        assert_eq!(told(&news, RespVersion::Two, true), format!("{message}*1\r\n$1\r\na\r\n"));
        news.keys = None;
        assert_eq!(told(&news, RespVersion::Two, true), format!("{message}$-1\r\n"));
    }
}
