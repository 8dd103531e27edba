//! Numbers about a database, for people.

use crate::units;
use serde_json::{Map, Value as Json};

/// One line a number: `entries   1234`. Sizes are shown in units.
pub fn table(stats: &Json) -> String {
    let empty = Map::new();
    let fields = stats.as_object().unwrap_or(&empty);
    let width = fields.keys().map(|name| label(name).len()).max().unwrap_or_default();
    let mut table = String::new();
    for (name, value) in fields {
        let shown = match value {
            Json::Number(number) if name.ends_with("_bytes") => {
                number.as_u64().map_or_else(|| number.to_string(), units::format_size)
            }
            Json::String(text) => text.clone(),
            Json::Null => "-".to_owned(),
            other => other.to_string(),
        };
        table.push_str(&format!("{:width$}  {shown}\n", label(name)));
    }
    table
}

fn label(name: &str) -> String {
    name.trim_end_matches("_bytes").replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_in_a_column() {
        let stats = serde_json::json!({ "entries": 12, "log_bytes": 2048, "poisoned": null });
        assert_eq!(table(&stats), "entries   12\nlog       2.0 KiB\npoisoned  -\n");
    }
}
