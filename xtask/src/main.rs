//! Housekeeping of the repository. `cargo run -p xtask -- help` lists what it does.

fn main() {}
