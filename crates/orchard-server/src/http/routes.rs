//! The table of routes. The router walks it, and everything that lists the routes is written from it.
//!
//! - A `{..}` in a template stands for the rest of the path up to what follows it in the template: slashes included,
//!   except in `{queue}`.
//! - Several rows may fit one path; the first that knows the method takes the request.

use hyper::Method;
use orchard_wire::element_json::{Shape, Verb};

/// Which handler a route has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Name {
    PlainPut,
    PlainGet,
    PlainDelete,
    Ranges,
    Entry,
    Commit,
    Batch,
    Read,
    KvConnect,
    Changes,
    Watch,
    History,
    Elements(Shape),
    Change(Verb),
    Databases,
    Database,
    SwapDatabases,
    Queues,
    Queue,
    Lease,
    Ack,
    Nack,
    QueueStats,
    Peek,
    Dead,
    Livez,
    Readyz,
    Version,
    Limits,
    Openapi,
    Metrics,
}

/// One row.
pub(super) struct Route {
    pub(super) template: &'static str,
    /// As the Allow header names them. The plain routes know no HEAD: a HEAD that writes would be worse than a GET that
    /// does.
    pub(super) methods: &'static [&'static str],
    pub(super) name: Name,
}

const GET: &[&str] = &["GET"];
const LOOK: &[&str] = &["GET", "HEAD"];
const POST: &[&str] = &["POST"];
const ENTRY: &[&str] = &["GET", "HEAD", "PUT", "DELETE", "PATCH", "POST"];
const DEAD: &[&str] = &["GET", "HEAD", "POST"];
const DATABASE: &[&str] = &["PUT", "DELETE"];
const QUEUE: &[&str] = &["POST", "DELETE"];

const fn row(template: &'static str, methods: &'static [&'static str], name: Name) -> Route {
    Route { template, methods, name }
}

/// Every route.
pub(super) const ROUTES: &[Route] = &[
    row("/put", GET, Name::PlainPut),
    row("/get/{name}", GET, Name::PlainGet),
    row("/delete/{name}", GET, Name::PlainDelete),
    row("/v1/kv", ENTRY, Name::Ranges),
    row("/v1/kv/{key}", ENTRY, Name::Entry),
    row("/v1/commit", POST, Name::Commit),
    row("/v1/batch", POST, Name::Batch),
    row("/v1/read", POST, Name::Read),
    row("/", POST, Name::KvConnect),
    row("/kv-connect/{database}", POST, Name::KvConnect),
    row("/v1/changes", GET, Name::Changes),
    row("/v1/watch", GET, Name::Watch),
    row("/v1/history", LOOK, Name::History),
    row("/v1/history/{key}", LOOK, Name::History),
    row("/v1/lists", LOOK, Name::Elements(Shape::List)),
    row("/v1/lists/append", POST, Name::Change(Verb::Append)),
    row("/v1/lists/prepend", POST, Name::Change(Verb::Prepend)),
    row("/v1/lists/pop_first", POST, Name::Change(Verb::PopFirst)),
    row("/v1/lists/pop_last", POST, Name::Change(Verb::PopLast)),
    row("/v1/lists/{key}/append", POST, Name::Change(Verb::Append)),
    row("/v1/lists/{key}/prepend", POST, Name::Change(Verb::Prepend)),
    row("/v1/lists/{key}/pop_first", POST, Name::Change(Verb::PopFirst)),
    row("/v1/lists/{key}/pop_last", POST, Name::Change(Verb::PopLast)),
    row("/v1/lists/{key}", LOOK, Name::Elements(Shape::List)),
    row("/v1/hashes", LOOK, Name::Elements(Shape::Hash)),
    row("/v1/hashes/set", POST, Name::Change(Verb::SetFields)),
    row("/v1/hashes/delete", POST, Name::Change(Verb::DeleteFields)),
    row("/v1/hashes/sum", POST, Name::Change(Verb::SumField)),
    row("/v1/hashes/expire", POST, Name::Change(Verb::ExpireFields)),
    row("/v1/hashes/{key}/set", POST, Name::Change(Verb::SetFields)),
    row("/v1/hashes/{key}/delete", POST, Name::Change(Verb::DeleteFields)),
    row("/v1/hashes/{key}/sum", POST, Name::Change(Verb::SumField)),
    row("/v1/hashes/{key}/expire", POST, Name::Change(Verb::ExpireFields)),
    row("/v1/hashes/{key}", LOOK, Name::Elements(Shape::Hash)),
    row("/v1/sets", LOOK, Name::Elements(Shape::Set)),
    row("/v1/sets/add", POST, Name::Change(Verb::AddMembers)),
    row("/v1/sets/remove", POST, Name::Change(Verb::RemoveMembers)),
    row("/v1/sets/expire", POST, Name::Change(Verb::ExpireMembers)),
    row("/v1/sets/{key}/add", POST, Name::Change(Verb::AddMembers)),
    row("/v1/sets/{key}/remove", POST, Name::Change(Verb::RemoveMembers)),
    row("/v1/sets/{key}/expire", POST, Name::Change(Verb::ExpireMembers)),
    row("/v1/sets/{key}", LOOK, Name::Elements(Shape::Set)),
    row("/v1/zsets", LOOK, Name::Elements(Shape::ZSet)),
    row("/v1/zsets/add", POST, Name::Change(Verb::AddScored)),
    row("/v1/zsets/remove", POST, Name::Change(Verb::RemoveScored)),
    row("/v1/zsets/sum", POST, Name::Change(Verb::SumScore)),
    row("/v1/zsets/expire", POST, Name::Change(Verb::ExpireScored)),
    row("/v1/zsets/pop_lowest", POST, Name::Change(Verb::PopLowest)),
    row("/v1/zsets/pop_highest", POST, Name::Change(Verb::PopHighest)),
    row("/v1/zsets/{key}/add", POST, Name::Change(Verb::AddScored)),
    row("/v1/zsets/{key}/remove", POST, Name::Change(Verb::RemoveScored)),
    row("/v1/zsets/{key}/sum", POST, Name::Change(Verb::SumScore)),
    row("/v1/zsets/{key}/expire", POST, Name::Change(Verb::ExpireScored)),
    row("/v1/zsets/{key}/pop_lowest", POST, Name::Change(Verb::PopLowest)),
    row("/v1/zsets/{key}/pop_highest", POST, Name::Change(Verb::PopHighest)),
    row("/v1/zsets/{key}", LOOK, Name::Elements(Shape::ZSet)),
    row("/v1/databases", LOOK, Name::Databases),
    row("/v1/databases/swap", POST, Name::SwapDatabases),
    row("/v1/databases/{database}", DATABASE, Name::Database),
    row("/v1/queues", LOOK, Name::Queues),
    row("/v1/queues/{queue}/lease", POST, Name::Lease),
    row("/v1/queues/{queue}/ack", POST, Name::Ack),
    row("/v1/queues/{queue}/nack", POST, Name::Nack),
    row("/v1/queues/{queue}/stats", LOOK, Name::QueueStats),
    row("/v1/queues/{queue}/peek", LOOK, Name::Peek),
    row("/v1/queues/{queue}/dead", DEAD, Name::Dead),
    row("/v1/queues/{queue}", QUEUE, Name::Queue),
    row("/livez", LOOK, Name::Livez),
    row("/readyz", LOOK, Name::Readyz),
    row("/version", LOOK, Name::Version),
    row("/limits", LOOK, Name::Limits),
    row("/openapi.json", LOOK, Name::Openapi),
    row("/metrics", LOOK, Name::Metrics),
];

/// Routes that are promised and not there yet.
pub(super) const LATER: [&str; 1] = ["/console"];

/// What the router found.
pub(super) enum Found<'a> {
    /// The route, and the part of the path that its `{..}` stands for.
    Route(&'static Route, &'a str),
    /// There are routes, with these methods.
    OtherMethods(Vec<&'static str>),
    /// Not yet.
    Later(&'static str),
    Nothing,
}

impl Route {
    /// The part of `path` that the `{..}` stands for, empty if there is none; `None` if the path is another's.
    fn capture<'a>(&self, path: &'a str) -> Option<&'a str> {
        let Some((before, rest)) = self.template.split_once('{') else {
            return (path == self.template).then_some("");
        };
        let after = rest.split_once('}').map_or("", |(_, after)| after);
        let capture = path.strip_prefix(before)?.strip_suffix(after)?;
        (!capture.contains('/') || !rest.starts_with("queue}")).then_some(capture)
    }
}

