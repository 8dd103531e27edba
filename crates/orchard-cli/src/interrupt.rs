//! Ctrl-C in the middle of something that can stop at a good place.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a shell reports of a process that SIGINT ended.
const INTERRUPTED: i32 = 128 + 2;

/// A flag that the first SIGINT sets. The second ends the process at once.
pub fn watch() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    // Without a runtime or thread Ctrl-C ends the process as it always does.
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return stop };
    let wait = async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            flag.store(true, Ordering::Relaxed);
            let _ = writeln!(io::stderr(), "stopping behind what is on its way; Ctrl-C again stops at once");
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(INTERRUPTED);
        }
    };
    let _ = std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || runtime.block_on(wait));
    stop
}
