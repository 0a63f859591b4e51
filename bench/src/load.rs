//! The load generator: many connections on one thread, either on a schedule or each as fast as it is answered.
//!
//! On a schedule (open loop) the n-th request is meant to begin at a fixed moment, whatever became of those before it,
//! and its latency counts from that moment to its reply. A server that stalls therefore shows in the percentiles with
//! all the requests that it kept waiting: there is no coordinated omission. Without a schedule (closed loop) each
//! connection sends its next request when it has its reply: that finds capacity, and its latencies say little else.
//!
//! Invariants: every request that was due in the measured time is counted, answered or not; what did not succeed is
//! counted by its status; the totals cover the warm-up too, so that the books can be checked against them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::LocalSet;

use crate::figures::{Figures, Latencies, micros};
use crate::http::Connection;

/// What a connection sends, and what it makes of replies.
pub(crate) trait Work {
    /// Appends the next request to the empty buffer.
    fn request(&mut self, out: &mut Vec<u8>);

    /// Looks at a reply of any status, and says how much was done by it: usually one thing if it is in the 200s.
    fn reply(&mut self, status: u16, _body: &[u8]) -> u64 {
        u64::from(is_success(status))
    }
}

/// One connection.
pub(crate) struct Lane {
    pub(crate) to: SocketAddr,
    /// The address to connect from, where one would not have ports enough.
    pub(crate) from: Option<IpAddr>,
    pub(crate) work: Box<dyn Work + Send>,
}

/// When requests begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Each connection's next when it has its reply.
    Closed,
    /// At fixed moments, over all connections.
    Open { per_second: u64 },
}

/// Connections that share a pace and are counted together.
pub(crate) struct Group {
    pub(crate) pace: Pace,
    pub(crate) lanes: Vec<Lane>,
}

/// How long to load, and how long to wait for the last replies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) warm_up: Duration,
    pub(crate) measure: Duration,
    pub(crate) drain: Duration,
}

/// What a group has counted.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Things done by replies that came in the measured time.
    pub(crate) done: u64,
    /// Replies of that time which were no success, by status; `unanswered`, or how the connection broke, where there
    /// was none.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Of requests that were meant to begin in the measured time and succeeded, or were never answered.
    pub(crate) latencies: Latencies,
    /// Of those that succeeded, from their sending: what the server made of them, without the wait for a connection.
    pub(crate) from_sending: Latencies,
    /// Of those that were refused.
    pub(crate) refusals: Latencies,
    /// Refusals that said when to come again.
    pub(crate) told_to_wait: u64,
    /// By status, everything since the first request; 0 is for no answer.
    pub(crate) all: BTreeMap<u16, u64>,
    /// Things done since the first request.
    pub(crate) all_done: u64,
    pub(crate) pace: Pace,
    pub(crate) lanes: u64,
    pub(crate) measured: Duration,
}

impl Load {
    fn new(group: &Group, times: Times) -> anyhow::Result<Self> {
        Ok(Self {
            done: 0,
            errors: BTreeMap::new(),
            latencies: Latencies::new()?,
            from_sending: Latencies::new()?,
            refusals: Latencies::new()?,
            told_to_wait: 0,
            all: BTreeMap::new(),
            all_done: 0,
            pace: group.pace,
            lanes: group.lanes.len().try_into()?,
            measured: times.measure,
        })
    }

    /// The figures that the generator itself knows.
    pub(crate) fn figures(&self, unit: &str) -> Figures {
        let mut more = BTreeMap::new();
        if let Some(refused) = self.refusals.percentiles() {
            more.insert("refusal_p99_us".to_owned(), refused.p99_us);
            more.insert("refusals_with_retry_after".to_owned(), self.told_to_wait);
            if let Some(accepted) = self.from_sending.percentiles() {
                more.insert("accepted_from_sending_p50_us".to_owned(), accepted.p50_us);
                more.insert("accepted_from_sending_p99_us".to_owned(), accepted.p99_us);
            }
        }
        Figures {
            unit: unit.to_owned(),
            done: self.done,
            elapsed_us: micros(self.measured),
            asked_per_second: match self.pace {
                Pace::Open { per_second } => Some(per_second),
                Pace::Closed => None,
            },
            clients: self.lanes,
            errors: self.errors.clone(),
            latency: self.latencies.percentiles(),
            more,
            ..Figures::default()
        }
    }

    /// Requests with no answer: whether they were done is not known.
    pub(crate) fn unknown(&self) -> u64 {
        self.all.get(&0).copied().unwrap_or(0)
    }
}

/// Whether a status is in the 200s.
pub(crate) fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// A load under way.
pub(crate) struct Running {
    /// When the first request was due.
    pub(crate) began: Instant,
    loads: oneshot::Receiver<anyhow::Result<Vec<Load>>>,
}

