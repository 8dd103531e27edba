//! The server's settings: one table of names, four places to set them.
//!
//! - A setting comes from the first of: flag, environment, `orchard.toml`, default. One table, [`SETTINGS`], gives all
//!   of them their names, so the flag `--memory-limit`, `ORCHARD_MEMORY_LIMIT` and `memory_limit` cannot drift apart.
//! - Nothing is guessed: an unknown key, a wrong type and an unreadable value are errors that name the place.
//! - A secret is never shown; it comes from the environment or from a file that a setting names, never from a flag.

mod expiry;

use crate::error::{CliError, Exit, Result};
use crate::{files, units};
use clap::Args;
use orchard_server::Secret;
use orcharddb::{DefaultExpiry, Durability};
use std::collections::BTreeMap;
use std::env::VarError;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};
use tracing_subscriber::filter::LevelFilter;

/// A limit below this leaves no room for anything.
const MEMORY_LIMIT_BYTES_MIN: u64 = 1 << 20;

/// One setting.
struct Setting {
    /// Its key in `orchard.toml`; flag and variable follow from it.
    name: &'static str,
    /// `None`: unset, or decided when the server starts.
    default: Option<&'static str>,
    /// Whether a flag sets it.
    flag: bool,
    /// One line for `orchard config default`.
    help: &'static str,
}

/// Every setting, in the order in which they are shown.
const SETTINGS: [Setting; 14] = [
    Setting { name: "data", default: Some("./orchard-data"), flag: true, help: "The data directory" },
    Setting {
        name: "memory",
        default: Some("false"),
        flag: true,
        help: "Keep everything in memory, without a directory",
    },
    Setting {
        name: "listen",
        default: Some("127.0.0.1:4206"),
        flag: true,
        help: "Address and port; port 0 takes a free one",
    },
    Setting {
        name: "durability",
        default: Some("fsync"),
        flag: true,
        help: "What an acknowledged write survives: fsync (power failure), os (end of the process), none",
    },
    Setting {
        name: "memory_limit",
        default: None,
        flag: true,
        help: "Memory for index, values and caches together, as 512MiB; unset: half of the machine",
    },
    Setting {
        name: "history_retention",
        default: Some("0s"),
        flag: false,
        help: "How long replaced and deleted versions are kept in memory, for reads in the past",
    },
    Setting {
        name: "log_retention",
        default: Some("1h"),
        flag: false,
        help: "How long log files stay for feeds after a checkpoint",
    },
    Setting {
        name: "log_retention_size",
        default: Some("64MiB"),
        flag: false,
        help: "How many bytes of them stay at most",
    },
    Setting {
        name: "expiry",
        default: None,
        flag: false,
        help: "What writes get that name no expiry, by prefix, as sessions/=30m; [\"users\", 1]=7d",
    },
    Setting {
        name: "access_token",
        default: None,
        flag: false,
        help: "What every client must show; better in a file of its own",
    },
    Setting {
        name: "access_token_file",
        default: None,
        flag: true,
        help: "The file that holds the access token",
    },
    Setting { name: "log_format", default: Some("text"), flag: true, help: "text or json" },
    Setting {
        name: "log_level",
        default: Some("info"),
        flag: true,
        help: "off, error, warn, info, debug or trace",
    },
    Setting {
        name: "log_values",
        default: Some("false"),
        flag: true,
        help: "Write values of the plain routes to the log instead of their sizes",
    },
];

/// Settings of which at most one can hold; the one from the nearer place wins.
const EXCLUSIVE: [(&str, &str); 2] = [("data", "memory"), ("access_token", "access_token_file")];

/// The configuration file that is read when none is named.
const FILE_DEFAULT: &str = "orchard.toml";
/// The variable that names the configuration file.
const FILE_VARIABLE: &str = "ORCHARD_CONFIG";

/// The settings as flags.
#[derive(Args, Clone, Debug, Default)]
pub struct ServerFlags {
    /// The data directory [default: ./orchard-data]
    #[arg(long, value_name = "DIR", conflicts_with = "memory")]
    pub data: Option<String>,
    /// Keep everything in memory, without a directory
    #[arg(long)]
    pub memory: bool,
    /// Address and port; port 0 takes a free one [default: 127.0.0.1:4206]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// The configuration file [default: orchard.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What an acknowledged write survives: fsync, os or none [default: fsync]
    #[arg(long, value_name = "LEVEL")]
    pub durability: Option<String>,
    /// Memory for index, values and caches together, as 512MiB [default: half of the machine]
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<String>,
    /// The file that holds the access token every client must show
    #[arg(long, value_name = "FILE")]
    pub access_token_file: Option<String>,
    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// off, error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Write values of the plain routes to the log instead of their sizes
    #[arg(long)]
    pub log_values: bool,
}

