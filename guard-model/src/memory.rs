//! How much memory this process holds, as Linux tells.

/// Bytes that are in memory now (`VmRSS`); none where the system does not say.
pub fn resident_bytes() -> Option<u64> {
    status("VmRSS:")
}

/// The most bytes that were in memory at once (`VmHWM`); none where the system does not say.
pub fn most_bytes() -> Option<u64> {
    status("VmHWM:")
}

fn status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_now_is_at_most_what_was_held() {
        let (now, most) = (resident_bytes().unwrap(), most_bytes().unwrap());
        assert!(now > 1 << 20 && now <= most.max(most_bytes().unwrap()), "{now} {most}");
    }
}
