//! The rows of the table.

use crate::store::Level;
use crate::ycsb::{self, Ycsb};

/// Which way a measure is better.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

/// One line of the table.
pub struct Metric {
    pub id: &'static str,
    pub title: &'static str,
    pub unit: &'static str,
    pub better: Better,
}

/// One child process: a workload and the lines it fills.
pub struct Row {
    pub id: &'static str,
    pub level: Level,
    pub work: Work,
    pub metrics: &'static [Metric],
}

/// What a row does: see `measure`.
pub enum Work {
    Load,
    PutFor { threads: usize },
    PutTasksFor { tasks: usize },
    BatchFor,
    PutMany,
    Get { threads: usize },
    Range,
    Remove,
    Size,
    Reopen { cold: bool, killed: bool },
    Memory,
    MemoryLoaded,
    Ycsb { workload: Ycsb, threads: usize },
    Disk,
}

/// The store that is no store: the disk itself.
pub const DISK: &str = "disk";

macro_rules! metrics {
    ($($id:literal, $title:literal, $unit:literal, $better:ident;)*) => {
        &[$(Metric { id: $id, title: $title, unit: $unit, better: Better::$better },)*]
    };
}

/// Every row, in the order of the table.
pub const ROWS: &[Row] = &[
    Row {
        id: "disk",
        level: Level::Fsync,
        work: Work::Disk,
        metrics: metrics! {
            "disk_append", "disk: 256 B appended + fdatasync", "syncs/s", Higher;
            "disk_rewrite", "disk: 256 B into written space + fdatasync", "syncs/s", Higher;
            "disk_append_64", "disk: 64 x 256 B appended + fdatasync", "records/s", Higher;
            "disk_rewrite_64", "disk: 64 x 256 B into written space + fdatasync", "records/s", Higher;
        },
    },
    Row {
        id: "load",
        level: Level::Fsync,
        work: Work::Load,
        metrics: metrics! { "load", "bulk load in random order, durable at the end", "keys/s", Higher; },
    },
    Row {
        id: "durable_1",
        level: Level::Fsync,
        work: Work::PutFor { threads: 1 },
        metrics: metrics! { "durable_1", "durable single writes, 1 thread", "keys/s", Higher; },
    },
    Row {
        id: "durable_64",
        level: Level::Fsync,
        work: Work::PutFor { threads: 64 },
        metrics: metrics! { "durable_64", "durable single writes, 64 threads", "keys/s", Higher; },
    },
    Row {
        id: "durable_64_tasks",
        level: Level::Fsync,
        work: Work::PutTasksFor { tasks: 64 },
        metrics: metrics! { "durable_64_tasks", "durable single writes, 64 async tasks", "keys/s", Higher; },
    },
    Row {
        id: "durable_batch",
        level: Level::Fsync,
        work: Work::BatchFor,
        metrics: metrics! { "durable_batch", "durable batches of 1,000", "keys/s", Higher; },
    },
    Row {
        id: "write_os",
        level: Level::Os,
        work: Work::PutMany,
        metrics: metrics! { "write_os", "single writes handed to the kernel, no fsync", "keys/s", Higher; },
    },
    Row {
        id: "write_none",
        level: Level::None,
        work: Work::PutMany,
        metrics: metrics! { "write_none", "single writes, nothing promised", "keys/s", Higher; },
    },
    Row {
        id: "remove",
        level: Level::Fsync,
        work: Work::Remove,
        metrics: metrics! { "remove", "removal of half the keys, durable at the end", "keys/s", Higher; },
    },
    Row {
        id: "get_1",
        level: Level::Fsync,
        work: Work::Get { threads: 1 },
        metrics: metrics! { "get_1", "random reads, 1 thread", "reads/s", Higher; },
    },
    Row {
        id: "get_2",
        level: Level::Fsync,
        work: Work::Get { threads: 2 },
        metrics: metrics! { "get_2", "random reads, 2 threads", "reads/s", Higher; },
    },
    Row {
        id: "get_4",
        level: Level::Fsync,
        work: Work::Get { threads: 4 },
        metrics: metrics! { "get_4", "random reads, 4 threads", "reads/s", Higher; },
    },
    Row {
        id: "get_8",
        level: Level::Fsync,
        work: Work::Get { threads: 8 },
        metrics: metrics! { "get_8", "random reads, 8 threads", "reads/s", Higher; },
    },
    Row {
        id: "range",
        level: Level::Fsync,
        work: Work::Range,
        metrics: metrics! { "range", "random range reads of 10", "ranges/s", Higher; },
    },
    Row {
        id: "ycsb_a_1",
        level: Level::Os,
        work: Work::Ycsb { workload: ycsb::A, threads: 1 },
        metrics: metrics! { "ycsb_a_1", "YCSB A (50 % updates), 1 thread", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_a_2",
        level: Level::Os,
        work: Work::Ycsb { workload: ycsb::A, threads: 2 },
        metrics: metrics! { "ycsb_a_2", "YCSB A (50 % updates), 2 threads", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_b_1",
        level: Level::Os,
        work: Work::Ycsb { workload: ycsb::B, threads: 1 },
        metrics: metrics! { "ycsb_b_1", "YCSB B (5 % updates), 1 thread", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_b_2",
        level: Level::Os,
        work: Work::Ycsb { workload: ycsb::B, threads: 2 },
        metrics: metrics! { "ycsb_b_2", "YCSB B (5 % updates), 2 threads", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_c_1",
        level: Level::Os,
        work: Work::Ycsb { workload: ycsb::C, threads: 1 },
        metrics: metrics! { "ycsb_c_1", "YCSB C (zipfian reads), 1 thread", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_c_2",
        level: Level::Os,
        work: Work::Ycsb { workload: ycsb::C, threads: 2 },
        metrics: metrics! { "ycsb_c_2", "YCSB C (zipfian reads), 2 threads", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_d_1",
        level: Level::Os,
        work: Work::Ycsb { workload: ycsb::D, threads: 1 },
        metrics: metrics! { "ycsb_d_1", "YCSB D (latest, 5 % inserts), 1 thread", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_d_2",
        level: Level::Os,
        work: Work::Ycsb { workload: ycsb::D, threads: 2 },
        metrics: metrics! { "ycsb_d_2", "YCSB D (latest, 5 % inserts), 2 threads", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_e_1",
        level: Level::Os,
        work: Work::Ycsb { workload: ycsb::E, threads: 1 },
        metrics: metrics! { "ycsb_e_1", "YCSB E (scans of 1 to 100, 5 % inserts), 1 thread", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_e_2",
        level: Level::Os,
        work: Work::Ycsb { workload: ycsb::E, threads: 2 },
        metrics: metrics! { "ycsb_e_2", "YCSB E (scans of 1 to 100, 5 % inserts), 2 threads", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_f_1",
        level: Level::Os,
        work: Work::Ycsb { workload: ycsb::F, threads: 1 },
        metrics: metrics! { "ycsb_f_1", "YCSB F (50 % read-modify-write), 1 thread", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_f_2",
        level: Level::Os,
        work: Work::Ycsb { workload: ycsb::F, threads: 2 },
        metrics: metrics! { "ycsb_f_2", "YCSB F (50 % read-modify-write), 2 threads", "ops/s", Higher; },
    },
    Row {
        id: "size",
        level: Level::Fsync,
        work: Work::Size,
        metrics: metrics! {
            "size_before", "disk after load + overwrite of half, closed", "x live bytes", Lower;
            "size_after", "disk after compaction, closed", "x live bytes", Lower;
            "compact_s", "compaction, open and close included", "s", Lower;
        },
    },
    Row {
        id: "reopen",
        level: Level::Fsync,
        work: Work::Reopen { cold: false, killed: false },
        metrics: metrics! {
            "reopen", "reopen + first read, clean, in page cache", "ms", Lower;
            "reopen_all", "the same + every key read once", "ms", Lower;
        },
    },
    Row {
        id: "reopen_cold",
        level: Level::Fsync,
        work: Work::Reopen { cold: true, killed: false },
        metrics: metrics! {
            "reopen_cold", "reopen + first read, clean, page cache dropped", "ms", Lower;
            "reopen_cold_all", "the same + every key read once", "ms", Lower;
        },
    },
    Row {
        id: "reopen_killed",
        level: Level::Fsync,
        work: Work::Reopen { cold: false, killed: true },
        metrics: metrics! {
            "reopen_killed", "reopen + first read after SIGKILL", "ms", Lower;
            "reopen_killed_all", "the same + every key read once", "ms", Lower;
        },
    },
    Row {
        id: "memory",
        level: Level::Fsync,
        work: Work::Memory,
        metrics: metrics! {
            "memory_anon", "private memory per entry, reopened, all read", "B", Lower;
            "memory_rss", "RSS per entry (mapped files too), reopened, all read", "B", Lower;
        },
    },
    Row {
        id: "memory_loaded",
        level: Level::Fsync,
        work: Work::MemoryLoaded,
        metrics: metrics! { "memory_loaded", "private memory per entry, just loaded", "B", Lower; },
    },
];

pub fn row(id: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.id == id)
}