/// The route that a request takes.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Found<'a> {
    // The list of everything, with the slash that people type.
    let path = if path == "/v1/kv/" { "/v1/kv" } else { path };
    let mut others = Vec::new();
    for route in ROUTES {
        let Some(capture) = route.capture(path) else { continue };
        if route.methods.iter().any(|allowed| *allowed == method.as_str()) {
            return Found::Route(route, capture);
        }
        for other in route.methods {
            if !others.contains(other) {
                others.push(*other);
            }
        }
    }
    if !others.is_empty() {
        return Found::OtherMethods(others);
    }
    let is_later = |later: &&&str| {
        path.strip_prefix(**later).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    LATER.iter().find(is_later).map_or(Found::Nothing, |later| Found::Later(later))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str) -> Option<(Name, &str)> {
        match find(&method, path) {
            Found::Route(route, capture) => Some((route.name, capture)),
            _ => None,
        }
    }

    #[test]
    fn paths_lead_to_their_routes() {
        for (method, path, expected) in [
            (Method::GET, "/get/a/b", Some((Name::PlainGet, "a/b"))),
            (Method::GET, "/get/", Some((Name::PlainGet, ""))),
            (Method::HEAD, "/get/a", None),
            (Method::GET, "/v1/kv", Some((Name::Ranges, ""))),
            (Method::GET, "/v1/kv/", Some((Name::Ranges, ""))),
            (Method::PUT, "/v1/kv/a//b", Some((Name::Entry, "a//b"))),
            (Method::POST, "/v1/queues/a/lease", Some((Name::Lease, "a"))),
            (Method::POST, "/v1/queues/lease", Some((Name::Queue, "lease"))),
            (Method::POST, "/v1/queues/a/b", None),
            (Method::GET, "/v1/kvx", None),
            (Method::GET, "/", None),
        ] {
            assert_eq!(found(method, path), expected, "{path}");
        }
        assert!(
            matches!(find(&Method::GET, "/v1/commit"), Found::OtherMethods(methods) if methods == ["POST"])
        );
        assert!(matches!(find(&Method::GET, "/console/x"), Found::Later("/console")));
    }

    #[test]
    fn no_two_rows_are_the_same() {
        for (index, route) in ROUTES.iter().enumerate() {
            assert!(route.template.starts_with('/'));
            assert!(
                !ROUTES.iter().skip(index + 1).any(|other| other.template == route.template),
                "{}",
                route.template
            );
        }
    }
}
