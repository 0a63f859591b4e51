//! Stock postgres-es reads every stream of ours and comes to the same aggregate.

use std::collections::BTreeSet;

use cqrs_es::persist::{PersistedEventRepository, PersistedEventStore};
use cqrs_es::{Aggregate, AggregateContext, EventStore};
use domain::rejection::RejectionRecord;
use domain::{Account, Ledger, Member, StreamKind, Transaction};
use postgres_es::PostgresEventRepository;
use sqlx::PgPool;

use crate::bank::{Bank, transfer};

async fn stock<A: Aggregate + PartialEq + std::fmt::Debug>(pool: &PgPool, id: &str) -> (A, usize) {
    let repository = PostgresEventRepository::new(pool.clone());
    let events = repository.get_events::<A>(id).await.unwrap().len();
    let store = PersistedEventStore::<_, A>::new_event_store(PostgresEventRepository::new(pool.clone()));
    let mut context = store.load_aggregate(id).await.unwrap();
    (context.aggregate().clone_by_json(), events)
}

trait CloneByJson {
    fn clone_by_json(&self) -> Self;
}

impl<A: Aggregate> CloneByJson for A {
    fn clone_by_json(&self) -> Self {
        serde_json::from_value(serde_json::to_value(self).unwrap()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_postgres_es_reads_every_stream_and_gets_the_same_aggregate() {
    let bank = Bank::open("stock", 3).await;
    for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 2)] {
        let _ = bank.send(transfer(bank.accounts[from], bank.accounts[to], 40_000)).await.unwrap();
    }
    let _ = bank.send(transfer(bank.accounts[0], bank.accounts[1], 999_999_999)).await.unwrap();
    let pool = PgPool::connect(bank.place.get("DAYBOOK_LOG_READER_URL")).await.unwrap();
    let events = bank.store.reader().events_after(0, 10_000).await.unwrap();
    let streams: BTreeSet<_> = events.iter().map(|event| event.stream).collect();
    for stream in &streams {
        let ours: Vec<_> = events.iter().filter(|event| event.stream == *stream).collect();
        let id = stream.id_text();
        macro_rules! same {
            ($state:ty, $variant:ident) => {{
                let (theirs, count) = stock::<$state>(&pool, &id).await;
                let mut folded = <$state>::default();
                for recorded in &ours {
                    if let domain::Event::$variant(event) = recorded.event().unwrap() {
                        folded.fold(&event);
                    }
                }
                assert_eq!((theirs, count), (folded, ours.len()), "{stream}");
            }};
        }
        match stream.kind {
            StreamKind::Member => same!(Member, Member),
            StreamKind::Account => same!(Account, Account),
            StreamKind::Transaction => same!(Transaction, Transaction),
            StreamKind::Ledger => same!(Ledger, Ledger),
            StreamKind::Rejection => same!(RejectionRecord, Rejection),
            StreamKind::LoanProduct => same!(domain::LoanProduct, LoanProduct),
            StreamKind::Loan => same!(domain::Loan, Loan),
            StreamKind::Saga => same!(domain::Saga, Saga),
        }
    }
    assert!(streams.len() >= 14, "{} streams were compared", streams.len());
    bank.close().await;
}