/// Connects all lanes, then begins.
pub(crate) async fn start(groups: Vec<Group>, times: Times) -> anyhow::Result<Running> {
    let (begun, began) = oneshot::channel();
    let (ended, loads) = oneshot::channel();
    std::thread::Builder::new().name("generator".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = runtime.context("the generator's runtime").and_then(|runtime| {
            let local = LocalSet::new();
            local.block_on(&runtime, drive(groups, times, begun))
        });
        // Nobody waits for it any more only where the run has failed.
        let _ = ended.send(result);
    })?;
    match began.await {
        Ok(began) => Ok(Running { began, loads }),
        // It ended before it began: its result says why.
        Err(_) => match loads.await.context("the generator has gone")? {
            Err(error) => Err(error),
            Ok(_) => anyhow::bail!("the generator ended before it began"),
        },
    }
}

impl Running {
    /// Waits for the last reply, or until no more are waited for.
    pub(crate) async fn end(self) -> anyhow::Result<Vec<Load>> {
        self.loads.await.context("the generator has gone")?
    }
}

/// What the lanes of a group share.
struct Shared {
    load: RefCell<Load>,
    /// The number of the next request.
    next: RefCell<u64>,
    /// Requests that are due and not begun.
    due: Arc<Semaphore>,
    span: Span,
}

/// The measured time.
#[derive(Clone, Copy)]
struct Span {
    began: Instant,
    measured_from: Instant,
    measured_to: Instant,
    given_up_at: Instant,
}

impl Span {
    fn holds(&self, moment: Instant) -> bool {
        (self.measured_from..self.measured_to).contains(&moment)
    }
}

async fn drive(groups: Vec<Group>, times: Times, begun: oneshot::Sender<Instant>) -> anyhow::Result<Vec<Load>> {
    let mut connected = Vec::new();
    for group in groups {
        let load = Load::new(&group, times)?;
        let mut lanes = Vec::new();
        for lane in group.lanes {
            let connection = Connection::open(lane.to, lane.from).await;
            let connection = connection.with_context(|| format!("connecting to {}", lane.to))?;
            lanes.push((lane, connection));
        }
        connected.push((load, lanes));
    }
    let began = Instant::now();
    let measured_from = began + times.warm_up;
    let measured_to = measured_from + times.measure;
    let span = Span { began, measured_from, measured_to, given_up_at: measured_to + times.drain };
    let stop = Arc::new(AtomicBool::new(false));
    let (mut tasks, mut all) = (Vec::new(), Vec::new());
    for (load, lanes) in connected {
        let shared =
            Rc::new(Shared { next: RefCell::new(0), due: Arc::new(Semaphore::new(0)), span, load: RefCell::new(load) });
        if let Pace::Open { per_second } = shared.load.borrow().pace {
            pace(per_second, span, lanes.len(), shared.due.clone(), stop.clone())?;
        }
        for (lane, connection) in lanes {
            tasks.push(tokio::task::spawn_local(work(lane, connection, shared.clone())));
        }
        all.push(shared);
    }
    // The caller is the one that waits; if it has gone, the load ends all the same.
    let _ = begun.send(began);
    for task in tasks {
        task.await.context("a lane of the generator has panicked")?;
    }
    stop.store(true, Ordering::Relaxed);
    all.iter().for_each(|shared| shared.count_unbegun());
    Ok(all.iter().map(|shared| shared.load.borrow().clone()).collect())
}

