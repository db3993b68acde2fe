//! The machine of a run, as far as it is known.

/// Processor cores that the program may use.
pub(super) fn cores() -> usize {
    rayon::current_num_threads()
}

/// The machine in words.
pub(super) fn describe() -> String {
    let system = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    let cores = match cores() {
        1 => "1 core".to_string(),
        cores => format!("{cores} cores"),
    };
    match linux_field("/proc/cpuinfo", "model name") {
        Some(name) => format!("{cores}, {name}, {system}"),
        None => format!("{cores}, {system}"),
    }
}

/// The most memory that this process has held, in bytes, if the system reports it.
pub(super) fn peak_memory() -> Option<u64> {
    let field = linux_field("/proc/self/status", "VmHWM")?;
    let kibibytes: u64 = field.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The first value of a field of one of Linux' tables.
fn linux_field(table: &str, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(table).ok()?;
    let (_, value) = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == field)?;
    Some(value.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_describes_itself() {
        assert!(describe().contains("core"));
        #[cfg(target_os = "linux")]
        assert!(peak_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
