//! Log lines on standard error, as text or JSON.
//!
//! - One event is one line and one write: control characters are escaped, so no value can forge a line.
//! - What an event holds is up to who writes it; nothing here adds to it.
//! - The level can change while the server runs.

use crate::settings::LogFormat;
use orchard_env::{Clock as _, SystemClock};
use orchard_wire::rfc3339;
use orcharddb::UnixMillis;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

/// Changes the level of a running log.
pub struct LevelHandle(reload::Handle<LevelFilter, Registry>);

impl LevelHandle {
    /// Writes lines of `level` and worse from now on.
    pub fn set(&self, level: LevelFilter) {
        // The only failure is that the log is gone.
        let _ = self.0.reload(level);
    }
}

/// Starts the process's log.
pub fn start(format: LogFormat, level: LevelFilter) -> LevelHandle {
    let (filter, handle) = reload::Layer::new(level);
    let lines = Lines { format, clock: SystemClock::new() };
    // It fails only if a log was started before.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(filter).with(lines));
    LevelHandle(handle)
}

struct Lines {
    format: LogFormat,
    clock: SystemClock,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let mut line = match self.format {
            LogFormat::Text => text_line(self.clock.now(), metadata.level(), &fields),
            LogFormat::Json => json_line(self.clock.now(), metadata.level(), metadata.target(), &fields),
        };
        line.push('\n');
        // There is nowhere left to tell of a standard error that cannot be written.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

enum Recorded {
    Text(String),
    /// A number or truth, as JSON writes it.
    Plain(String),
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Recorded)>,
}

impl Fields {
    fn push(&mut self, field: &Field, recorded: Recorded) {
        match (field.name(), recorded) {
            ("message", Recorded::Text(text) | Recorded::Plain(text)) => self.message = text,
            (name, recorded) => self.others.push((name, recorded)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, Recorded::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, Recorded::Text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Recorded::Plain(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Recorded::Plain(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Recorded::Plain(value.to_string()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.push(field, Recorded::Text(value.to_string()));
    }
}

fn text_line(now: UnixMillis, level: &Level, fields: &Fields) -> String {
    let mut line = format!("{} [{level}] ", rfc3339::render(now));
    push_escaped(&mut line, &fields.message);
    for (name, recorded) in &fields.others {
        let _ = write!(line, " {name}=");
        match recorded {
            Recorded::Text(text) => push_escaped(&mut line, text),
            Recorded::Plain(text) => line.push_str(text),
        }
    }
    line
}

fn json_line(now: UnixMillis, level: &Level, target: &str, fields: &Fields) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let mut line =
        format!("{{\"time\":\"{}\",\"level\":\"{level}\",\"target\":{}", rfc3339::render(now), text(target));
    let _ = write!(line, ",\"message\":{}", text(&fields.message));
    for (name, recorded) in &fields.others {
        let value = match recorded {
            Recorded::Text(value) => text(value),
            Recorded::Plain(value) => value.clone(),
        };
        let _ = write!(line, ",{}:{value}", text(name));
    }
    line.push('}');
    line
}

/// Appends `text` with its control characters (line ends, escape sequences, C1) escaped.
fn push_escaped(line: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        let others = vec![
            ("peer", Recorded::Text("a\x1b[2J\u{9b}b".to_owned())),
            ("size_bytes", Recorded::Plain("3".to_owned())),
        ];
        Fields { message: "(PUT) KEY: k\n[INFO] forged".to_owned(), others }
    }

    #[test]
    fn no_value_forges_a_line() {
        let line = text_line(UnixMillis(0), &Level::INFO, &fields());
        let expected = "1970-01-01T00:00:00.000Z [INFO] (PUT) KEY: k\\n[INFO] forged peer=a\\u{1b}[2J\\u{9b}b size_bytes=3";
        assert_eq!(line, expected);
    }

    #[test]
    fn json_lines_are_json() {
        let line = json_line(UnixMillis(0), &Level::WARN, "orchard", &fields());
        let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(json["level"], "WARN");
        assert_eq!(json["message"], "(PUT) KEY: k\n[INFO] forged");
        assert_eq!(json["size_bytes"], 3);
        assert!(!line.contains('\n'));
    }
}