/// The moment at which the n-th request is due.
fn due_at(began: Instant, per_second: u64, number: u64) -> Instant {
    let nanos = u128::from(number) * 1_000_000_000 / u128::from(per_second.max(1));
    began + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// How many requests are due by then.
fn due_by(began: Instant, per_second: u64, now: Instant) -> u64 {
    let due = now.saturating_duration_since(began).as_nanos() * u128::from(per_second) / 1_000_000_000;
    u64::try_from(due).unwrap_or(u64::MAX)
}

/// Lets requests begin when they are due. A thread of its own, because the runtime's timers go by milliseconds; it
/// wakes at most every 150 µs, and what that adds is within the latencies.
fn pace(per_second: u64, span: Span, lanes: usize, due: Arc<Semaphore>, stop: Arc<AtomicBool>) -> io::Result<()> {
    const GRAIN: Duration = Duration::from_micros(150);
    let last = due_by(span.began, per_second, span.measured_to);
    std::thread::Builder::new().name("schedule".into()).spawn(move || {
        let mut released = 0;
        while released < last && !stop.load(Ordering::Relaxed) {
            let by_now = (due_by(span.began, per_second, Instant::now()) + 1).min(last);
            due.add_permits(usize::try_from(by_now - released).unwrap_or(0));
            released = by_now;
            let next = due_at(span.began, per_second, released);
            std::thread::sleep(next.saturating_duration_since(Instant::now()).max(GRAIN));
        }
        // So that every lane looks once more, and sees that there is nothing left.
        due.add_permits(lanes);
    })?;
    Ok(())
}

/// One connection's work until there is no more.
async fn work(mut lane: Lane, connection: Connection, shared: Rc<Shared>) {
    let mut connection = Some(connection);
    let mut request = Vec::with_capacity(1_024);
    while let Some(meant) = shared.begin().await {
        let left = shared.span.given_up_at;
        if connection.is_none() {
            connection = reconnect(&lane, left).await;
        }
        let Some(open) = connection.as_mut() else {
            shared.count(meant, Err("unanswered"), 0);
            continue;
        };
        request.clear();
        lane.work.request(&mut request);
        let sent = Instant::now();
        // The limit is looked at only after the end: while the load runs it is always further away.
        match tokio::time::timeout_at(left.into(), open.exchange(&request)).await {
            Ok(Ok(reply)) => {
                let done = lane.work.reply(reply.status, reply.body);
                shared.count(meant, Ok((reply.status, reply.retry_after)), done);
                if is_success(reply.status) {
                    shared.served(meant, sent.elapsed());
                }
                if reply.closes {
                    connection = None;
                }
            }
            Ok(Err(error)) => {
                connection = None;
                shared.count(meant, Err(broken(error.kind())), 0);
            }
            Err(_) => {
                connection = None;
                shared.count(meant, Err("unanswered"), 0);
            }
        }
    }
}

/// What a connection that broke before the reply is counted as.
fn broken(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::UnexpectedEof => "closed",
        io::ErrorKind::ConnectionReset => "reset",
        io::ErrorKind::BrokenPipe => "closed_before",
        _ => "broken",
    }
}

async fn reconnect(lane: &Lane, until: Instant) -> Option<Connection> {
    while Instant::now() < until {
        if let Ok(connection) = Connection::open(lane.to, lane.from).await {
            return Some(connection);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}

impl Shared {
    /// Waits until a request is due, and gives the moment that it counts from; none when there are no more.
    async fn begin(&self) -> Option<Instant> {
        let pace = self.load.borrow().pace;
        match pace {
            Pace::Closed => Some(Instant::now()).filter(|now| *now < self.span.measured_to),
            Pace::Open { per_second } => {
                let permit = tokio::time::timeout_at(self.span.given_up_at.into(), self.due.acquire()).await;
                permit.ok()?.ok()?.forget();
                if Instant::now() >= self.span.given_up_at {
                    return None;
                }
                let number = self.next.replace_with(|next| *next + 1);
                let due = due_at(self.span.began, per_second, number);
                (due < self.span.measured_to).then_some(due)
            }
        }
    }

    /// Counts one that was meant for a moment: its status and whether it says when to come again, or what there was
    /// instead of an answer.
    fn count(&self, meant: Instant, answer: Result<(u16, bool), &'static str>, done: u64) {
        let now = Instant::now();
        let (status, retry_after) = answer.unwrap_or((0, false));
        let mut load = self.load.borrow_mut();
        *load.all.entry(status).or_default() += 1;
        load.all_done += done;
        let latency = now.saturating_duration_since(meant);
        if self.span.holds(if load.pace == Pace::Closed { now } else { meant }) {
            if is_success(status) || status == 0 {
                load.latencies.record(latency);
            } else {
                load.refusals.record(latency);
            }
        }
        if self.span.holds(now) {
            load.done += done;
        }
        // Without an answer it counts whenever that was given up.
        if !is_success(status) && (self.span.holds(now) || (status == 0 && self.span.holds(meant))) {
            load.told_to_wait += u64::from(retry_after);
            let code = answer.map_or_else(str::to_owned, |(status, _)| status.to_string());
            *load.errors.entry(code).or_default() += 1;
        }
    }

    /// Counts how long the server took for one that was meant for a moment.
    fn served(&self, meant: Instant, took: Duration) {
        if self.span.holds(meant) {
            self.load.borrow_mut().from_sending.record(took);
        }
    }

    /// Requests that were due and that no connection was free for until the end.
    fn count_unbegun(&self) {
        let pace = self.load.borrow().pace;
        let Pace::Open { per_second } = pace else { return };
        let last = due_by(self.span.began, per_second, self.span.measured_to);
        let mut load = self.load.borrow_mut();
        for number in *self.next.borrow()..last {
            let due = due_at(self.span.began, per_second, number);
            if self.span.holds(due) {
                load.latencies.record(self.span.given_up_at.saturating_duration_since(due));
                *load.errors.entry("never_begun".to_owned()).or_default() += 1;
            }
        }
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
