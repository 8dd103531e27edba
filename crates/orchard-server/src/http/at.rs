//! Reading at another moment than now.

use crate::http::Session;
use orchard_wire::moment::{self, Moment};
use orchard_wire::query::Parameters;
use orchard_wire::{Kind, Problem};
use orcharddb::{Snapshot, UnixMillis, Versionstamp};

/// Takes a parameter that names a moment.
pub(super) fn take(parameters: &mut Parameters, name: &'static str) -> Result<Option<Moment>, Problem> {
    parameters.take_with(name, moment::parse)
}

/// The newest version at or before a moment.
///
/// # Errors
/// [`Kind::SnapshotTooOld`] before all that is known, [`Kind::BadQuery`] for a version that was not given out yet.
pub(super) fn version(session: &Session, moment: Moment) -> Result<Versionstamp, Problem> {
    let db = &session.server().db;
    let at_time = |time| {
        let detail = "the database does not know what it was at that time";
        db.version_at(time).ok_or_else(|| Problem::new(Kind::SnapshotTooOld, detail))
    };
    match moment {
        Moment::Version(version) if version > db.visible() => {
            let detail = format!("version {version} lies ahead of the newest, {}", db.visible());
            Err(Problem::new(Kind::BadQuery, detail))
        }
        Moment::Version(version) => Ok(version),
        Moment::Time(time) => at_time(time),
        Moment::Ago(age) => at_time(UnixMillis(db.snapshot().time().0.saturating_sub(age.0))),
    }
}

/// The window of versions in which entries were last changed. What lies before all that is
/// known is the beginning.
///
/// # Errors
/// [`Kind::BadQuery`]
pub(super) fn window(
    session: &Session,
    since: Option<Moment>,
    until: Option<Moment>,
) -> Result<(Option<Versionstamp>, Option<Versionstamp>), Problem> {
    let bound = |moment: Option<Moment>| {
        moment.map(|moment| match version(session, moment) {
            Err(problem) if problem.kind == Kind::SnapshotTooOld => Ok(Versionstamp::ZERO),
            other => other,
        })
    };
    Ok((bound(since).transpose()?, bound(until).transpose()?))
}

/// The view at a moment, now if there is none.
///
/// # Errors
/// [`Kind::SnapshotTooOld`] if it is not kept any more, and those of [`version`].
pub(super) fn snapshot(session: &Session, at: Option<Moment>) -> Result<Snapshot, Problem> {
    let db = &session.server().db;
    match at {
        None => Ok(db.snapshot()),
        Some(moment) => Ok(db.snapshot_at(version(session, moment)?)?),
    }
}
