//! Who listens to what, and how a message comes to them.
//!
//! - A message goes to the inbox of each listener, in the order of publishing; the listener's own task encodes it for the
//!   version that it speaks. It leaves no earlier than what it tells of is durable.
//! - A client stands in the registry for exactly what its own [`Subscriptions`] name.

use super::clients::Client;
use bytes::Bytes;
use orchard_wire::glob;
use orchard_wire::resp::Reply;
use orcharddb::Versionstamp;
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Channels and patterns that one connection listens to at most.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 100_000;

/// What one listens to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Channel,
    Pattern,
    /// A channel of the sharded family, which is a world of its own.
    Shard,
}

impl Kind {
    /// The words of the confirmations, and of a message.
    pub(crate) fn words(self) -> [&'static str; 3] {
        match self {
            Kind::Channel => ["subscribe", "unsubscribe", "message"],
            Kind::Pattern => ["psubscribe", "punsubscribe", "pmessage"],
            Kind::Shard => ["ssubscribe", "sunsubscribe", "smessage"],
        }
    }
}

/// What one connection listens to.
#[derive(Default)]
pub(crate) struct Subscriptions {
    channels: BTreeSet<Bytes>,
    patterns: BTreeSet<Bytes>,
    shards: BTreeSet<Bytes>,
}

impl Subscriptions {
    pub(crate) fn of(&self, kind: Kind) -> &BTreeSet<Bytes> {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::Shard => &self.shards,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut BTreeSet<Bytes> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shards,
        }
    }

    /// The number that a confirmation tells.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Shard => self.shards.len(),
            Kind::Channel | Kind::Pattern => self.channels.len() + self.patterns.len(),
        }
    }

    /// All of them.
    pub(crate) fn len(&self) -> usize {
        self.channels.len() + self.patterns.len() + self.shards.len()
    }

    /// Whether the connection listens to anything.
    pub(crate) fn is_any(&self) -> bool {
        self.len() > 0
    }
}

type Listeners = BTreeMap<u64, Arc<Client>>;

#[derive(Default)]
struct Registry {
    channels: HashMap<Bytes, Listeners>,
    /// In order, so that messages of several patterns come in an order that stays.
    patterns: BTreeMap<Bytes, Listeners>,
    shards: HashMap<Bytes, Listeners>,
}

/// Who listens to what.
#[derive(Default)]
pub(crate) struct PubSub(RwLock<Registry>);

/// A message for one listener.
struct Delivery {
    listener: Arc<Client>,
    message: Reply,
}

impl PubSub {
    /// The client listens to `name` from now on.
    pub(crate) fn subscribe(&self, client: &Arc<Client>, own: &mut Subscriptions, kind: Kind, name: Bytes) {
        if !own.of_mut(kind).insert(name.clone()) {
            return;
        }
        let mut registry = self.0.write();
        let listeners = match kind {
            Kind::Channel => registry.channels.entry(name).or_default(),
            Kind::Pattern => registry.patterns.entry(name).or_default(),
            Kind::Shard => registry.shards.entry(name).or_default(),
        };
        listeners.insert(client.id, client.clone());
    }

    /// The client listens to `name` no longer.
    pub(crate) fn unsubscribe(&self, client: &Client, own: &mut Subscriptions, kind: Kind, name: &Bytes) {
        if own.of_mut(kind).remove(name) {
            self.0.write().remove(client.id, kind, name);
        }
    }

