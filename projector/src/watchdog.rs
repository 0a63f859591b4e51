//! Noticing that the client hands over nothing of a partition although the topic has more.
//!
//! A client can lose a partition without an error; to its user that looks like a topic that has no
//! more. So whoever reads nothing asks the broker, apart from the fetching of records, where the
//! partitions end. The broker is asked on a thread of its own, because an answer may take its time.
//!
//! Invariants: only looks while the client's queue is empty, since records of one partition may stand
//! in it behind those of others; a partition counts as stalled only if the broker said twice, the given
//! time apart, that there is more, and nothing came in between. So a broker that is away, or slow, is
//! never taken for a client that stands still.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

/// How long asking for the ends of one partition may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// By partition, an offset.
pub(crate) type Offsets = BTreeMap<i32, i64>;

/// A partition of which nothing comes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stall {
    pub(crate) partition: i32,
    /// What should come next.
    pub(crate) next_offset: i64,
    /// The offset after the partition's last record.
    pub(crate) end: i64,
    /// How often in a row it was found, this time included.
    pub(crate) tries: u32,
}

/// A partition that has not moved since it was looked at last.
#[derive(Debug)]
struct Standing {
    next_offset: i64,
    /// Since when it is known that the topic has more.
    behind_since: Option<Instant>,
    tries: u32,
}

/// Looks now and then at what was taken and at what there is.
pub(crate) struct Watchdog {
    stall_after: Duration,
    questions: Sender<Vec<i32>>,
    answers: Receiver<Offsets>,
    standing: BTreeMap<i32, Standing>,
    looked_at: Instant,
    asked: bool,
}

impl Watchdog {
    /// One that sends partitions to [`answer`] and hears from it.
    pub(crate) fn new(stall_after: Duration, questions: Sender<Vec<i32>>, answers: Receiver<Offsets>) -> Self {
        let (standing, looked_at) = (BTreeMap::new(), Instant::now());
        Self { stall_after, questions, answers, standing, looked_at, asked: false }
    }

    /// To be called while nothing comes, with what comes next of each partition that is read.
    pub(crate) fn look(&mut self, now: Instant, taken: impl FnOnce() -> Offsets) -> Option<Stall> {
        if now.saturating_duration_since(self.looked_at) < self.stall_after / 2 {
            return None;
        }
        self.looked_at = now;
        let taken = taken();
        self.standing.retain(|partition, _| taken.contains_key(partition));
        let mut quiet = Vec::new();
        for (partition, next_offset) in taken {
            match self.standing.get_mut(&partition) {
                Some(standing) if standing.next_offset == next_offset => quiet.push(partition),
                _ => {
                    self.standing.insert(partition, Standing { next_offset, behind_since: None, tries: 0 });
                }
            }
        }
        let stall = self.answers.try_iter().last().and_then(|ends| {
            self.asked = false;
            self.judge(now, &quiet, &ends)
        });
        if stall.is_none() && !self.asked && !quiet.is_empty() {
            self.asked = self.questions.send(quiet).is_ok();
        }
        stall
    }

    fn judge(&mut self, now: Instant, quiet: &[i32], ends: &Offsets) -> Option<Stall> {
        let mut found = None;
        for partition in quiet {
            let Some(standing) = self.standing.get_mut(partition) else { continue };
            let end = ends.get(partition).copied().filter(|end| *end > standing.next_offset);
            let Some(end) = end else {
                standing.behind_since = None;
                continue;
            };
            let since = *standing.behind_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= self.stall_after {
                // What is assigned anew has as long again.
                standing.behind_since = None;
                standing.tries += 1;
                let (next_offset, tries) = (standing.next_offset, standing.tries);
                found = Some(Stall { partition: *partition, next_offset, end, tries });
            }
        }
        found
    }
}

/// Answers where partitions end until nobody asks any more; leaves out those of which the broker
/// does not say it.
pub(crate) fn answer<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    asked: &Receiver<Vec<i32>>,
    told: &Sender<Offsets>,
) {
    for partitions in asked {
        let mut ends = Offsets::new();
        for partition in partitions {
            match consumer.fetch_watermarks(topic, partition, ASK_TIMEOUT) {
                Ok((_, end)) => ends.insert(partition, end),
                // Whoever does not answer for one will not for the others.
                Err(_) => break,
            };
        }
        if told.send(ends).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Offsets, Stall, Watchdog};
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::time::{Duration, Instant};

    const SECOND: Duration = Duration::from_secs(1);

    struct Scene {
        watchdog: Watchdog,
        asked: Receiver<Vec<i32>>,
        told: Sender<Offsets>,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            let (questions, asked) = mpsc::channel();
            let (told, answers) = mpsc::channel();
            Self { watchdog: Watchdog::new(10 * SECOND, questions, answers), asked, told, now: Instant::now() }
        }

        /// Five seconds later; the broker answers with these ends, if it answers.
        fn after(&mut self, taken: &[(i32, i64)], ends: Option<&[(i32, i64)]>) -> Option<Stall> {
            self.now += 5 * SECOND;
            let stall = self.watchdog.look(self.now, || taken.iter().copied().collect());
            if let (Ok(_), Some(ends)) = (self.asked.try_recv(), ends) {
                self.told.send(ends.iter().copied().collect()).unwrap_or_default();
            }
            stall
        }
    }

    #[test]
    fn a_partition_of_which_nothing_comes_for_so_long_is_found_again_and_again() {
        let mut scene = Scene::new();
        let (taken, ends): (&[_], &[_]) = (&[(0, 7), (1, 3)], &[(0, 7), (1, 9)]);
        let stalls: Vec<_> = (0..12).filter_map(|_| scene.after(taken, Some(ends))).collect();
        let stall = |tries| Stall { partition: 1, next_offset: 3, end: 9, tries };
        assert!(stalls.starts_with(&[stall(1), stall(2)]), "{stalls:?}");
    }

    #[test]
    fn who_moves_or_has_everything_or_is_not_told_of_more_does_not_stall() {
        let mut moving = Scene::new();
        assert!((0..20).all(|next| moving.after(&[(0, next)], Some(&[(0, 100)])).is_none()));
        let mut complete = Scene::new();
        assert!((0..20).all(|_| complete.after(&[(0, 5)], Some(&[(0, 5)])).is_none()));
        let mut away = Scene::new();
        assert!((0..20).all(|_| away.after(&[(0, 5)], None).is_none()));
        // A broker that does not answer for a while begins a new count.
        let mut flapping = Scene::new();
        for _ in 0..5 {
            assert!(flapping.after(&[(0, 5)], Some(&[(0, 9)])).is_none());
            assert!(flapping.after(&[(0, 5)], Some(&[])).is_none());
        }
    }

    #[test]
    fn who_moves_after_a_stall_begins_anew() {
        let mut scene = Scene::new();
        let found = (0..6).find_map(|_| scene.after(&[(0, 5)], Some(&[(0, 9)])));
        assert_eq!(found.map(|stall| stall.tries), Some(1));
        assert!(scene.after(&[(0, 8)], Some(&[(0, 9)])).is_none());
        let found = (0..6).find_map(|_| scene.after(&[(0, 8)], Some(&[(0, 9)])));
        assert_eq!(found.map(|stall| stall.tries), Some(1));
    }
}