impl ServerFlags {
    fn get(&self, name: &str) -> Option<String> {
        let switch = |on: bool| on.then(|| "true".to_owned());
        match name {
            "data" => self.data.clone(),
            "memory" => switch(self.memory),
            "listen" => self.listen.clone(),
            "durability" => self.durability.clone(),
            "memory_limit" => self.memory_limit.clone(),
            "access_token_file" => self.access_token_file.clone(),
            "log_format" => self.log_format.clone(),
            "log_level" => self.log_level.clone(),
            "log_values" => switch(self.log_values),
            _ => None,
        }
    }
}

/// The place that a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Environment(String),
    Flag(String),
}

impl Origin {
    fn rank(&self) -> u8 {
        match self {
            Origin::Default => 0,
            Origin::File { .. } => 1,
            Origin::Environment(_) => 2,
            Origin::Flag(_) => 3,
        }
    }

    fn error(&self, detail: impl fmt::Display) -> CliError {
        let exit = if matches!(self, Origin::Flag(_)) { Exit::Usage } else { Exit::Config };
        CliError::new(exit, format!("{self}: {detail}"))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Environment(variable) => f.write_str(variable),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}

#[derive(Clone, Debug)]
struct Assigned {
    text: String,
    origin: Origin,
}

/// Log lines for people or for machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// One line of text.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the server is told, resolved and checked.
#[derive(Debug)]
pub struct Settings {
    /// The data directory; `None`: in memory.
    pub data: Option<PathBuf>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// What an acknowledged commit survives.
    pub durability: Durability,
    /// Bytes of memory; `None`: the engine's default.
    pub memory_limit_bytes: Option<u64>,
    /// How long old versions are kept, in milliseconds.
    pub history_retention_ms: u64,
    /// How long log files stay for feeds, in milliseconds.
    pub log_retention_ms: u64,
    /// How many bytes of them stay at most.
    pub log_retention_bytes: u64,
    /// What writes get that name no expiry.
    pub default_expiry: DefaultExpiry,
    /// What clients must show.
    pub access_token: Option<Secret>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written.
    pub log_level: LevelFilter,
    /// Whether values may be logged.
    pub log_values: bool,
    values: BTreeMap<&'static str, Assigned>,
}

/// The name of an environment variable's setting.
fn variable_of(name: &str) -> String {
    format!("ORCHARD_{}", name.to_ascii_uppercase())
}

/// Reads the environment. Tests pass their own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Result<Option<String>>;

/// The process's environment; an empty variable counts as unset.
///
/// # Errors
/// Exit code 3: what is set cannot be read, which is not the same as unset.
pub fn process_environment(variable: &str) -> Result<Option<String>> {
    match std::env::var(variable) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            Err(CliError::config(format!("{variable}: its value is not UTF-8 text")))
        }
    }
}