    /// The client listens to nothing any longer.
    pub(crate) fn unsubscribe_all(&self, client: &Client, own: &mut Subscriptions) {
        if !own.is_any() {
            return;
        }
        let own = std::mem::take(own);
        let mut registry = self.0.write();
        for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
            for name in own.of(kind) {
                registry.remove(client.id, kind, name);
            }
        }
    }

    /// How many would get a message.
    pub(crate) fn receivers(&self, kind: Kind, channel: &[u8]) -> usize {
        let registry = self.0.read();
        match kind {
            Kind::Shard => registry.shards.get(channel).map_or(0, BTreeMap::len),
            Kind::Channel | Kind::Pattern => {
                let patterns = registry.matching(channel).map(|(_, listeners)| listeners.len());
                registry.channels.get(channel).map_or(0, BTreeMap::len) + patterns.sum::<usize>()
            }
        }
    }

    /// Sends a message to all who listen; what the publisher itself gets is returned instead. `depends_on`: nobody may
    /// be told before it is visible.
    pub(crate) fn publish(
        &self,
        kind: Kind,
        channel: &Bytes,
        payload: &Bytes,
        publisher: Option<u64>,
        depends_on: Versionstamp,
    ) -> (usize, Vec<Reply>) {
        let deliveries = self.deliveries(kind, channel, payload);
        let count = deliveries.len();
        let mut own = Vec::new();
        let size_bytes = channel.len() + payload.len();
        for Delivery { listener, message } in deliveries {
            if Some(listener.id) == publisher {
                own.push(message);
            } else {
                listener.push(message, size_bytes, depends_on);
            }
        }
        (count, own)
    }

    fn deliveries(&self, kind: Kind, channel: &Bytes, payload: &Bytes) -> Vec<Delivery> {
        let registry = self.0.read();
        let [.., word] = kind.words();
        let message = Reply::Push(vec![
            Reply::Static(word),
            Reply::Bulk(channel.clone()),
            Reply::Bulk(payload.clone()),
        ]);
        let direct = match kind {
            Kind::Shard => registry.shards.get(channel),
            Kind::Channel | Kind::Pattern => registry.channels.get(channel),
        };
        let direct = direct.into_iter().flat_map(BTreeMap::values);
        let mut deliveries: Vec<_> = direct
            .map(|listener| Delivery { listener: listener.clone(), message: message.clone() })
            .collect();
        if kind != Kind::Shard {
            for (pattern, listeners) in registry.matching(channel) {
                let message = Reply::Push(vec![
                    Reply::Static("pmessage"),
                    Reply::Bulk(pattern.clone()),
                    Reply::Bulk(channel.clone()),
                    Reply::Bulk(payload.clone()),
                ]);
                deliveries.extend(
                    listeners
                        .values()
                        .map(|listener| Delivery { listener: listener.clone(), message: message.clone() }),
                );
            }
        }
        deliveries
    }

    /// Names of channels that somebody listens to.
    pub(crate) fn channels(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Bytes> {
        let registry = self.0.read();
        let channels = if kind == Kind::Shard { &registry.shards } else { &registry.channels };
        let is_wanted = |name: &&Bytes| pattern.is_none_or(|pattern| glob::matches(pattern, name));
        channels.keys().filter(is_wanted).cloned().collect()
    }

    /// How many listen to a channel by its name.
    pub(crate) fn listeners(&self, kind: Kind, channel: &[u8]) -> usize {
        let registry = self.0.read();
        let channels = if kind == Kind::Shard { &registry.shards } else { &registry.channels };
        channels.get(channel).map_or(0, BTreeMap::len)
    }

    /// How many channels, patterns and shard channels there are.
    pub(crate) fn counts(&self) -> [usize; 3] {
        let registry = self.0.read();
        [registry.channels.len(), registry.patterns.len(), registry.shards.len()]
    }
}

impl Registry {
    fn matching<'a>(&'a self, channel: &'a [u8]) -> impl Iterator<Item = (&'a Bytes, &'a Listeners)> {
        self.patterns.iter().filter(move |(pattern, _)| glob::matches(pattern, channel))
    }

    fn remove(&mut self, id: u64, kind: Kind, name: &Bytes) {
        match kind {
            Kind::Channel => leave(&mut self.channels, id, name),
            Kind::Shard => leave(&mut self.shards, id, name),
            Kind::Pattern => {
                if let Some(listeners) = self.patterns.get_mut(name) {
                    listeners.remove(&id);
                    if listeners.is_empty() {
                        self.patterns.remove(name);
                    }
                }
            }
        }
    }
}

fn leave(channels: &mut HashMap<Bytes, Listeners>, id: u64, name: &Bytes) {
    if let Some(listeners) = channels.get_mut(name) {
        listeners.remove(&id);
        if listeners.is_empty() {
            channels.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::clients::Clients;

    #[test]
    fn a_client_stands_where_it_listens_and_nowhere_else() {
        let (clients, pubsub) = (Clients::default(), PubSub::default());
        let (one, two) = (clients.open(None, None), clients.open(None, None));
        let (mut of_one, mut of_two) = (Subscriptions::default(), Subscriptions::default());
        let news = Bytes::from_static(b"news");
        pubsub.subscribe(&one, &mut of_one, Kind::Channel, news.clone());
        pubsub.subscribe(&one, &mut of_one, Kind::Channel, news.clone());
        pubsub.subscribe(&one, &mut of_one, Kind::Pattern, Bytes::from_static(b"n*"));
        pubsub.subscribe(&two, &mut of_two, Kind::Channel, news.clone());
        pubsub.subscribe(&two, &mut of_two, Kind::Shard, news.clone());
        assert_eq!(pubsub.counts(), [1, 1, 1]);
        assert_eq!((of_one.count(Kind::Pattern), of_two.count(Kind::Shard), of_two.len()), (2, 1, 2));
        let (count, own) = pubsub.publish(Kind::Channel, &news, &news, Some(one.id), Versionstamp::ZERO);
        assert_eq!((count, own.len()), (3, 2), "a channel and a pattern of its own, and the other's channel");
        assert_eq!(pubsub.receivers(Kind::Channel, &news), 3);
        assert_eq!(pubsub.receivers(Kind::Shard, &news), 1);
        pubsub.unsubscribe(&two, &mut of_two, Kind::Channel, &news);
        assert_eq!(pubsub.listeners(Kind::Channel, &news), 1);
        pubsub.unsubscribe_all(&one, &mut of_one);
        pubsub.unsubscribe_all(&two, &mut of_two);
        assert_eq!(pubsub.counts(), [0, 0, 0]);
        assert!(!of_one.is_any());
    }
}
