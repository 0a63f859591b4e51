//! What the kernel says of this process, read from `/proc` when asked.
//!
//! Rendered here rather than recorded, since processor time has fractions and is a counter.

use std::fmt::Write;
use std::fs;

use super::{PROCESS_CPU, PROCESS_FDS, PROCESS_FDS_MAX, PROCESS_MEMORY, PROCESS_START, PROCESS_VIRTUAL_MEMORY, TABLE};

/// Ticks a second of the times in `/proc/self/stat`: the same on every Linux that Rust supports.
const TICKS_PER_SECOND: u64 = 100;

/// Appends what can be read; on a system without `/proc` that is nothing.
pub(super) fn render_into(text: &mut String) {
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| Stat::parse(&stat)) {
        let ticks = stat.user_ticks.saturating_add(stat.system_ticks);
        let cpu = format!("{}.{:02}", ticks / TICKS_PER_SECOND, ticks % TICKS_PER_SECOND);
        line(text, PROCESS_CPU, "counter", &cpu);
        line(text, PROCESS_VIRTUAL_MEMORY, "gauge", &stat.virtual_bytes.to_string());
        if let Some(booted) = fs::read_to_string("/proc/stat").ok().and_then(|stat| booted_at(&stat)) {
            line(text, PROCESS_START, "gauge", &(booted + stat.started_ticks / TICKS_PER_SECOND).to_string());
        }
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(kilobytes) = field(&status, "VmRSS:").and_then(|text| text.split_whitespace().next()?.parse().ok()) {
        line(text, PROCESS_MEMORY, "gauge", &u64::saturating_mul(kilobytes, 1024).to_string());
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        line(text, PROCESS_FDS, "gauge", &open.count().to_string());
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(max) = field(&limits, "Max open files").and_then(|text| text.split_whitespace().next()) {
        line(text, PROCESS_FDS_MAX, "gauge", if max == "unlimited" { "+Inf" } else { max });
    }
}

fn line(text: &mut String, name: &str, kind: &str, value: &str) {
    let help = TABLE.iter().find(|metric| metric.name == name).map_or("", |metric| metric.help);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}

fn booted_at(stat: &str) -> Option<u64> {
    field(stat, "btime ")?.trim().parse().ok()
}

struct Stat {
    user_ticks: u64,
    system_ticks: u64,
    started_ticks: u64,
    virtual_bytes: u64,
}

impl Stat {
    /// The name of the program, in brackets, may hold anything: what counts is behind the last one.
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse().ok();
        // Fields 14, 15, 22 and 23 of proc(5); the first behind the bracket is field 3.
        Some(Self {
            user_ticks: number(11)?,
            system_ticks: number(12)?,
            started_ticks: number(19)?,
            virtual_bytes: number(20)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Stat, booted_at};

    #[test]
    fn a_programs_name_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 4200 1048576 200";
        let stat = Stat::parse(stat).unwrap();
        assert_eq!((stat.user_ticks, stat.system_ticks), (250, 50));
        assert_eq!((stat.started_ticks, stat.virtual_bytes), (4200, 1_048_576));
        assert_eq!(booted_at("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000));
    }
}