impl Settings {
    /// Takes every setting from where it is set.
    ///
    /// # Errors
    /// What is wrong and where: exit code 2 for a flag, 3 for anything else.
    pub fn resolve(flags: &ServerFlags, environment: Environment<'_>) -> Result<Settings> {
        let mut values = BTreeMap::new();
        let mut set = |name: &'static str, text: String, origin: Origin| {
            values.insert(name, Assigned { text, origin });
        };
        for setting in &SETTINGS {
            if let Some(default) = setting.default {
                set(setting.name, default.to_owned(), Origin::Default);
            }
        }
        if let Some((path, text)) = read_file(flags, environment)? {
            for (name, assigned) in parse_file(&path, &text)? {
                set(name, assigned.text, assigned.origin);
            }
        }
        for setting in &SETTINGS {
            let variable = variable_of(setting.name);
            if let Some(text) = environment(&variable)? {
                set(setting.name, text, Origin::Environment(variable));
            }
            if let Some(text) = flags.get(setting.name) {
                let flag = format!("--{}", setting.name.replace('_', "-"));
                set(setting.name, text, Origin::Flag(flag));
            }
        }
        Settings::from_values(values)
    }

    fn from_values(mut values: BTreeMap<&'static str, Assigned>) -> Result<Settings> {
        let memory = read(&values, "memory", "true or false", |text| text.parse::<bool>().ok())?;
        if memory != Some(true) {
            values.remove("memory");
        }
        for (one, other) in EXCLUSIVE {
            let (Some(first), Some(second)) = (values.get(one), values.get(other)) else { continue };
            if first.origin.rank() == second.origin.rank() {
                return Err(second
                    .origin
                    .error(format!("`{one}` is set too ({}): one of both", first.origin)));
            }
            let loser = if first.origin.rank() < second.origin.rank() { one } else { other };
            values.remove(loser);
        }
        let durability = read(&values, "durability", "fsync, os or none", |text| match text {
            "fsync" => Some(Durability::Fsync),
            "os" => Some(Durability::Os),
            "none" => Some(Durability::None),
            _ => None,
        })?;
        let listen = "an address with a port, as 127.0.0.1:4206 or [::1]:4206";
        let listen = read(&values, "listen", listen, |text| text.parse::<SocketAddr>().ok())?;
        let memory_limit_bytes =
            read(&values, "memory_limit", "a size of at least 1MiB, as 512MiB", |text| {
                units::parse_size_bytes(text).filter(|bytes| *bytes >= MEMORY_LIMIT_BYTES_MIN)
            })?;
        let history_retention = read(&values, "history_retention", "a duration, as 10m", |text| {
            orchard_wire::duration::parse(text).ok()
        })?;
        let log_retention = read(&values, "log_retention", "a duration, as 10m", |text| {
            orchard_wire::duration::parse(text).ok()
        })?;
        let log_retention_size =
            read(&values, "log_retention_size", "a size, as 512MiB", units::parse_size_bytes)?;
        let log_format = read(&values, "log_format", "text or json", |text| match text {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        })?;
        let levels = "off, error, warn, info, debug or trace";
        let log_level = read(&values, "log_level", levels, |text| match text {
            "off" | "error" | "warn" | "info" | "debug" | "trace" => text.parse::<LevelFilter>().ok(),
            _ => None,
        })?;
        let log_values = read(&values, "log_values", "true or false", |text| text.parse::<bool>().ok())?;
        let unset = || CliError::config("a setting has no value");
        Ok(Settings {
            data: values.get("data").map(|data| PathBuf::from(&data.text)),
            listen: listen.ok_or_else(unset)?,
            durability: durability.ok_or_else(unset)?,
            memory_limit_bytes,
            history_retention_ms: history_retention.map_or(0, |duration| duration.0),
            log_retention_ms: log_retention.ok_or_else(unset)?.0,
            log_retention_bytes: log_retention_size.ok_or_else(unset)?,
            default_expiry: expiry::read(values.get("expiry"))?,
            access_token: read_token(&values)?,
            log_format: log_format.ok_or_else(unset)?,
            log_level: log_level.ok_or_else(unset)?,
            log_values: log_values.unwrap_or_default(),
            values,
        })
    }

    /// The settings in effect as an `orchard.toml`, each with the place it came from.
    pub fn show(&self) -> String {
        let mut shown = String::new();
        for setting in &SETTINGS {
            let line = match self.values.get(setting.name) {
                Some(assigned) if setting.name == "access_token" => {
                    format!("# {} is set  # {}", setting.name, assigned.origin)
                }
                Some(assigned) => {
                    format!(
                        "{} = {}  # {}",
                        setting.name,
                        toml_value(setting, &assigned.text),
                        assigned.origin
                    )
                }
                None => format!("# {} is unset", setting.name),
            };
            shown.push_str(&line);
            shown.push('\n');
        }
        shown
    }
}

/// The defaults as an `orchard.toml`.
pub fn default_file() -> String {
    let mut file = String::from("# OrchardDB. Every line is the default; remove what you leave alone.\n");
    for setting in &SETTINGS {
        let variable = variable_of(setting.name);
        let flag =
            if setting.flag { format!("--{}, ", setting.name.replace('_', "-")) } else { String::new() };
        let value = match (setting.default, setting.name) {
            // Only one of `data` and `memory` can be set.
            (Some(default), name) if name != "memory" => format!("{name} = {}", toml_value(setting, default)),
            (Some(default), name) => format!("# {name} = {default}"),
            (None, name) => format!("# {name} ="),
        };
        let _ = write!(file, "\n# {} ({flag}{variable}).\n{value}\n", setting.help);
    }
    file
}

