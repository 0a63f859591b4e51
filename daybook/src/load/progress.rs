//! What a waiting person sees: a bar with rate and time to go, or plain lines where stderr is not a
//! terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a plain line says how far it is.
const LINE_EVERY: Duration = Duration::from_secs(5);
const TEMPLATE: &str = "{msg:22} [{bar:32}] {pos}/{len}  {per_sec}  {eta} to go";

/// The progress of one phase.
pub(crate) struct Progress {
    name: &'static str,
    length: u64,
    done: u64,
    started: Instant,
    next_line: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts a phase of so many steps.
    pub(crate) fn start(name: &'static str, length: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(10));
            let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("=> "));
            bar.set_message(name);
            bar
        });
        let started = Instant::now();
        Self { name, length, done: 0, started, next_line: started + LINE_EVERY, bar }
    }

    /// One step is done.
    pub(crate) fn step(&mut self) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
        } else if Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE_EVERY;
            eprintln!("{}", line(self.name, self.done, self.length, self.started.elapsed()));
        }
    }

    /// The phase has ended.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        let elapsed = self.started.elapsed();
        let rate = per_second(self.done, elapsed);
        eprintln!("{}: {} in {}, {rate}/s", self.name, grouped(self.done), seconds(elapsed));
    }
}

fn line(name: &str, done: u64, length: u64, elapsed: Duration) -> String {
    let rate = per_second(done, elapsed);
    let percent = done.saturating_mul(100) / length.max(1);
    let to_go_s = length.saturating_sub(done) / rate.max(1);
    format!("{name}: {}/{} ({percent} %), {rate}/s, {to_go_s} s to go", grouped(done), grouped(length))
}

/// So many in that time, each second.
pub(crate) fn per_second(count: u64, elapsed: Duration) -> u64 {
    let per_second = u128::from(count).saturating_mul(1_000_000) / elapsed.as_micros().max(1);
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

/// A duration in seconds with a decimal, as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    let tenths = duration.as_millis() / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

/// A count with its thousands apart, as people read it.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let text = line("transactions", 10_000, 49_102, Duration::from_secs(4));
        assert_eq!(text, "transactions: 10,000/49,102 (20 %), 2500/s, 15 s to go");
        assert_eq!(line("none", 0, 0, Duration::ZERO), "none: 0/0 (0 %), 0/s, 0 s to go");
    }

    #[test]
    fn counts_and_durations_as_people_read_them() {
        assert_eq!((grouped(0), grouped(999), grouped(1_234_567)), ("0".into(), "999".into(), "1,234,567".into()));
        assert_eq!(seconds(Duration::from_millis(12_345)), "12.3 s");
    }
}
