//! From the log to the rows, with nothing going wrong.

use crate::bank::Bank;
use crate::place::{Place, eventually, run_projector, without_repetitions};

#[tokio::test(flavor = "multi_thread")]
async fn every_event_arrives_in_order_and_once() {
    let mut place = Place::new(6).await;
    let mut bank = Bank::open(&place.log, 20).await;
    let (mut relay, projector) = (place.relay(), place.projector());
    bank.business(400).await;
    let status = place.applied(bank.head).await;
    assert_eq!(status.applied_position, bank.head);
    assert_eq!(status.events(), bank.head);
    assert_eq!(status.lag(bank.head), 0);
    relay.until(|status| status.published == bank.head && status.in_flight() == 0).await;

    // Kafka: every event of the log, byte for byte, in order; every partition knows how far it is.
    let mut all = Vec::new();
    for (partition, records) in place.records().await {
        let (events, mark) = without_repetitions(&records);
        assert_eq!(mark, bank.head, "the watermark of partition {partition}");
        assert!(events.is_sorted_by_key(|event| event.position));
        assert_eq!(status.partitions[partition as usize].ordinal, events.len() as u64);
        for event in &events {
            let key = event.stream.to_string();
            assert_eq!(platform::kafka::murmur2_partition(key.as_bytes(), 6), partition);
        }
        all.extend(events);
    }
    all.sort_by_key(|event| event.position);
    let log = event_store::LogReader::new(place.log.clone()).events_after(0, 100_000).await.unwrap();
    assert_eq!(all, log);

    // The rows: what the bank knows.
    for (account_id, balance_minor) in &bank.balances {
        let sql = format!("SELECT balance_minor FROM account_states WHERE account_id = '{account_id}'");
        assert_eq!(place.ask(&sql).await, balance_minor.to_string());
        let sum = format!(
            "SELECT COALESCE(sum(CASE side WHEN 'credit' THEN amount_minor ELSE -amount_minor END), 0) FROM legs \
             WHERE account_id = '{account_id}'"
        );
        assert_eq!(place.ask(&sum).await, balance_minor.to_string());
        let line = format!(
            "SELECT COALESCE((SELECT balance_minor FROM entries WHERE account_id = '{account_id}' \
             ORDER BY sequence DESC LIMIT 1), 0)"
        );
        assert_eq!(place.ask(&line).await, balance_minor.to_string());
    }
    let cash = format!("SELECT balance_minor FROM account_states WHERE account_id = '{}'", bank.cash);
    assert_eq!(place.ask(&cash).await, bank.balances.values().sum::<i64>().to_string());
    assert_eq!(place.ask("SELECT sum(debit_minor - credit_minor) FROM ledger_daily").await, "0");
    assert_eq!(place.ask("SELECT sum(debit - credit) FROM analysis.trial_balance").await, "0.00");
    assert_eq!(place.ask("SELECT count(*) FROM parked_events").await, "0");
    assert_eq!(
        place.ask("SELECT COALESCE(sum(amount_minor), 0) FROM holds").await,
        place
            .ask("SELECT COALESCE(sum((l->>'pending_minor')::bigint), 0) FROM transactions, jsonb_array_elements(legs) l WHERE l->>'leg' = '1'")
            .await
    );
    assert_eq!(
        place.ask("SELECT count(*) FROM transactions WHERE reverses_id IS NOT NULL").await,
        place.ask("SELECT count(*) FROM transactions WHERE reversed_by <> '{}'").await
    );
    assert_eq!(place.ask("SELECT count(*) FROM members WHERE kyc = 'verified' AND version = 2").await, "20");

    relay.stop().await;
    projector.stop().await;
    assert_eq!(place.digest().await, place.replayed(bank.head).await);
    place.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn projectors_share_the_partitions_and_one_takes_over() {
    let mut place = Place::new(6).await;
    let mut bank = Bank::open(&place.log, 10).await;
    let relay = place.relay();
    let (mut first, mut second) = (place.projector(), place.projector());
    first.until(|status| status.partitions.len() == 3).await;
    second.until(|status| status.partitions.len() == 3).await;
    bank.business(200).await;
    place.applied(bank.head).await;
    assert!(first.status.borrow().events > 0 && second.status.borrow().events > 0);
    second.kill().await;
    bank.business(100).await;
    first.until(|status| status.partitions.len() == 6).await;
    place.applied(bank.head).await;
    first.stop().await;
    relay.stop().await;
    assert_eq!(place.digest().await, place.replayed(bank.head).await);
    place.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_owners_of_the_same_partitions_do_no_harm() {
    let mut place = Place::new(3).await;
    let mut bank = Bank::open(&place.log, 10).await;
    let relay = place.relay();
    // Of different groups, so each believes that all partitions are its own.
    let other = projector::Options { group: format!("{}-other", place.prefix), ..place.projector_options() };
    let (first, second) = (place.projector(), run_projector(other));
    for _ in 0..10 {
        bank.business(20).await;
    }
    place.applied(bank.head).await;
    first.stop().await;
    second.stop().await;
    relay.stop().await;
    assert_eq!(place.digest().await, place.replayed(bank.head).await);
    place.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_gives_the_same_rows_again_while_events_come() {
    let mut place = Place::new(4).await;
    let mut bank = Bank::open(&place.log, 10).await;
    let (relay, projector) = (place.relay(), place.projector());
    bank.business(200).await;
    place.applied(bank.head).await;
    let before = place.digest().await;
    projector::rebuild::rebuild(&place.views, projector::CORE).await.unwrap();
    place.applied(bank.head).await;
    assert_eq!(place.digest().await, before);
    projector::rebuild::rebuild(&place.views, projector::CORE).await.unwrap();
    bank.business(100).await;
    projector::rebuild::rebuild(&place.views, projector::CORE).await.unwrap();
    bank.business(100).await;
    place.applied(bank.head).await;
    assert!(projector::rebuild::rebuild(&place.views, "nothing").await.is_err());
    projector.stop().await;
    relay.stop().await;
    assert_eq!(place.digest().await, place.replayed(bank.head).await);
    place.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_keeps_its_rows_through_a_rebuild() {
    let place = Place::new(2).await;
    let mut bank = Bank::open(&place.log, 5).await;
    let (relay, projector) = (place.relay(), place.projector());
    bank.business(30).await;
    place.applied(bank.head).await;
    let mut reader = place.views.begin().await.unwrap();
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *reader).await.unwrap();
    let (applied,): (i64,) = sqlx::query_as("SELECT applied_position('core')").fetch_one(&mut *reader).await.unwrap();
    assert_eq!(applied as u64, bank.head);
    projector::rebuild::rebuild(&place.views, projector::CORE).await.unwrap();
    let (accounts,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM account_states").fetch_one(&mut *reader).await.unwrap();
    assert!(accounts as usize >= bank.balances.len(), "{accounts} accounts");
    reader.rollback().await.unwrap();
    place.applied(bank.head).await;
    projector.stop().await;
    relay.stop().await;
    place.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_leaves_nothing_of_the_old_rows_unless_somebody_is_at_the_table() {
    let place = Place::new(2).await;
    let mut bank = Bank::open(&place.log, 5).await;
    let (relay, projector) = (place.relay(), place.projector());
    bank.business(30).await;
    place.applied(bank.head).await;
    let before = place.digest().await;
    projector.stop().await;
    let mut other = place.views.begin().await.unwrap();
    sqlx::query("SET LOCAL idle_in_transaction_session_timeout = 0").execute(&mut *other).await.unwrap();
    sqlx::query("LOCK TABLE entries IN SHARE UPDATE EXCLUSIVE MODE").execute(&mut *other).await.unwrap();
    projector::rebuild::rebuild(&place.views, projector::CORE).await.unwrap();
    for table in ["transactions", "legs", "account_daily"] {
        assert_eq!(place.ask(&format!("SELECT pg_relation_size('{table}')")).await, "0", "{table}");
    }
    assert_ne!(place.ask("SELECT pg_relation_size('entries')").await, "0");
    other.rollback().await.unwrap();
    let projector = place.projector();
    place.applied(bank.head).await;
    assert_eq!(place.digest().await, before);
    projector.stop().await;
    relay.stop().await;
    place.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_accounts_have_no_sums_once_their_code_is_known() {
    let place = Place::new(3).await;
    let mut bank = Bank::open(&place.log, 5).await;
    let (relay, projector) = (place.relay(), place.projector());
    bank.business(5).await;
    place.applied(bank.head).await;
    // Every partition knows the code now, whatever was there before.
    let sums_of = |guarded: bool| {
        format!(
            "SELECT COALESCE(sum(debit_minor + credit_minor), 0) FROM account_daily JOIN accounts USING (account_id) \
             WHERE guarded = {guarded}"
        )
    };
    let (members, internal) = (place.ask(&sums_of(true)).await, place.ask(&sums_of(false)).await);
    bank.business(20).await;
    place.applied(bank.head).await;
    assert_eq!(place.ask(&sums_of(true)).await, members);
    assert_ne!(place.ask(&sums_of(false)).await, internal);
    projector.stop().await;
    relay.stop().await;
    place.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_of_the_same_name_do_not_share_a_group() {
    let place = Place::new(4).await;
    let other = Place::new(4).await;
    let mut bank = Bank::open(&place.log, 5).await;
    let relay = place.relay();
    // As on another server: the same name of the group, the same topic, another database.
    let (first, here) = (place.projector(), place.projector_options());
    let elsewhere = projector::Options { views_url: other.projector_options().views_url, ..here };
    let second = run_projector(elsewhere);
    bank.business(30).await;
    place.applied(bank.head).await;
    other.applied(bank.head).await;
    assert_eq!(place.digest().await, other.digest().await);
    first.stop().await;
    second.stop().await;
    relay.stop().await;
    other.discard().await;
    place.discard().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_told_of_every_commit() {
    let place = Place::new(3).await;
    let mut bank = Bank::open(&place.log, 3).await;
    let (relay, projector) = (place.relay(), place.projector());
    place.applied(bank.head).await;
    let mut listener =
        sqlx::postgres::PgListener::connect(place.config.views_reader().unwrap().expose()).await.unwrap();
    listener.listen(projector::APPLIED_CHANNEL).await.unwrap();
    bank.business(10).await;
    eventually("the announcement of the last position", async || {
        let told = listener.recv().await.unwrap();
        assert_eq!(told.payload(), projector::CORE);
        let applied = place.ask("SELECT applied_position('core')").await;
        (applied == bank.head.to_string()).then_some(())
    })
    .await;
    // Both roles for readers may read what is theirs.
    let reader = platform::postgres::pool(place.config.views_reader().unwrap().expose(), 1, "test").unwrap();
    let analyst = platform::postgres::pool(place.config.analyst().unwrap().expose(), 1, "test").unwrap();
    sqlx::query("SELECT * FROM account_states").fetch_all(&reader).await.unwrap();
    sqlx::query("SELECT applied_position('core')").fetch_all(&reader).await.unwrap();
    let views: Vec<(String,)> =
        sqlx::query_as("SELECT table_name::text FROM information_schema.views WHERE table_schema = 'analysis'")
            .fetch_all(&analyst)
            .await
            .unwrap();
    assert!(views.len() >= 10, "{views:?}");
    for (view,) in views {
        sqlx::query(&format!("SELECT * FROM analysis.{view}")).fetch_all(&analyst).await.unwrap();
    }
    sqlx::query("SELECT * FROM public.members").fetch_all(&analyst).await.unwrap_err();
    projector.stop().await;
    relay.stop().await;
    reader.close().await;
    analyst.close().await;
    place.discard().await;
}
