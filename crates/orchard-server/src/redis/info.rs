//! `INFO`: the sections and fields that clients and monitoring read, where there is something true to say.

use super::REDIS_VERSION;
use super::calls::CallStats;
use super::databases;
use super::error::RedisError;
use crate::Server;
use crate::redis::DATABASES;
use orchard_env::ProcessUsage;
use orcharddb::{Durability, KeyRange, SpaceId, Stats, Transaction};
use std::fmt::Write;
use std::sync::atomic::Ordering;

/// Sections in their order, and whether a plain `INFO` shows them.
const SECTIONS: [(&str, &str, bool); 12] = [
    ("server", "Server", true),
    ("clients", "Clients", true),
    ("memory", "Memory", true),
    ("persistence", "Persistence", true),
    ("stats", "Stats", true),
    ("replication", "Replication", true),
    ("cpu", "CPU", true),
    ("modules", "Modules", true),
    ("commandstats", "Commandstats", false),
    ("errorstats", "Errorstats", true),
    ("cluster", "Cluster", true),
    ("keyspace", "Keyspace", true),
];

/// The text; `wanted` are names in lower case, none for the usual ones.
pub(crate) fn render(server: &Server, tx: &mut Transaction<'_>, wanted: &[String]) -> String {
    let takes_all = wanted.iter().any(|name| name == "all" || name == "everything" || name == "default");
    let stats = server.db.stats();
    let mut text = String::new();
    for (name, title, is_usual) in SECTIONS {
        let is_wanted =
            if wanted.is_empty() || takes_all { is_usual } else { wanted.iter().any(|word| word == name) };
        let is_wanted =
            is_wanted || wanted.iter().any(|word| word == "all" || word == "everything" || word == name);
        if !is_wanted {
            continue;
        }
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        text.push_str(&format!("# {title}\r\n"));
        for (field, value) in fields(name, server, tx, &stats) {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{field}:{value}\r\n");
        }
    }
    text
}

type Fields = Vec<(String, String)>;

