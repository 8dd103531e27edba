//! Keyspace notifications of what has expired.

use super::effects::Effects;
use super::{DATABASES, databases, notify};
use crate::Server;
use orcharddb::{Expired, SpaceId, UnixMillis, Versionstamp};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Has listeners told of entries and hash fields that the background takes away.
pub(crate) fn tell_expired(server: &Arc<Server>) {
    let weak = Arc::downgrade(server);
    server.db.on_expiry(move |expired, depends_on| {
        if let Some(server) = weak.upgrade() {
            tell(&server, expired, depends_on);
        }
    });
}

fn tell(server: &Server, expired: &[Expired], depends_on: Versionstamp) {
    let whole = expired.iter().filter(|one| one.is_whole).count();
    server.redis.traffic.expired_keys.fetch_add(u64::try_from(whole).unwrap_or(0), Ordering::Relaxed);
    let classes = server.redis.config.notify();
    if !classes.is_any() {
        return;
    }
    let view = server.db.view_not_before(Versionstamp::ZERO, UnixMillis(0));
    let mut tx = view.transaction();
    let mut number_of = |space: SpaceId| {
        (0..DATABASES).find(|database| databases::space_in(&mut tx, *database).ok() == Some(space))
    };
    let mut effects = Effects::default();
    for one in expired {
        if let Some(database) = number_of(one.space) {
            effects.extend(notify::expired(classes, database, one));
        }
    }
    effects.send(&server.redis.pubsub, depends_on);
}
