//! The progress bar: on a terminal only.

use crate::units;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error; nothing if that is no terminal.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar over so many bytes, or a counter if their number is not known.
    pub fn new(length_bytes: Option<u64>) -> Progress {
        let bar = ProgressBar::with_draw_target(length_bytes, ProgressDrawTarget::stderr_with_hz(10));
        let template = match length_bytes {
            Some(_) => "{wide_bar} {bytes}/{total_bytes}  {msg}  {eta} left",
            None => "{spinner} {msg}  {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress(bar)
    }

    /// Shows how far it is.
    pub fn set(&self, bytes: u64, entries: u64) {
        if self.0.is_hidden() {
            return;
        }
        self.0.set_message(units::format_entries(entries));
        if self.0.length().is_some() {
            self.0.set_position(bytes);
        } else {
            self.0.tick();
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