fn fields(section: &str, server: &Server, tx: &mut Transaction<'_>, stats: &Stats) -> Fields {
    let mut fields = Fields::new();
    let mut add =
        |name: &str, value: &dyn std::fmt::Display| fields.push((name.to_owned(), value.to_string()));
    let redis = &server.redis;
    let uptime = redis.started_at.elapsed().as_secs();
    match section {
        "server" => {
            add("redis_version", &REDIS_VERSION);
            add("redis_mode", &"standalone");
            add("orchard_version", &env!("CARGO_PKG_VERSION"));
            add("os", &format_args!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
            add("arch_bits", &usize::BITS);
            add("process_id", &std::process::id());
            add("tcp_port", &server.options.listen.port());
            add("server_time_usec", &(u128::from(server.db.clock_now().0) * 1_000));
            add("uptime_in_seconds", &uptime);
            add("uptime_in_days", &(uptime / 86_400));
            add("hz", &10);
            add("configured_hz", &10);
            add("config_file", &"");
            add("io_threads_active", &0);
        }
        "clients" => {
            let blocked = redis.clients.all().iter().filter(|client| client.seen.lock().is_blocked).count();
            add("connected_clients", &redis.clients.count());
            add("cluster_connections", &0);
            add("maxclients", &server.connections_max.load(Ordering::Relaxed));
            add("blocked_clients", &blocked);
            add("tracking_clients", &redis.tracking.counts().clients);
            add("clients_in_timeout_table", &0);
        }
        "memory" => {
            let dataset = stats.key_bytes + stats.resident_value_bytes;
            add("used_memory", &stats.memory_bytes);
            add("used_memory_human", &human(stats.memory_bytes));
            let usage = ProcessUsage::now();
            let resident = usage.map_or(stats.memory_bytes, |usage| usage.resident_bytes);
            add("used_memory_rss", &resident);
            add("used_memory_rss_human", &human(resident));
            let ratio = resident as f64 / stats.memory_bytes.max(1) as f64;
            add("mem_fragmentation_ratio", &format_args!("{ratio:.2}"));
            add("used_memory_dataset", &dataset);
            add("used_memory_overhead", &stats.memory_bytes.saturating_sub(dataset));
            add("maxmemory", &stats.memory_limit_bytes);
            add("maxmemory_human", &human(stats.memory_limit_bytes));
            add("maxmemory_policy", &"noeviction");
            add("mem_allocator", &"rust");
            add("active_defrag_running", &0);
            add("lazyfree_pending_objects", &stats.deleted_ranges);
        }
        "persistence" => {
            let durability = match server.db.durability() {
                Durability::Fsync => "fsync",
                Durability::Os => "os",
                _ => "none",
            };
            add("loading", &0);
            add("async_loading", &0);
            add("rdb_bgsave_in_progress", &0);
            add("rdb_last_save_time", &redis.last_save_seconds());
            add("rdb_last_bgsave_status", &"ok");
            add("aof_enabled", &u8::from(server.db.durability() != Durability::None));
            add("aof_rewrite_in_progress", &0);
            add(
                "aof_last_write_status",
                &if stats.poisoned.is_some() || stats.disk_full { "err" } else { "ok" },
            );
            add("aof_current_size", &stats.log_bytes);
            add("orchard_durability", &durability);
            add("orchard_versionstamp", &stats.visible);
            add("orchard_segment_bytes", &stats.segment_bytes);
        }
        "stats" => {
            let [channels, patterns, shards] = redis.pubsub.counts();
            add("total_connections_received", &redis.clients.opened());
            let commands = redis.commands_run.load(Ordering::Relaxed);
            add("total_commands_processed", &commands);
            let traffic = &redis.traffic;
            add(
                "instantaneous_ops_per_sec",
                &traffic.rate(commands, redis.started_at, tokio::time::Instant::now()),
            );
            add("total_net_input_bytes", &traffic.input_bytes.load(Ordering::Relaxed));
            add("total_net_output_bytes", &traffic.output_bytes.load(Ordering::Relaxed));
            add("rejected_connections", &server.metrics.refused());
            add("total_error_replies", &redis.calls.errors().iter().map(|(_, count)| count).sum::<u64>());
            add("expired_keys", &traffic.expired_keys.load(Ordering::Relaxed));
            add("evicted_keys", &0);
            add("pubsub_channels", &channels);
            add("pubsub_patterns", &patterns);
            add("pubsubshard_channels", &shards);
            let tracking = redis.tracking.counts();
            add("tracking_total_keys", &tracking.keys);
            add("tracking_total_items", &tracking.items);
            add("tracking_total_prefixes", &tracking.prefixes);
            add("orchard_commits", &stats.commits);
            add("orchard_groups", &stats.groups);
            add("orchard_log_syncs", &stats.syncs);
        }
        "replication" => {
            add("role", &"master");
            add("connected_slaves", &0);
            add("master_failover_state", &"no-failover");
            add("master_repl_offset", &0);
            add("repl_backlog_active", &0);
        }
        "cpu" => {
            let seconds = |ms: u64| format!("{}.{:03}000", ms / 1_000, ms % 1_000);
            if let Some(usage) = ProcessUsage::now() {
                add("used_cpu_sys", &seconds(usage.system_ms));
                add("used_cpu_user", &seconds(usage.user_ms));
            }
        }
        "commandstats" => {
            for (name, stats) in redis.calls.all() {
                let CallStats { calls, nanos, rejected, failed } = stats;
                let usec = nanos / 1_000;
                let mean = nanos as f64 / 1_000.0 / calls.max(1) as f64;
                add(
                    &format!("cmdstat_{name}"),
                    &format_args!(
                        "calls={calls},usec={usec},usec_per_call={mean:.2},rejected_calls={rejected},failed_calls={failed}"
                    ),
                );
            }
        }
        "errorstats" => {
            for (prefix, count) in redis.calls.errors() {
                add(&format!("errorstat_{prefix}"), &format_args!("count={count}"));
            }
        }
        "cluster" => add("cluster_enabled", &0),
        "keyspace" => {
            for database in 0..DATABASES {
                let counted =
                    databases::space_in(tx, database).and_then(|space| Ok((space, count(tx, space)?)));
                let Ok((space, keys)) = counted else { continue };
                if keys > 0 {
                    let (expires, mean) = server.db.engine().expiring(space);
                    let left_ms = mean.0.saturating_sub(server.db.clock_now().0);
                    let name = format!("db{database}");
                    add(&name, &format_args!("keys={keys},expires={expires},avg_ttl={left_ms}"));
                }
            }
        }
        _ => {}
    }
    fields
}

/// Keys of a database, those too that Redis commands cannot name.
fn count(tx: &mut Transaction<'_>, space: SpaceId) -> Result<u64, RedisError> {
    Ok(tx.count_in(space, &KeyRange::all())?)
}

/// `967.05K`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "K", "M", "G", "T"];
    let mut scaled = bytes as f64;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes}B") } else { format!("{scaled:.2}{}", UNITS.get(unit).unwrap_or(&"")) }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn sizes_for_people() {
        assert_eq!(
            (human(512).as_str(), human(990_256).as_str(), human(1 << 30).as_str()),
            ("512B", "967.05K", "1.00G")
        );
    }
}
