//! The command line.

use crate::settings::ServerFlags;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// An ordered, transactional key-value database.
#[derive(Parser, Debug)]
#[command(name = "orchard", version, about, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Keys are names (users) or JSON arrays ([\"users\", 42]).

Exit codes: 0 fine, 1 failure or key not found, 2 usage, 3 configuration, 4 data directory locked,
            5 corruption found, 6 newer format";

/// What `orchard` can do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Serve a data directory
    Serve(ServerFlags),
    /// Show or check the server's settings
    Config {
        /// What to do with them.
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Print the value of a key
    Get(Client<GetArgs>),
    /// Write a value
    Put(Client<PutArgs>),
    /// Remove a key
    Delete(Client<DeleteArgs>),
    /// List entries in key order
    Scan(Client<ScanArgs>),
    /// Add to a number
    Incr(Client<IncrArgs>),
    /// Change when a key expires
    Touch(Client<TouchArgs>),
    /// Show numbers about a database
    Stats(Client<StatsArgs>),
    /// Run operations, one a line of JSON, and print a result a line
    Batch(BatchArgs),
    /// Print commits as they happen, one a line of JSON
    Watch(WatchArgs),
    /// Put messages into queues, and take them out
    Queue {
        /// What to do.
        #[command(subcommand)]
        action: QueueAction,
    },
    /// List, create, drop and swap databases
    Databases {
        /// What to do.
        #[command(subcommand)]
        action: DatabasesAction,
    },
    /// Work on a database line by line
    Repl(TargetFlags),
    /// Write the entries of an NDJSON file
    Import(ImportArgs),
    /// Write entries to an NDJSON file
    Export(ExportArgs),
    /// Read every file of a data directory and verify it
    Check(CheckArgs),
    /// Save what can be read of a damaged data directory into a new one
    Repair(RepairArgs),
}

/// A command on one database.
#[derive(Args, Debug)]
pub struct Client<A: Args> {
    /// Which database.
    #[command(flatten)]
    pub target: TargetFlags,
    /// What to do with it.
    #[command(flatten)]
    pub args: A,
}

/// The commands that the repl knows too.
#[derive(Subcommand, Debug)]
pub enum ClientCommand {
    /// Print the value of a key
    Get(GetArgs),
    /// Write a value
    Put(PutArgs),
    /// Remove a key
    Delete(DeleteArgs),
    /// List entries in key order
    Scan(ScanArgs),
    /// Add to a number
    Incr(IncrArgs),
    /// Change when a key expires
    Touch(TouchArgs),
    /// Show numbers about a database
    Stats(StatsArgs),
}

/// One line of the repl.
#[derive(Parser, Debug)]
#[command(
    multicall = true,
    disable_help_flag = true,
    help_template = "{subcommands}\n\nKeys are names (users) or JSON arrays ([\"users\", 42]); \
                     `help COMMAND` tells more.",
    override_usage = "COMMAND"
)]
pub struct Line {
    /// What to do.
    #[command(subcommand)]
    pub command: LineCommand,
}

/// What the repl can do.
#[derive(Subcommand, Debug)]
pub enum LineCommand {
    /// A client command.
    #[command(flatten)]
    Client(ClientCommand),
    /// Leave
    #[command(alias = "quit")]
    Exit,
}

/// Which database to work on.
#[derive(Args, Clone, Debug, Default)]
pub struct TargetFlags {
    /// The server [default: $ORCHARD_URL, else http://127.0.0.1:4206]
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub url: Option<String>,
    /// Open this data directory instead of asking a server
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The database, by its name; the first write creates it [default: 0]
    #[arg(long, value_name = "NAME")]
    pub db: Option<String>,
    /// The file that holds the access token [default: $ORCHARD_ACCESS_TOKEN_FILE or the token in $ORCHARD_ACCESS_TOKEN]
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub access_token_file: Option<String>,
}

/// `orchard config ..`
#[derive(Subcommand, Debug)]
pub enum ConfigAction {
    /// Show the settings in effect and where each comes from
    Show(ServerFlags),
    /// Print an orchard.toml with every default
    Default,
    /// Check file, environment and flags without serving
    Check(ServerFlags),
}

/// `orchard get`
#[derive(Args, Debug)]
pub struct GetArgs {
    /// The key
    pub key: String,
    /// Print the whole entry as JSON
    #[arg(long)]
    pub json: bool,
}

impl ClientCommand {
    /// Whether it makes sense on a data directory that does not exist yet.
    pub fn creates(&self) -> bool {
        matches!(self, ClientCommand::Put(_) | ClientCommand::Incr(_))
    }
}

/// How a value on the command line is meant.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TypeArg {
    #[default]
    Text,
    Int,
    Float,
    Bool,
    Json,
    Bytes,
    Null,
    U64,
}

