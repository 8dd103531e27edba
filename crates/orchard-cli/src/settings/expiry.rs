//! The setting `expiry`: rules as `prefix=duration` with a `;` or a line end between them, or in the file a table.

use super::{Assigned, Result};
use orchard_wire::duration;
use orcharddb::{DefaultExpiry, default_expiry};
use toml::de::{DeTable, DeValue};

/// The rules that a text writes.
///
/// # Errors
/// The rule that is none, and where it is set.
pub(super) fn read(assigned: Option<&Assigned>) -> Result<DefaultExpiry> {
    let Some(assigned) = assigned else { return Ok(DefaultExpiry::default()) };
    let mut rules = Vec::new();
    for rule in assigned.text.split([';', '\n']).map(str::trim).filter(|rule| !rule.is_empty()) {
        let wrong = |detail: String| assigned.origin.error(format!("expiry: {rule}: {detail}"));
        let (prefix, ttl) =
            rule.rsplit_once('=').ok_or_else(|| wrong("not a rule, as sessions/=30m".to_owned()))?;
        let ttl = duration::parse(ttl.trim()).map_err(|error| wrong(error.to_string()))?;
        rules.push((prefix.trim().to_owned(), ttl));
    }
    default_expiry(&rules).map_err(|error| assigned.origin.error(format!("expiry: {error}")))
}

/// The text that says the same as a table.
///
/// # Errors
/// Where in the file the rule is that is none.
pub(super) fn text_of(table: &DeTable<'_>) -> Result<String, (usize, String)> {
    let mut text = String::new();
    for (prefix, value) in table {
        let offset = prefix.span().start;
        let DeValue::String(ttl) = value.get_ref() else {
            return Err((
                offset,
                format!("expiry: {} takes a duration in quotes, as \"30m\"", prefix.get_ref()),
            ));
        };
        if prefix.get_ref().contains([';', '\n']) {
            return Err((offset, "expiry: write such a prefix as a JSON key with \\u escapes".to_owned()));
        }
        text.push_str(&format!("{}={ttl}; ", prefix.get_ref()));
    }
    Ok(text.trim_end_matches("; ").to_owned())
}
