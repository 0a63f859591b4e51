//! Sends jobs in lanes: those of one lane one after another in their order, lanes beside each
//! other, at most so many at once over all.
//!
//! Invariants: jobs start in their order wherever their lane is free, so the load runs through the
//! days as the bank did; a job of a lane never overtakes an earlier one; the first error ends it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;

use anyhow::Result;
use tokio::task::JoinSet;

/// Runs every job and hands each result to `done`, in the order in which they come.
pub(crate) async fn in_lanes<J, R, F, Fut>(
    jobs: impl IntoIterator<Item = (u64, J)>,
    in_flight: usize,
    run: F,
    mut done: impl FnMut(R) -> Result<()>,
) -> Result<()>
where
    J: Send + 'static,
    R: Send + 'static,
    F: Fn(J) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R>> + Send,
{
    let run = Arc::new(run);
    let mut jobs = jobs.into_iter();
    // A lane that is here has a job under way; its later jobs wait behind it.
    let mut waiting: HashMap<u64, VecDeque<J>> = HashMap::new();
    let mut under_way: JoinSet<(u64, Result<R>)> = JoinSet::new();
    let start = |under_way: &mut JoinSet<(u64, Result<R>)>, lane: u64, job: J| {
        let run = Arc::clone(&run);
        under_way.spawn(async move { (lane, run(job).await) });
    };
    loop {
        while under_way.len() < in_flight {
            let Some((lane, job)) = jobs.next() else { break };
            match waiting.entry(lane) {
                Entry::Occupied(mut busy) => busy.get_mut().push_back(job),
                Entry::Vacant(free) => {
                    free.insert(VecDeque::new());
                    start(&mut under_way, lane, job);
                }
            }
        }
        let Some(finished) = under_way.join_next().await else { return Ok(()) };
        let (lane, result) = finished?;
        match waiting.get_mut(&lane).and_then(VecDeque::pop_front) {
            Some(job) => start(&mut under_way, lane, job),
            None => {
                waiting.remove(&lane);
            }
        }
        done(result?)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn a_lane_keeps_its_order_and_no_more_than_so_many_run_at_once() {
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(Mutex::new(Vec::new()));
        let jobs = (0..200u64).map(|number| (number % 7, number));
        let (running_in, most_in, ended_in) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&ended));
        let run = move |number: u64| {
            let (running, most, ended) = (Arc::clone(&running_in), Arc::clone(&most_in), Arc::clone(&ended_in));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Uneven, so that lanes overtake each other.
                tokio::time::sleep(Duration::from_micros(number * 37 % 500)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                ended.lock().unwrap().push(number);
                Ok(number)
            }
        };
        let mut seen = 0;
        in_lanes(jobs, 4, run, |_| {
            seen += 1;
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(seen, 200);
        assert_eq!(most.load(Ordering::SeqCst), 4);
        let ended = ended.lock().unwrap();
        for lane in 0..7 {
            let of_lane: Vec<u64> = ended.iter().copied().filter(|number| number % 7 == lane).collect();
            assert!(of_lane.is_sorted(), "{of_lane:?}");
        }
    }

    #[tokio::test]
    async fn the_first_error_ends_it() {
        let run = |number: u64| async move { if number == 3 { Err(anyhow::anyhow!("three")) } else { Ok(number) } };
        let result = in_lanes((0..100u64).map(|n| (n, n)), 1, run, |_| Ok(())).await;
        assert_eq!(result.unwrap_err().to_string(), "three");
    }
}
