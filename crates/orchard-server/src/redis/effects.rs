//! What commands leave to be done once it is known that they happened.

use super::pubsub::{Kind, PubSub};
use bytes::Bytes;
use orcharddb::Versionstamp;

/// Messages to send when the commit has its place. A handler that runs again starts with none.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    messages: Vec<(Kind, Bytes, Bytes)>,
}

impl Effects {
    pub(crate) fn publish(&mut self, kind: Kind, channel: Bytes, payload: Bytes) {
        self.messages.push((kind, channel, payload));
    }

    pub(crate) fn extend(&mut self, messages: Vec<(Kind, Bytes, Bytes)>) {
        self.messages.extend(messages);
    }

    /// Adds what happened first.
    pub(crate) fn extend_before(&mut self, messages: Vec<(Kind, Bytes, Bytes)>) {
        self.messages.splice(..0, messages);
    }

    /// Sends everything; nobody is told before `depends_on` is visible.
    pub(crate) fn send(&mut self, pubsub: &PubSub, depends_on: Versionstamp) {
        for (kind, channel, payload) in self.messages.drain(..) {
            pubsub.publish(kind, &channel, &payload, None, depends_on);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.messages.clear();
    }
}