/// `orchard put`
#[derive(Args, Debug)]
pub struct PutArgs {
    /// The key
    pub key: String,
    /// The value; `-` reads it from standard input; `--type null` needs none
    #[arg(allow_negative_numbers = true)]
    pub value: Option<String>,
    /// What the value is
    #[arg(long = "type", value_name = "TYPE", default_value = "text")]
    pub value_type: TypeArg,
    /// Let the entry expire after so long, as 30s, 10m or 7d; `keep`: when it would have anyway
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<String>,
    /// Let the entry expire at this time, as 2030-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "ttl")]
    pub expires_at: Option<String>,
}

/// `orchard touch`
#[derive(Args, Debug)]
pub struct TouchArgs {
    /// The key
    pub key: String,
    /// After so long, as 30s, 10m or 7d
    #[arg(long, value_name = "DURATION", required_unless_present_any = ["expires_at", "never"])]
    pub ttl: Option<String>,
    /// At this time, as 2030-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "ttl")]
    pub expires_at: Option<String>,
    /// Not at all
    #[arg(long, conflicts_with_all = ["ttl", "expires_at"])]
    pub never: bool,
}

/// `orchard delete`
#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// The key
    pub key: String,
}

/// A number type.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NumberArg {
    #[default]
    Int,
    Float,
    U64,
}

/// `orchard incr`
#[derive(Args, Debug)]
pub struct IncrArgs {
    /// The key
    pub key: String,
    /// How much to add
    #[arg(default_value = "1", allow_negative_numbers = true)]
    pub by: String,
    /// The type of the number
    #[arg(long = "type", value_name = "TYPE", default_value = "int")]
    pub number_type: NumberArg,
    /// Let the entry expire after so long; without it the expiry stays as it is
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<String>,
}

/// A range of keys.
#[derive(Args, Debug, Default)]
pub struct RangeArgs {
    /// Only keys that begin with these parts and have more
    #[arg(long, value_name = "KEY")]
    pub prefix: Option<String>,
    /// From this key on
    #[arg(long, value_name = "KEY")]
    pub start: Option<String>,
    /// Up to but not including this key
    #[arg(long, value_name = "KEY")]
    pub end: Option<String>,
    /// At most so many entries
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
    /// From the last key down
    #[arg(long)]
    pub reverse: bool,
    /// Leave the values out
    #[arg(long)]
    pub keys_only: bool,
    /// Only entries last changed behind this version, time or age (10m)
    #[arg(long, value_name = "MOMENT")]
    pub since: Option<String>,
    /// Only entries last changed at or before this version, time or age
    #[arg(long, value_name = "MOMENT")]
    pub until: Option<String>,
}

/// `orchard scan`
#[derive(Args, Debug)]
pub struct ScanArgs {
    /// Which entries.
    #[command(flatten)]
    pub range: RangeArgs,
    /// Print whole entries as JSON, one a line
    #[arg(long)]
    pub json: bool,
    /// Print their number only
    #[arg(long, conflicts_with_all = ["limit", "reverse", "keys_only", "since", "until", "json"])]
    pub count: bool,
}

