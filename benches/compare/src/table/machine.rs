//! Where and when a table was measured.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// As the kernel describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
    /// What the compiler was told, the same for all systems in this program.
    rustflags: String,
}

impl Machine {
    /// This one.
    pub(crate) fn read() -> Result<Self, Error> {
        let cpu_info = std::fs::read_to_string("/proc/cpuinfo")?;
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let total_kib: u64 =
            total.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0);
        Ok(Machine {
            cpu: field(&cpu_info, "model name").unwrap_or("unknown processor").to_owned(),
            cores: cpu_info.lines().filter(|line| line.starts_with("processor")).count(),
            memory_gib: total_kib.div_ceil(1 << 20),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            rustflags: env!("COMPARE_RUSTFLAGS").to_owned(),
        })
    }

    /// Whether this program was built with the flags of its directory.
    pub(crate) fn is_native(&self) -> bool {
        self.rustflags.contains("target-cpu=native")
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(key, value)| (key.trim(), value.trim()))
        .find(|field| field.0 == name)
        .map(|field| field.1)
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, memory_gib, kernel, rustflags } = self;
        write!(f, "{cpu}, {cores} cores, {memory_gib} GiB, Linux {kernel}, rustc {rustflags}")
    }
}

/// Today's date in UTC, as `2026-01-31`.
pub(crate) fn today() -> Result<String, Error> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    Ok(format!("{year:04}-{month:02}-{day:02}"))
}

/// Year, month and day of a day since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(19_723), (2024, 1, 1));
        assert_eq!(civil(20_453), (2025, 12, 31));
    }

    #[test]
    fn this_machine_has_a_core() {
        assert!(Machine::read().unwrap().cores > 0);
    }
}
