//! `INFO`: the sections and fields that clients and monitoring read, where there is something true to say.

use super::REDIS_VERSION;
use super::calls::CallStats;
use super::clients::Client;
use super::databases;
use super::error::RedisError;
use crate::Server;
use crate::redis::DATABASES;
use orchard_env::ProcessUsage;
use orcharddb::{Durability, KeyRange, SpaceId, Stats, Transaction};
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// Sections in their order, and whether a plain `INFO` shows them.
const SECTIONS: [(&str, &str, bool); 13] = [
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
    ("latencystats", "Latencystats", false),
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
        let mut fields = Fields(&mut text);
        match name {
            "server" => about_server(&mut fields, server),
            "clients" => about_clients(&mut fields, server),
            "memory" => about_memory(&mut fields, server, &stats),
            "persistence" => about_persistence(&mut fields, server, &stats),
            "stats" => about_traffic(&mut fields, server, &stats),
            "replication" => about_replication(&mut fields, server),
            "cpu" => about_cpu(&mut fields),
            "commandstats" => about_commands(&mut fields, server),
            "errorstats" => {
                for (prefix, count) in server.redis.calls.errors() {
                    fields.add(&format!("errorstat_{prefix}"), format_args!("count={count}"));
                }
            }
            "latencystats" => about_latency(&mut fields, server),
            "cluster" => fields.add("cluster_enabled", 0),
            "keyspace" => about_keys(&mut fields, server, tx),
            _ => {}
        }
    }
    text
}

/// Lines of a section.
struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    fn add(&mut self, name: &str, value: impl Display) {
        // Writing to a `String` cannot fail.
        let _ = write!(self.0, "{name}:{value}\r\n");
    }

    /// What does not exist here, so that the number is zero.
    fn none(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.add(name, 0));
    }

    /// A size, and the same for people.
    fn size(&mut self, name: &str, bytes: u64) {
        self.add(name, bytes);
        self.add(&format!("{name}_human"), human(bytes));
    }
}

