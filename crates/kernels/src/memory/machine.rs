//! How much memory a process may ever use.

use std::path::{Path, PathBuf};

/// The bytes that this process can have in memory at most: those of the machine with its swap, or
/// fewer where its cgroups, its container or its resource limits say so. What other programs use at
/// the moment makes no difference. None where the system does not tell.
pub fn usable() -> Option<u64> {
    let machine = of_machine();
    let limits = [of_cgroups(), of_process()].into_iter().flatten();
    limits.chain(machine).min()
}

/// Memory and swap of the machine.
fn of_machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let swap = meminfo(&text, "SwapTotal").unwrap_or(0);
    Some(meminfo(&text, "MemTotal")? + swap)
}

/// A field of Linux' table, in bytes.
fn meminfo(text: &str, field: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| *name == field)?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The least that the cgroups of this process allow, of either version.
fn of_cgroups() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_of_cgroups(&groups, Path::new("/sys/fs/cgroup"))
}

/// The least that a group or one above it allows. `groups` has a line `ID:CONTROLLERS:PATH` for each
/// hierarchy. Inside a container the path may be that of the host, and only the top is there.
fn limit_of_cgroups(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or("/"));
        let is_second_version = controllers.is_empty();
        let (top, limit_of): (PathBuf, fn(&Path) -> Option<u64>) = match is_second_version {
            true => (root.into(), second_version),
            false if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), first_version)
            }
            false => return vec![],
        };
        let own = top.join(path.trim_start_matches('/'));
        let above = own
            .ancestors()
            .take_while(|folder| folder.starts_with(&top));
        above.filter_map(limit_of).collect()
    });
    limits.min()
}

/// Memory and swap of a group of version 2; "max" is no limit.
fn second_version(folder: &Path) -> Option<u64> {
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).ok();
    let memory: u64 = read("memory.max")?.trim().parse().ok()?;
    let swap = match read("memory.swap.max") {
        None => 0,
        // Without a limit it is that of the machine.
        Some(text) => text.trim().parse().unwrap_or_else(|_| of_swap()),
    };
    Some(memory.saturating_add(swap.min(of_swap())))
}

/// The same of version 1, where memory with swap has a limit of its own.
fn first_version(folder: &Path) -> Option<u64> {
    let read = |file: &str| -> Option<u64> {
        let text = std::fs::read_to_string(folder.join(file)).ok()?;
        text.trim().parse().ok()
    };
    let memory = read("memory.limit_in_bytes")?;
    let with_swap = read("memory.memsw.limit_in_bytes");
    let most = memory.saturating_add(of_swap());
    Some(with_swap.map_or(most, |limit| limit.min(most)))
}

fn of_swap() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    meminfo(&text, "SwapTotal").unwrap_or(0)
}

/// The limit on the address space of this process (`ulimit -v`).
#[cfg(unix)]
fn of_process() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: getrlimit writes to the struct that it is given, and to nothing else.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) };
    (done == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

#[cfg(not(unix))]
fn of_process() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_a_group_and_those_above_it_counts() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |file: &str, text: &str| {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            std::fs::write(file, text).expect("written");
        };
        let limit = |groups: &str| limit_of_cgroups(groups, root.path());
        assert_eq!(limit("0::/a/b\n"), None);
        write("a/memory.max", "3000\n");
        write("a/b/memory.max", "max\n");
        write("memory/c/memory.limit_in_bytes", "2000\n");
        write("memory/c/memory.memsw.limit_in_bytes", "2000\n");
        write("a/memory.swap.max", "0\n");
        assert_eq!(limit("0::/a/b\n"), Some(3000));
        assert_eq!(limit("4:cpu,memory:/c\n0::/a/b\n"), Some(2000));
        // The group of the host is not there inside a container: its top is.
        write("memory.max", "1000\n");
        write("memory.swap.max", "0\n");
        assert_eq!(limit("0::/of/the/host\n"), Some(1000));
    }

    #[test]
    fn fields_are_in_kibibytes() {
        let text = "MemTotal:       24000 kB\nSwapTotal:  0 kB\n";
        assert_eq!(meminfo(text, "MemTotal"), Some(24000 * 1024));
        assert_eq!(meminfo(text, "MemFree"), None);
        #[cfg(target_os = "linux")]
        assert!(usable().is_some_and(|bytes| bytes > 1 << 20));
    }
}
