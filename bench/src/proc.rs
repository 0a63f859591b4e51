//! What processes cost, from /proc: processor time and resident memory. Linux only, like the servers' scripts.

use std::collections::BTreeMap;
use std::path::Path;

/// `USER_HZ`: the unit of times in /proc is the same on every Linux that we run on.
const TICKS_PER_SECOND: u64 = 100;

/// Processor time of one process since its start, in milliseconds, user and system; none once it is gone.
pub(crate) fn cpu_ms(pid: u32) -> Option<u64> {
    let times = times(pid)?;
    Some((times[0] + times[1]) * 1_000 / TICKS_PER_SECOND)
}

/// The same of a process with all its children, those that have ended too.
pub(crate) fn family_cpu_ms(parent: u32) -> Option<u64> {
    let own: u64 = times(parent)?.iter().sum();
    let living: u64 = children(parent).iter().filter_map(|child| cpu_ms(*child)).sum();
    Some(own * 1_000 / TICKS_PER_SECOND + living)
}

/// The most resident memory that a process ever had, in KiB.
pub(crate) fn rss_peak_kib(pid: u32) -> Option<u64> {
    status_kib(pid, "VmHWM:")
}

/// Resident memory now, in KiB.
pub(crate) fn rss_kib(pid: u32) -> Option<u64> {
    status_kib(pid, "VmRSS:")
}

/// The process that started this one.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, "PPid:")?.parse().ok()
}

/// The first process whose command line holds all of these.
pub(crate) fn find(words: &[&str]) -> Option<u32> {
    processes().find(|pid| {
        let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        words.iter().all(|word| line.contains(word))
    })
}

/// By process name, what each has cost so far.
pub(crate) type Costs = BTreeMap<String, u64>;

/// What was added from one look to the next.
pub(crate) fn since(before: &Costs, after: &Costs) -> Costs {
    after.iter().map(|(name, ms)| (name.clone(), ms.saturating_sub(before.get(name).copied().unwrap_or(0)))).collect()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn children(of: u32) -> Vec<u32> {
    processes().filter(|pid| parent(*pid) == Some(of)).collect()
}

/// utime, stime, cutime and cstime in ticks.
fn times(pid: u32) -> Option<[u64; 4]> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The name may hold spaces and parentheses; the fields behind it begin with the state, the third.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).map(str::parse);
    let mut next = || fields.next()?.ok();
    Some([next()?, next()?, next()?, next()?])
}

fn status_kib(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, name)?.split_whitespace().next()?.parse().ok()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_done_here_shows_as_processor_time_of_this_process() {
        let me = std::process::id();
        let before = cpu_ms(me).unwrap();
        let mut random = crate::workload::Random::new(1);
        let mut sum = 0u64;
        // Until the clock has moved on, however fast the machine is.
        while cpu_ms(me).unwrap() < before + 30 {
            sum = (0..1_000_000).fold(sum, |sum, _| sum.wrapping_add(random.next()));
        }
        assert_ne!(sum, 0);
        assert!(family_cpu_ms(me).unwrap() >= before + 30);
        assert!(rss_peak_kib(me).unwrap() >= rss_kib(me).unwrap());
        assert!(find(&["no such process", "at all"]).is_none());
    }
}
