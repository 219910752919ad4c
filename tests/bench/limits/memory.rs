//! What this process holds of the machine's memory.

use std::{fmt, fs};

/// Kilobytes that are resident; none where the system does not say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resident(Option<u64>);

impl Resident {
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Self(resident.and_then(|size| size.trim().strip_suffix(" kB")?.parse().ok()))
    }
}

impl fmt::Display for Resident {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            Some(kilobytes) => write!(f, "{} MB", kilobytes >> 10),
            None => f.write_str("unknown"),
        }
    }
}
