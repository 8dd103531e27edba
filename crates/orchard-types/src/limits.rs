//! Every limit of the database, with its unit in its name. Enforced on all paths, shown at `/limits`.

/// Longest key in bytes, encoded tuple parts included.
pub const KEY_SIZE_BYTES_MAX: usize = 2_048;
/// Longest key that a read or a check may name: one byte more, so that a range can end just behind the longest key.
pub const READ_KEY_SIZE_BYTES_MAX: usize = KEY_SIZE_BYTES_MAX + 1;
/// Longest value in bytes.
pub const VALUE_SIZE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most operations (checks and mutations together) in one commit.
pub const COMMIT_OPERATIONS_MAX: usize = 10_000;
/// Most key and value bytes in one commit.
pub const COMMIT_SIZE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Longest client-chosen retry token in bytes.
pub const TOKEN_SIZE_BYTES_MAX: usize = 64;
/// Furthest a retry token's deadline may lie ahead, in milliseconds: 24 hours.
pub const TOKEN_DEADLINE_AHEAD_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Most commits in one group: a place is 16 bits wide.
pub const GROUP_COMMITS_MAX: usize = 65_535;
/// A group seals at this many payload bytes; one larger commit is a group alone.
pub const GROUP_SIZE_BYTES_MAX: usize = 1024 * 1024;
/// Most entries one range read returns at once; longer ranges go on with a cursor.
pub const RANGE_LIMIT_MAX: usize = 10_000;
/// Entries that a range read returns when it does not say how many.
pub const RANGE_LIMIT_DEFAULT: usize = 1_000;
/// Most operations in one batch that is one body; a batch of lines has no such limit.
pub const BATCH_OPERATIONS_MAX: usize = 10_000;
/// Most ranges in one read.
pub const READ_RANGES_MAX: usize = 1_000;
/// Longest name of a database in bytes.
pub const DATABASE_NAME_SIZE_BYTES_MAX: usize = 256;
/// Most databases at a time.
pub const DATABASES_MAX: usize = 65_536;
/// Most rules of the default expiry: each write looks at them.
pub const DEFAULT_EXPIRY_RULES_MAX: usize = 256;
/// Longest name of a queue in bytes.
pub const QUEUE_NAME_SIZE_BYTES_MAX: usize = 256;
/// Longest payload of a message in bytes.
pub const QUEUE_PAYLOAD_SIZE_BYTES_MAX: usize = 1024 * 1024;
/// Longest delay of a message, in milliseconds: 30 days.
pub const QUEUE_DELAY_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1_000;
/// Most steps of a backoff schedule.
pub const QUEUE_BACKOFF_STEPS_MAX: usize = 64;
/// Most keys that an undelivered message is written to.
pub const QUEUE_UNDELIVERED_KEYS_MAX: usize = 16;
/// Most messages of one lease, and of one ack, nack, peek or list of dead letters.
pub const QUEUE_MESSAGES_MAX: usize = 1_000;
/// Most payload bytes of one lease; one larger message is a lease alone.
pub const QUEUE_LEASE_SIZE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest visibility timeout of a lease, in milliseconds: 24 hours.
pub const QUEUE_VISIBILITY_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Most checks and mutations of a transaction that runs under the commit lock: one command may touch more keys than a
/// client may name.
pub const TRANSACTION_OPERATIONS_MAX: usize = 500_000;
/// A collection of at most so many elements is one value.
pub const COLLECTION_PACKED_ELEMENTS_MAX: usize = 128;
/// A collection of at most so many bytes is one value.
pub const COLLECTION_PACKED_SIZE_BYTES_MAX: usize = 4 * 1024;

const _: () =
    assert!((QUEUE_UNDELIVERED_KEYS_MAX + 1) * QUEUE_PAYLOAD_SIZE_BYTES_MAX < COMMIT_SIZE_BYTES_MAX);
const _: () = assert!(DATABASE_NAME_SIZE_BYTES_MAX <= KEY_SIZE_BYTES_MAX);
const _: () = assert!(VALUE_SIZE_BYTES_MAX < COMMIT_SIZE_BYTES_MAX);
// Bodies of both are read by the same bounded list.
const _: () = assert!(BATCH_OPERATIONS_MAX <= COMMIT_OPERATIONS_MAX);
const _: () = assert!(READ_RANGES_MAX <= COMMIT_OPERATIONS_MAX);
const _: () = assert!(GROUP_COMMITS_MAX <= u16::MAX as usize);