fn about_server(fields: &mut Fields<'_>, server: &Server) {
    let uptime = server.redis.started_at.elapsed().as_secs();
    fields.add("redis_version", REDIS_VERSION);
    fields.add("redis_mode", "standalone");
    fields.add("orchard_version", env!("CARGO_PKG_VERSION"));
    fields.add("os", format_args!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    fields.add("arch_bits", usize::BITS);
    fields.add("process_id", std::process::id());
    fields.add("process_supervised", "no");
    fields.add("run_id", &server.redis.run_id);
    fields.add("tcp_port", server.options.listen.port());
    fields.add("server_time_usec", u128::from(server.db.clock_now().0) * 1_000);
    fields.add("uptime_in_seconds", uptime);
    fields.add("uptime_in_days", uptime / 86_400);
    fields.add("hz", 10);
    fields.add("configured_hz", 10);
    fields.add("executable", std::env::current_exe().unwrap_or_default().display());
    fields.add("config_file", "");
    fields.add("io_threads_active", 0);
}

fn about_clients(fields: &mut Fields<'_>, server: &Server) {
    let redis = &server.redis;
    let (mut blocked, mut most_input, mut most_output) = (0, 0, 0);
    for client in redis.clients.all() {
        let seen = client.seen.lock();
        blocked += usize::from(seen.is_blocked);
        most_input = most_input.max(seen.input_bytes);
        most_output = most_output.max(seen.output_bytes);
    }
    fields.add("connected_clients", redis.clients.count());
    fields.add("cluster_connections", 0);
    fields.add("maxclients", server.connections_max.load(Ordering::Relaxed));
    fields.add("client_recent_max_input_buffer", most_input);
    fields.add("client_recent_max_output_buffer", most_output);
    fields.add("blocked_clients", blocked);
    fields.add("tracking_clients", redis.tracking.counts().clients);
    fields.add("clients_in_timeout_table", 0);
}

fn about_memory(fields: &mut Fields<'_>, server: &Server, stats: &Stats) {
    let used = stats.memory_bytes;
    let dataset = stats.key_bytes + stats.resident_value_bytes;
    let peak = server.redis.note_memory(used);
    let resident = ProcessUsage::now().map_or(used, |usage| usage.resident_bytes);
    let percent = |part: u64, whole: u64| format!("{:.2}%", part as f64 * 100.0 / whole.max(1) as f64);
    let of_client = |client: Arc<Client>| {
        let seen = client.seen.lock();
        seen.input_bytes + seen.output_bytes
    };
    fields.size("used_memory", used);
    fields.size("used_memory_rss", resident);
    fields.size("used_memory_peak", peak);
    fields.add("used_memory_peak_perc", percent(used, peak));
    fields.add("used_memory_overhead", used.saturating_sub(dataset));
    fields.add("used_memory_dataset", dataset);
    fields.add("used_memory_dataset_perc", percent(dataset, used));
    fields.size("total_system_memory", server.machine_memory_bytes);
    fields.none(&[
        "used_memory_lua",
        "number_of_cached_scripts",
        "number_of_functions",
        "number_of_libraries",
    ]);
    fields.size("maxmemory", stats.memory_limit_bytes);
    fields.add("maxmemory_policy", "noeviction");
    fields.add("mem_fragmentation_ratio", format_args!("{:.2}", resident as f64 / used.max(1) as f64));
    fields.add("mem_fragmentation_bytes", i128::from(resident) - i128::from(used));
    fields.none(&["mem_not_counted_for_evict", "mem_replication_backlog", "mem_clients_slaves"]);
    fields.add("mem_clients_normal", server.redis.clients.all().into_iter().map(of_client).sum::<usize>());
    fields.add("mem_allocator", "rust");
    fields.add("active_defrag_running", 0);
    fields.add("lazyfree_pending_objects", stats.deleted_ranges);
}

fn about_persistence(fields: &mut Fields<'_>, server: &Server, stats: &Stats) {
    let durability = match server.db.durability() {
        Durability::Fsync => "fsync",
        Durability::Os => "os",
        _ => "none",
    };
    let log = if stats.poisoned.is_some() || stats.disk_full { "err" } else { "ok" };
    fields.none(&["loading", "async_loading"]);
    fields.add("rdb_changes_since_last_save", server.redis.commits_since_saved(stats.commits));
    fields.add("rdb_bgsave_in_progress", 0);
    fields.add("rdb_last_save_time", server.redis.last_save_seconds());
    fields.add("rdb_last_bgsave_status", "ok");
    fields.add("rdb_last_bgsave_time_sec", -1);
    fields.add("rdb_current_bgsave_time_sec", -1);
    fields.add("aof_enabled", u8::from(server.db.durability() != Durability::None));
    fields.none(&["aof_rewrite_in_progress", "aof_rewrite_scheduled"]);
    fields.add("aof_last_rewrite_time_sec", -1);
    fields.add("aof_current_rewrite_time_sec", -1);
    fields.add("aof_last_bgrewrite_status", "ok");
    fields.add("aof_last_write_status", log);
    fields.add("aof_current_size", stats.log_bytes);
    fields.add("orchard_durability", durability);
    fields.add("orchard_versionstamp", stats.visible);
    fields.add("orchard_segment_bytes", stats.segment_bytes);
}

fn about_traffic(fields: &mut Fields<'_>, server: &Server, stats: &Stats) {
    let redis = &server.redis;
    let traffic = &redis.traffic;
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let kilobytes = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    let commands = of(&redis.commands_run);
    let [per_second, input, output] = traffic.rates(commands, redis.started_at, Instant::now());
    fields.add("total_connections_received", redis.clients.opened());
    fields.add("total_commands_processed", commands);
    fields.add("instantaneous_ops_per_sec", per_second);
    fields.add("total_net_input_bytes", of(&traffic.input_bytes));
    fields.add("total_net_output_bytes", of(&traffic.output_bytes));
    fields.none(&["total_net_repl_input_bytes", "total_net_repl_output_bytes"]);
    fields.add("instantaneous_input_kbps", kilobytes(input));
    fields.add("instantaneous_output_kbps", kilobytes(output));
    fields.add("rejected_connections", server.metrics.refused());
    fields.none(&["sync_full", "sync_partial_ok", "sync_partial_err"]);
    fields.add("expired_keys", of(&traffic.expired_keys));
    fields.none(&["evicted_keys", "evicted_clients"]);
    fields.none(&["total_eviction_exceeded_time", "current_eviction_exceeded_time"]);
    fields.add("keyspace_hits", of(&traffic.hits));
    fields.add("keyspace_misses", of(&traffic.misses));
    let [channels, patterns, shards] = redis.pubsub.counts();
    fields.add("pubsub_channels", channels);
    fields.add("pubsub_patterns", patterns);
    fields.add("pubsubshard_channels", shards);
    fields.none(&["latest_fork_usec", "total_forks", "migrate_cached_sockets", "slave_expires_tracked_keys"]);
    let tracking = redis.tracking.counts();
    fields.add("tracking_total_keys", tracking.keys);
    fields.add("tracking_total_items", tracking.items);
    fields.add("tracking_total_prefixes", tracking.prefixes);
    fields.add("unexpected_error_replies", 0);
    fields.add("total_error_replies", redis.calls.errors().iter().map(|(_, count)| count).sum::<u64>());
    fields.add("orchard_commits", stats.commits);
    fields.add("orchard_groups", stats.groups);
    fields.add("orchard_log_syncs", stats.syncs);
}

/// There is none, and that is how Redis says so.
fn about_replication(fields: &mut Fields<'_>, server: &Server) {
    fields.add("role", "master");
    fields.add("connected_slaves", 0);
    fields.add("master_failover_state", "no-failover");
    fields.add("master_replid", &server.redis.run_id);
    fields.add("master_replid2", "0".repeat(server.redis.run_id.len()));
    fields.add("master_repl_offset", 0);
    fields.add("second_repl_offset", -1);
    fields.none(&["repl_backlog_active", "repl_backlog_size"]);
    fields.none(&["repl_backlog_first_byte_offset", "repl_backlog_histlen"]);
}

fn about_cpu(fields: &mut Fields<'_>) {
    let seconds = |ms: u64| format!("{}.{:03}000", ms / 1_000, ms % 1_000);
    if let Some(usage) = ProcessUsage::now() {
        fields.add("used_cpu_sys", seconds(usage.system_ms));
        fields.add("used_cpu_user", seconds(usage.user_ms));
        fields.add("used_cpu_sys_children", seconds(0));
        fields.add("used_cpu_user_children", seconds(0));
    }
}

fn about_commands(fields: &mut Fields<'_>, server: &Server) {
    for (name, stats) in server.redis.calls.all() {
        let CallStats { calls, nanos, rejected, failed } = stats;
        let usec = nanos / 1_000;
        let mean = nanos as f64 / 1_000.0 / calls.max(1) as f64;
        fields.add(
            &format!("cmdstat_{name}"),
            format_args!(
                "calls={calls},usec={usec},usec_per_call={mean:.2},rejected_calls={rejected},failed_calls={failed}"
            ),
        );
    }
}

fn about_latency(fields: &mut Fields<'_>, server: &Server) {
    for (name, times) in server.redis.calls.times() {
        if let Some([half, most, nearly_all]) = times
            .at_per_mille([500, 990, 999])
            .map(|times| times.map(|nanos| format!("{}.{:03}", nanos / 1_000, nanos % 1_000)))
        {
            fields.add(
                &format!("latency_percentiles_usec_{name}"),
                format_args!("p50={half},p99={most},p99.9={nearly_all}"),
            );
        }
    }
}

fn about_keys(fields: &mut Fields<'_>, server: &Server, tx: &mut Transaction<'_>) {
    for database in 0..DATABASES {
        let counted = databases::space_in(tx, database).and_then(|space| Ok((space, count(tx, space)?)));
        let Ok((space, keys)) = counted else { continue };
        if keys > 0 {
            let (expires, mean) = server.db.engine().expiring(space);
            let left_ms = mean.0.saturating_sub(server.db.clock_now().0);
            let name = format!("db{database}");
            fields.add(&name, format_args!("keys={keys},expires={expires},avg_ttl={left_ms}"));
        }
    }
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