/// `orchard stats`
#[derive(Args, Debug)]
pub struct StatsArgs {
    /// Count entries by the beginning of their keys; reads every key
    #[arg(long)]
    pub by_prefix: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `orchard batch`
#[derive(Args, Debug)]
pub struct BatchArgs {
    /// Which database.
    #[command(flatten)]
    pub target: TargetFlags,
    /// The file, with lines as {"op": "get"|"put"|"delete", "key": .., "value": .., "ttl": ..}; `-` reads standard input
    #[arg(default_value = "-")]
    pub file: PathBuf,
}

/// `orchard watch`
#[derive(Args, Debug)]
pub struct WatchArgs {
    /// Which database.
    #[command(flatten)]
    pub target: TargetFlags,
    /// Only commits that concern these keys
    pub keys: Vec<String>,
    /// Only commits that concern keys that begin with these parts and have more; may be given again
    #[arg(long, value_name = "KEY")]
    pub prefix: Vec<String>,
    /// Where to begin: now, oldest, behind a version, or with a time or age (10m)
    #[arg(long, value_name = "MOMENT", default_value = "now")]
    pub from: String,
    /// Stop after so many
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
    /// Leave the values out
    #[arg(long)]
    pub keys_only: bool,
}

/// `orchard databases ..`
#[derive(Subcommand, Debug)]
pub enum DatabasesAction {
    /// List the databases
    List(Client<NoArgs>),
    /// Create a database; fine if there is one of this name
    Create(Client<DatabaseArgs>),
    /// Remove a database with everything in it
    Drop(Client<DropArgs>),
    /// Let two names mean each other's database
    Swap(Client<SwapArgs>),
}

/// Nothing further.
#[derive(Args, Debug)]
pub struct NoArgs {}

/// A database.
#[derive(Args, Debug)]
pub struct DatabaseArgs {
    /// Its name
    pub name: String,
}

/// `orchard databases drop`
#[derive(Args, Debug)]
pub struct DropArgs {
    /// Its name
    pub name: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// `orchard databases swap`
#[derive(Args, Debug)]
pub struct SwapArgs {
    /// One name
    pub one: String,
    /// The other
    pub other: String,
}

/// `orchard queue ..`
#[derive(Subcommand, Debug)]
pub enum QueueAction {
    /// Put a message into a queue
    Enqueue(Client<EnqueueArgs>),
    /// Take messages for a while, one a line
    Lease(Client<LeaseArgs>),
    /// End messages for good
    Ack(Client<IdsArgs>),
    /// Give messages back
    Nack(Client<NackArgs>),
    /// Show the messages that come next
    Peek(Client<PeekArgs>),
    /// Show how many messages are where
    Stats(Client<QueueArgs>),
    /// Show dead letters
    Dead(Client<DeadArgs>),
    /// Put dead letters back
    Requeue(Client<IdsArgs>),
    /// Remove dead letters
    Purge(Client<IdsArgs>),
    /// Remove everything from a queue
    Clear(Client<QueueArgs>),
    /// List queues that hold something
    List(Client<QueuesArgs>),
}

/// A queue.
#[derive(Args, Debug)]
pub struct QueueArgs {
    /// The queue
    pub queue: String,
}

/// `orchard queue enqueue`
#[derive(Args, Debug)]
pub struct EnqueueArgs {
    /// The queue
    pub queue: String,
    /// The payload; `-` reads it from standard input
    #[arg(allow_negative_numbers = true)]
    pub value: String,
    /// What the payload is
    #[arg(long = "type", value_name = "TYPE", default_value = "text")]
    pub value_type: TypeArg,
    /// Ready after so long, as 30s
    #[arg(long, value_name = "DURATION")]
    pub delay: Option<String>,
    /// Waits between attempts, as 1s,5s,1m; empty: one attempt
    #[arg(long, value_name = "DURATIONS")]
    pub backoff: Option<String>,
    /// Write the payload here when all attempts are used up; may be given again
    #[arg(long, value_name = "KEY")]
    pub key_if_undelivered: Vec<String>,
}

/// `orchard queue lease`
#[derive(Args, Debug)]
pub struct LeaseArgs {
    /// The queue
    pub queue: String,
    /// Most messages
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub max: usize,
    /// For how long
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub visibility: String,
    /// How long to wait for a message
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub wait: String,
}

/// Messages of a queue.
#[derive(Args, Debug)]
pub struct IdsArgs {
    /// The queue
    pub queue: String,
    /// Their ids
    #[arg(required = true)]
    pub ids: Vec<String>,
}

/// `orchard queue nack`
#[derive(Args, Debug)]
pub struct NackArgs {
    /// The queue
    pub queue: String,
    /// Their ids
    #[arg(required = true)]
    pub ids: Vec<String>,
    /// Ready again after so long, instead of what their backoff says
    #[arg(long, value_name = "DURATION")]
    pub delay: Option<String>,
}

/// `orchard queue peek`
#[derive(Args, Debug)]
pub struct PeekArgs {
    /// The queue
    pub queue: String,
    /// Most messages
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub limit: usize,
}

/// `orchard queue dead`
#[derive(Args, Debug)]
pub struct DeadArgs {
    /// The queue
    pub queue: String,
    /// Behind this id
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
    /// Most letters
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub limit: usize,
}

/// `orchard queue list`
#[derive(Args, Debug)]
pub struct QueuesArgs {
    /// Behind this name
    #[arg(long, value_name = "NAME")]
    pub after: Option<String>,
    /// Most queues
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub limit: usize,
}

/// What `orchard import` reads.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImportFormat {
    /// One JSON entry a line, as `orchard export` writes them
    Ndjson,
    /// The SQLite file of Deno's local KV or of the server `denokv`, with its queue
    Denokv,
}

/// `orchard import`
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// Which database.
    #[command(flatten)]
    pub target: TargetFlags,
    /// The file; `-` reads standard input
    pub file: PathBuf,
    /// What the file is
    #[arg(long, value_enum, default_value = "ndjson", conflicts_with_all = ["resume", "skip_lines"])]
    pub from: ImportFormat,
    /// Keep FILE.progress while importing, and go on from it after an interruption
    #[arg(long, conflicts_with = "skip_lines")]
    pub resume: bool,
    /// Go on behind so many lines
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub skip_lines: u64,
}

/// `orchard export`
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Which database.
    #[command(flatten)]
    pub target: TargetFlags,
    /// The file; `-` writes standard output
    pub file: PathBuf,
    /// Which entries.
    #[command(flatten)]
    pub range: RangeArgs,
    /// Leave the versionstamps out, so that equal entries give equal files
    #[arg(long)]
    pub no_versionstamps: bool,
}

/// `orchard check`
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The data directory [default: $ORCHARD_DATA, else ./orchard-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// `orchard repair`
#[derive(Args, Debug)]
pub struct RepairArgs {
    /// The damaged data directory; it is only read
    pub directory: PathBuf,
    /// The new data directory; it must not exist, or be empty
    #[arg(long, value_name = "NEWDIR")]
    pub into: PathBuf,
}
