//! The aims, as data: what figure must be at least or at most how much.

/// Where a figure is found: the scenario and its part.
pub(crate) type At = (&'static str, &'static str);

/// A figure of the report.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Figure {
    /// Things done a second.
    PerSecond(At),
    /// Events written a second.
    EventsPerSecond(At),
    /// The 95th or 99th percentile in microseconds.
    P95Us(At),
    P99Us(At),
    /// Errors in a million.
    ErrorsPerMillion(At),
    /// One of the scenario's own.
    More(At, &'static str),
    /// The same where more was asked for than can be done, on purpose.
    MoreAtAnyRate(At, &'static str),
    /// The first in percent of the second.
    Percent(&'static Figure, &'static Figure),
}

/// What is asked of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtLeast(u64),
    AtMost(u64),
}

impl Bound {
    pub(crate) fn holds(self, value: u64) -> bool {
        match self {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
        }
    }
}

/// One aim.
pub(crate) struct Aim {
    pub(crate) what: &'static str,
    pub(crate) figure: Figure,
    pub(crate) bound: Bound,
    /// The unit of figure and bound.
    pub(crate) unit: &'static str,
}

const fn aim(what: &'static str, figure: Figure, bound: Bound, unit: &'static str) -> Aim {
    Aim { what, figure, bound, unit }
}

use Bound::{AtLeast, AtMost};
use Figure::{ErrorsPerMillion, EventsPerSecond, More, MoreAtAnyRate, P95Us, P99Us, PerSecond, Percent};

const UNIFORM: Figure = PerSecond(("transfers-10k", "capacity"));
/// From its sending, what was accepted of a load of three times the capacity.
const OVERLOADED_P99: Figure = MoreAtAnyRate(("overload", "three times that"), "accepted_from_sending_p99_us");
const TEN_HOT: Figure = PerSecond(("transfers-10-hot", "capacity"));

/// Every aim, in the order of the issue.
pub(crate) const AIMS: &[Aim] = &[
    aim("transfers, one a request, 10,000 accounts", UNIFORM, AtLeast(20_000), "/s"),
    aim("their p99 at 20,000/s", P99Us(("transfers-10k", "at the aim")), AtMost(20_000), "µs"),
    aim("over a million accounts", PerSecond(("transfers-1m", "capacity")), AtLeast(12_000), "/s"),
    aim("ten hot accounts, of uniform", Percent(&TEN_HOT, &UNIFORM), AtLeast(90), "%"),
    aim("bulk, 1,000 a request, 8 clients", PerSecond(("bulk", "1000 a request, 8 clients")), AtLeast(60_000), "/s"),
    aim("whole way, sustained", More(("whole-way", "sustained"), "sustained_per_second"), AtLeast(8_000), "/s"),
    aim("lag p99 at 8,000/s", More(("whole-way", "8000/s"), "lag_p99_us"), AtMost(500_000), "µs"),
    aim("of the SQL function", Percent(&UNIFORM, &PerSecond(("base-sql-function", "capacity"))), AtLeast(200), "%"),
    aim("of stock cqrs-es", Percent(&UNIFORM, &PerSecond(("base-stock", "capacity"))), AtLeast(800), "%"),
    aim("of cala-ledger", Percent(&UNIFORM, &PerSecond(("base-cala", "capacity"))), AtLeast(2_000), "%"),
    aim(
        "append (in process), of raw array inserts",
        Percent(&EventsPerSecond(("store-in-process", "uniform")), &PerSecond(("base-raw-3000", "capacity"))),
        AtLeast(60),
        "%",
    ),
    aim(
        "cost a transfer on the grown log, of the small one",
        More(("growth", "grown"), "cost_percent"),
        AtMost(120),
        "%",
    ),
    aim("balance queries", PerSecond(("reads-balance", "capacity")), AtLeast(20_000), "/s"),
    aim("their p99 at 20,000/s", P99Us(("reads-balance", "at the aim")), AtMost(10_000), "µs"),
    aim("audit verify", PerSecond(("verify", "verify")), AtLeast(300_000), "events/s"),
    aim("projection rebuild", PerSecond(("rebuild", "rebuild")), AtLeast(50_000), "events/s"),
    aim(
        "p99 of what is accepted at three times the capacity, of that at capacity",
        Percent(&OVERLOADED_P99, &P99Us(("overload", "capacity"))),
        AtMost(200),
        "%",
    ),
    aim("the seeds: p99 of what is accepted then", OVERLOADED_P99, AtMost(500_000), "µs"),
    aim("the seeds: requests", PerSecond(("transfers-10k", "capacity")), AtLeast(10_000), "/s"),
    aim("the seeds: p95 at 80 % of capacity", P95Us(("transfers-10k", "at 80 %")), AtMost(200_000), "µs"),
    aim("the seeds: p99 at 80 % of capacity", P99Us(("transfers-10k", "at 80 %")), AtMost(500_000), "µs"),
    aim("the seeds: errors at 80 %", ErrorsPerMillion(("transfers-10k", "at 80 %")), AtMost(1_000), "ppm"),
    aim("the seeds: connections", More(("idle-50k", "with idle connections"), "idle_connections"), AtLeast(50_000), ""),
];
