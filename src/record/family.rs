//! Which processes belong to a session, though they have not used a lock yet.

use std::fs;
use std::path::Path;

/// Number of processes that have a segment of this session mapped (they were forked from a recorded one) or
/// its folder in their environment (they are about to attach).
pub fn members(folder: &Path) -> usize {
    let Some(folder) = folder.to_str() else { return 0 };
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let has = |file: &str| {
                fs::read(format!("/proc/{pid}/{file}"))
                    .is_ok_and(|bytes| bytes.windows(folder.len()).any(|part| part == folder.as_bytes()))
            };
            has("environ") || has("maps")
        })
        .count()
}
