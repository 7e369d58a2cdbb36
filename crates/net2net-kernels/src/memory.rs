//! How much memory there is.

use std::fs;

/// The bytes of memory that this program can still have without others losing theirs, where the system
/// tells: what Linux calls available, or what is left of the control group's limit if that is less.
pub fn available() -> Option<u64> {
    let free = from_table("/proc/meminfo", "MemAvailable:").and_then(|kib| kib.checked_mul(1024));
    let group = "/sys/fs/cgroup/memory";
    let limit = number(&format!("{group}.max"));
    let left = limit
        .zip(number(&format!("{group}.current")))
        .map(|(limit, now)| {
            // Pages of files count as used, and are given back when they are wanted.
            let cached = from_table(&format!("{group}.stat"), "inactive_file").unwrap_or(0);
            limit.saturating_sub(now.saturating_sub(cached))
        });
    match (free, left) {
        (Some(free), Some(left)) => Some(free.min(left)),
        (free, left) => free.or(left),
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number behind a name in a file of lines.
fn from_table(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let rest = lines.next()?.trim();
    rest.trim_end_matches("kB").trim().parse().ok()
}
