use super::*;
use orchard_env::fault::{FaultDisk, FaultPlan};
use orchard_types::UnixMillis;

/// Frames that end at every place of a block, on a log without blocks ahead, each followed by one for which there is no
/// space because somebody else took it in the middle.
#[test]
fn a_log_without_blocks_ahead_waits_for_space_that_others_took() {
    const BLOCK_BYTES: usize = 4096;
    let disk = FaultDisk::new(1);
    disk.create_dir(LOG_DIR).expect("a directory");
    let options = LogOptions { prefills: false, file_size_bytes_max: u64::MAX, ..LogOptions::default() };
    let database = DatabaseId([7; 16]);
    let mut log =
        FileLog::begin(Arc::new(disk.clone()), database, options, 1, (0, 0), VecDeque::new(), Vec::new())
            .expect("a new file");
    let capacity = |capacity_bytes| disk.set_plan(FaultPlan { capacity_bytes, ..FaultPlan::default() });
    let mut index = 0;
    let mut group = |payload: usize| {
        index += 1;
        Group { index, log_time: UnixMillis(index), count: 1, payload: vec![7; payload] }
    };
    // One frame makes the file longer, so that there is room ahead, but no blocks.
    log.append(&group(2 * BLOCK_BYTES * BLOCK_BYTES / 8)).expect("space");
    for _ in 0..BLOCK_BYTES / 8 {
        log.append(&group(BLOCK_BYTES + 8 - frame::FRAME_OVERHEAD_BYTES)).expect("space");
        let late = group(2 * BLOCK_BYTES);
        let before = log.position();
        capacity(Some(0));
        assert!(matches!(log.append(&late), Err(LogError::NoSpace)), "at {before:?}");
        assert_eq!(log.position(), before);
        capacity(None);
        log.append(&late).expect("there is space again");
    }
}
