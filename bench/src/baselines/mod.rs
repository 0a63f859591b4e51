//! What Daybook is compared with, in the same run on the same server: each as its users would run it, in process and
//! without HTTP, which is generous to them.
//!
//! A baseline makes databases of its own, checks its books after it was measured, and drops what it made.

#[cfg(feature = "cala")]
mod cala;
mod closed_loop;
mod database;
mod raw;
mod sql_function;
mod stock;

use std::time::Duration;

use futures::future::BoxFuture;

use crate::figures::Figures;
use crate::workload::Distribution;

/// What a baseline is to do.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The administrator's URL of the server, any database; the baseline makes its own there.
    pub(crate) admin_url: String,
    /// How many accounts, each with money on it before the measurement begins.
    pub(crate) accounts: usize,
    /// How many ask at once, each the next when it has its answer.
    pub(crate) clients: usize,
    /// For how long it is measured, after some warm-up of the baseline's own choice.
    pub(crate) measure: Duration,
    /// Between which accounts; `workload::Draw` draws them.
    pub(crate) distribution: Distribution,
}

/// One case of a baseline.
pub(crate) struct Baseline {
    /// As on the command line: `base-…`.
    pub(crate) name: &'static str,
    /// What it is, in a line.
    pub(crate) about: &'static str,
    /// How many ask at once.
    pub(crate) clients: usize,
    /// Between which accounts.
    pub(crate) distribution: Distribution,
    /// Runs it. An error, a failed check of its books too, fails the run: it gives no figure.
    pub(crate) run: fn(Setup) -> BoxFuture<'static, anyhow::Result<Figures>>,
}

/// Every case, in the order of the report.
pub(crate) const BASELINES: &[Baseline] = &[
    Baseline {
        name: "base-stock",
        about: "cqrs-es with postgres-es, event-store mode, three commands a transfer",
        clients: 32,
        distribution: Distribution::Uniform,
        run: |setup| Box::pin(stock::run(setup)),
    },
    Baseline {
        name: "base-stock-10-hot",
        about: "the same between ten accounts, conflicts tried again",
        clients: 32,
        distribution: Distribution::TenHot,
        run: |setup| Box::pin(stock::run(setup)),
    },
    Baseline {
        name: "base-sql-function",
        about: "a ledger in one SQL function with row locks",
        clients: 32,
        distribution: Distribution::Uniform,
        run: |setup| Box::pin(sql_function::run(setup)),
    },
    Baseline {
        name: "base-sql-function-256",
        about: "the same with 256 clients on 64 connections",
        clients: 256,
        distribution: Distribution::Uniform,
        run: |setup| Box::pin(sql_function::run(setup)),
    },
    Baseline {
        name: "base-sql-function-10-hot",
        about: "the same between ten accounts",
        clients: 32,
        distribution: Distribution::TenHot,
        run: |setup| Box::pin(sql_function::run(setup)),
    },
    #[cfg(feature = "cala")]
    Baseline {
        name: "base-cala",
        about: "cala-ledger, one transfer a call",
        clients: 32,
        distribution: Distribution::Uniform,
        run: |setup| Box::pin(cala::run::<1>(setup)),
    },
    #[cfg(feature = "cala")]
    Baseline {
        name: "base-cala-10-hot",
        about: "the same between ten accounts",
        clients: 32,
        distribution: Distribution::TenHot,
        run: |setup| Box::pin(cala::run::<1>(setup)),
    },
    #[cfg(feature = "cala")]
    Baseline {
        name: "base-cala-bulk",
        about: "cala-ledger, a hundred transfers a call, all or none of them",
        clients: 8,
        distribution: Distribution::Uniform,
        run: |setup| Box::pin(cala::run::<100>(setup)),
    },
    raw_insert(
        "base-raw-3000",
        "array inserts of 3,000 events of the bytes of transfers, one connection",
        1,
        |setup| Box::pin(raw::run(setup, raw::Raw { batch: 3_000, stream_index: true })),
    ),
    raw_insert("base-raw-300", "the same, 300 events in each insert", 1, |setup| {
        Box::pin(raw::run(setup, raw::Raw { batch: 300, stream_index: true }))
    }),
    raw_insert("base-raw-3000-4", "the same, 3,000 events in each insert, four connections", 4, |setup| {
        Box::pin(raw::run(setup, raw::Raw { batch: 3_000, stream_index: true }))
    }),
    raw_insert("base-raw-300-4", "the same, 300 events in each insert, four connections", 4, |setup| {
        Box::pin(raw::run(setup, raw::Raw { batch: 300, stream_index: true }))
    }),
    raw_insert("base-raw-3000-bare", "3,000 events in each insert, one connection, no index by stream", 1, |setup| {
        Box::pin(raw::run(setup, raw::Raw { batch: 3_000, stream_index: false }))
    }),
    raw_insert("base-raw-300-bare", "300 events in each insert, one connection, no index by stream", 1, |setup| {
        Box::pin(raw::run(setup, raw::Raw { batch: 300, stream_index: false }))
    }),
    raw_insert(
        "base-raw-3000-4-bare",
        "3,000 events in each insert, four connections, no index by stream",
        4,
        |setup| Box::pin(raw::run(setup, raw::Raw { batch: 3_000, stream_index: false })),
    ),
    raw_insert("base-raw-300-4-bare", "300 events in each insert, four connections, no index by stream", 4, |setup| {
        Box::pin(raw::run(setup, raw::Raw { batch: 300, stream_index: false }))
    }),
];

/// Array inserts: its clients are connections.
const fn raw_insert(
    name: &'static str,
    about: &'static str,
    clients: usize,
    run: fn(Setup) -> BoxFuture<'static, anyhow::Result<Figures>>,
) -> Baseline {
    Baseline { name, about, clients, distribution: Distribution::Uniform, run }
}
