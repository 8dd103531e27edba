//! Who may send a request at all. The plain routes write by GET, so this stands before every route.
//!
//! - A web page of another origin never may: browsers say `Origin`, `Sec-Fetch-Site`, or both.
//! - Without an access token the request must name this machine's loopback as its host, or a page could reach us under a
//!   name of its own that resolves to 127.0.0.1 (DNS rebinding).
//! - With one, everything but the two probes must show it.

use crate::Secret;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use hyper::{Uri, Version};
use orchard_wire::{Kind, Problem};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What of a request the guard looks at.
pub(crate) struct Candidate<'a> {
    pub(crate) uri: &'a Uri,
    pub(crate) version: Version,
    pub(crate) headers: &'a HeaderMap,
}

/// # Errors
/// [`Kind::BadRequest`], [`Kind::HostRefused`], [`Kind::OriginRefused`], [`Kind::Unauthorized`]
pub(crate) fn check(request: &Candidate<'_>, token: Option<&Secret>) -> Result<(), Problem> {
    let hosts = hosts(request)?;
    if token.is_none()
        && let Some(foreign) = hosts.iter().find(|host| !is_loopback(host))
    {
        let detail = format!(
            "\"{}\" is not this machine's loopback, and without an access token only localhost is served",
            foreign.escape_debug()
        );
        return Err(Problem::new(Kind::HostRefused, detail));
    }
    check_origin(request.headers, hosts.first().copied())?;
    if let Some(token) = token
        && !matches!(request.uri.path(), "/livez" | "/readyz")
        && !shows(request.headers, token)
    {
        return Err(Problem::new(
            Kind::Unauthorized,
            "this server needs Authorization: Bearer with its access token",
        ));
    }
    Ok(())
}

/// The hosts that a request names, the one that counts first.
fn hosts<'a>(request: &Candidate<'a>) -> Result<Vec<&'a str>, Problem> {
    let mut hosts: Vec<&str> =
        request.uri.authority().map(|authority| authority.as_str()).into_iter().collect();
    if let Some(host) = single(request.headers, &HOST)? {
        let host =
            host.to_str().map_err(|_| Problem::new(Kind::BadRequest, "the Host header is not ASCII"))?;
        hosts.push(host);
    }
    if hosts.is_empty() && request.version != Version::HTTP_10 {
        return Err(Problem::new(Kind::BadRequest, "the Host header is missing"));
    }
    Ok(hosts)
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        _ => Err(Problem::new(Kind::BadRequest, format!("the header {name} is given twice"))),
    }
}

/// `localhost`, a name below it, 127.0.0.0/8 or `[::1]`, each with any port.
fn is_loopback(host: &str) -> bool {
    let is_port =
        |port: &str| !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else { return false };
        let port_fits = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        return port_fits && address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    }
    let name = match host.split_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) => return false,
        None => host,
    };
    if name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback()) {
        return true;
    }
    let name = name.to_ascii_lowercase();
    let label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    name == "localhost"
        || name.strip_suffix(".localhost").is_some_and(|below| !below.is_empty() && below.bytes().all(label))
}

fn check_origin(headers: &HeaderMap, host: Option<&str>) -> Result<(), Problem> {
    let refused = |what: &str| {
        Err(Problem::new(
            Kind::OriginRefused,
            format!("{what}: web pages of other origins may not use this server"),
        ))
    };
    for site in headers.get_all("sec-fetch-site") {
        if !matches!(site.as_bytes(), b"same-origin" | b"none") {
            return refused("the request comes from another site");
        }
    }
    for origin in headers.get_all(ORIGIN) {
        let own = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
        let same = own.zip(host).is_some_and(|(own, host)| own.eq_ignore_ascii_case(host));
        if !same {
            return refused("the request has a foreign Origin");
        }
    }
    Ok(())
}

fn shows(headers: &HeaderMap, token: &Secret) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    match value.as_bytes().split_at_checked(7) {
        Some((scheme, candidate)) => {
            scheme.eq_ignore_ascii_case(b"Bearer ") && token.matches(candidate.trim_ascii())
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_hosts_are_ours() {
        for host in [
            "localhost",
            "LOCALHOST:4206",
            "a.b.localhost:1",
            "127.0.0.1",
            "127.1.2.3:80",
            "[::1]",
            "[::1]:4206",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "localhost.",
            ".localhost",
            "128.0.0.1",
            "0.0.0.0",
            "127.1",
            "2130706433",
            "[::]",
            "[::2]",
            "[::ffff:127.0.0.1]",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:",
            "localhost:",
            "localhost:x",
            "localhost:4206@example.com",
            "user@localhost",
            "localhost:123456",
            "127.0.0.1:1:2",
            "a b.localhost",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    fn kind(headers: &[(&'static str, &'static str)], token: Option<&Secret>) -> Option<Kind> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let uri = Uri::from_static("/get/a");
        let candidate = Candidate { uri: &uri, version: Version::HTTP_11, headers: &map };
        check(&candidate, token).err().map(|problem| problem.kind)
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let host = ("host", "localhost:4206");
        for (name, value, refused) in [
            ("origin", "http://localhost:4206", false),
            ("origin", "http://LOCALHOST:4206", false),
            ("origin", "http://localhost:3000", true),
            ("origin", "http://localhost", true),
            ("origin", "http://127.0.0.1:4206", true),
            ("origin", "https://example.com", true),
            ("origin", "null", true),
            ("origin", "", true),
            ("sec-fetch-site", "same-origin", false),
            ("sec-fetch-site", "none", false),
            ("sec-fetch-site", "same-site", true),
            ("sec-fetch-site", "cross-site", true),
            ("sec-fetch-site", "news", true),
        ] {
            let expected = refused.then_some(Kind::OriginRefused);
            assert_eq!(kind(&[host, (name, value)], None), expected, "{name}: {value}");
        }
        let two = [host, ("origin", "http://localhost:4206"), ("origin", "https://example.com")];
        assert_eq!(kind(&two, None), Some(Kind::OriginRefused));
    }

    #[test]
    fn hosts_are_one_and_loopback_without_a_token() {
        assert_eq!(kind(&[], None), Some(Kind::BadRequest));
        assert_eq!(kind(&[("host", "a"), ("host", "a")], None), Some(Kind::BadRequest));
        assert_eq!(kind(&[("host", "example.com")], None), Some(Kind::HostRefused));
        let token = Secret::new("t0ken").expect("printable");
        let host = ("host", "db.example.com");
        assert_eq!(kind(&[host], Some(&token)), Some(Kind::Unauthorized));
        for (value, expected) in [
            ("Bearer t0ken", None),
            ("bearer t0ken", None),
            ("Bearer t0ke", Some(Kind::Unauthorized)),
            ("Bearer t0ken2", Some(Kind::Unauthorized)),
            ("Bearer", Some(Kind::Unauthorized)),
            ("Basic t0ken", Some(Kind::Unauthorized)),
        ] {
            assert_eq!(kind(&[host, ("authorization", value)], Some(&token)), expected, "{value}");
        }
        let foreign = [host, ("authorization", "Bearer t0ken"), ("origin", "https://example.com")];
        assert_eq!(kind(&foreign, Some(&token)), Some(Kind::OriginRefused));
        let twice = [host, ("authorization", "Bearer t0ken"), ("authorization", "Bearer t0ken")];
        assert_eq!(kind(&twice, Some(&token)), Some(Kind::Unauthorized));
    }
}