fn toml_value(setting: &Setting, text: &str) -> String {
    if matches!(setting.default, Some("true" | "false")) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn read<T>(
    values: &BTreeMap<&'static str, Assigned>,
    name: &str,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>> {
    let Some(assigned) = values.get(name) else { return Ok(None) };
    let wrong = || assigned.origin.error(format!("{name} is {:?}, not {expected}", assigned.text));
    parse(&assigned.text).map(Some).ok_or_else(wrong)
}

fn read_token(values: &BTreeMap<&'static str, Assigned>) -> Result<Option<Secret>> {
    if let Some(assigned) = values.get("access_token") {
        return Secret::new(&assigned.text).map(Some).map_err(|error| assigned.origin.error(error));
    }
    let Some(assigned) = values.get("access_token_file") else { return Ok(None) };
    let text = read_secret_file(&assigned.text, &assigned.origin)?;
    let wrong = |error| assigned.origin.error(format!("{}: {error}", assigned.text));
    Secret::new(text).map(Some).map_err(wrong)
}

/// The first line of a secret's file.
fn read_secret_file(path: &str, origin: &Origin) -> Result<String> {
    match files::read_text(Path::new(path)) {
        Ok(Some(text)) => Ok(text.trim_end_matches(['\n', '\r']).to_owned()),
        Ok(None) => Err(CliError::config(format!("{origin}: {path}: there is no such file"))),
        Err(error) => Err(CliError::config(format!("{origin}: {path}: {error}"))),
    }
}

/// The token that a client shows: `ORCHARD_ACCESS_TOKEN`, or the file that the flag or `ORCHARD_ACCESS_TOKEN_FILE` names.
///
/// # Errors
/// Exit code 3 if the file cannot be read, or both variables are set.
pub fn client_token(flag: Option<&str>, environment: Environment<'_>) -> Result<Option<String>> {
    if let Some(path) = flag {
        return read_secret_file(path, &Origin::Flag("--access-token-file".to_owned())).map(Some);
    }
    let (token, file) = (variable_of("access_token"), variable_of("access_token_file"));
    match (environment(&token)?, environment(&file)?) {
        (Some(_), Some(_)) => Err(CliError::config(format!("{file}: `{token}` is set too: one of both"))),
        (Some(token), None) => Ok(Some(token)),
        (None, Some(path)) => read_secret_file(&path, &Origin::Environment(file)).map(Some),
        (None, None) => Ok(None),
    }
}

fn read_file(flags: &ServerFlags, environment: Environment<'_>) -> Result<Option<(PathBuf, String)>> {
    let named = match &flags.config {
        Some(path) => Some(path.clone()),
        None => environment(FILE_VARIABLE)?.map(PathBuf::from),
    };
    let path = named.clone().unwrap_or_else(|| PathBuf::from(FILE_DEFAULT));
    match files::read_text(&path) {
        Ok(Some(text)) => Ok(Some((path, text))),
        Ok(None) if named.is_none() => Ok(None),
        Ok(None) => Err(CliError::config(format!("{}: there is no such file", path.display()))),
        Err(error) => Err(CliError::config(format!("{}: {error}", path.display()))),
    }
}

fn parse_file(path: &Path, text: &str) -> Result<Vec<(&'static str, Assigned)>> {
    let origin = |offset: usize| {
        let line = text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        Origin::File { path: path.to_owned(), line }
    };
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        origin(offset).error(error.message())
    })?;
    let mut values = Vec::new();
    for (key, value) in table.into_inner() {
        let name = key.get_ref().as_ref();
        let key_origin = origin(key.span().start);
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            return Err(key_origin.error(unknown_key(name)));
        };
        let is_switch = matches!(setting.default, Some("true" | "false"));
        let value = match value.get_ref() {
            DeValue::Table(rules) if setting.name == "expiry" => {
                expiry::text_of(rules).map_err(|(offset, detail)| origin(offset).error(detail))?
            }
            DeValue::String(text) if !is_switch => text.to_string(),
            DeValue::Boolean(truth) if is_switch => truth.to_string(),
            DeValue::Integer(number) if setting.name == "memory_limit" && number.radix() == 10 => {
                number.as_str().to_owned()
            }
            _ if setting.name == "expiry" => {
                return Err(key_origin.error("expiry takes a table of prefixes and durations, or a text"));
            }
            _ if is_switch => return Err(key_origin.error(format!("{name} takes true or false"))),
            _ => return Err(key_origin.error(format!("{name} takes a text in quotes"))),
        };
        values.push((setting.name, Assigned { text: value, origin: key_origin }));
    }
    Ok(values)
}

fn unknown_key(name: &str) -> String {
    let nearest = SETTINGS
        .iter()
        .map(|setting| (edit_distance(name, setting.name), setting.name))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    match nearest {
        Some((_, near)) => format!("unknown key `{name}`, did you mean `{near}`?"),
        None => {
            let names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
            format!("unknown key `{name}`; there are {}", names.join(", "))
        }
    }
}

/// How many letters must be added, removed or replaced (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, letter_a) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (letter_b, pair) in b.chars().zip(row.windows(2)) {
            let (&[replaced, removed], Some(&added)) = (pair, next.last()) else { continue };
            next.push((replaced + usize::from(letter_a != letter_b)).min(removed + 1).min(added + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
