//! A small bank in databases of its own, and a client of the router over them.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use event_store::LogReader;
use platform::http::Options;
use platform::{Permission, Principal};
use query_api::Api;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use test_place::Place;
use tower::ServiceExt;
use uuid::Uuid;

pub(crate) const CASH: Uuid = Uuid::from_u128(0xca);
pub(crate) const ANN: Uuid = Uuid::from_u128(0xa1);
pub(crate) const BOB: Uuid = Uuid::from_u128(0xb1);
pub(crate) const ANNS: Uuid = Uuid::from_u128(0xa2);
pub(crate) const BOBS: Uuid = Uuid::from_u128(0xb2);
/// A loan product, a loan and a saga, of which nothing but the first event has happened.
pub(crate) const LENT: Uuid = Uuid::from_u128(0xf1);
/// The applied position of the bank as it is founded.
pub(crate) const APPLIED: i64 = 100;

pub(crate) struct Bank {
    pub(crate) place: Place,
    /// As the projector.
    pub(crate) views: PgPool,
    /// As the owner of the log.
    pub(crate) log: PgPool,
    pub(crate) router: Router,
    sequences: BTreeMap<Uuid, i64>,
}

/// A reply.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn position(&self) -> u64 {
        self.headers["daybook-position"].to_str().unwrap().parse().unwrap()
    }
}

/// A transaction as a test writes it; amounts in minor units.
pub(crate) struct Booking<'a> {
    pub(crate) id: u128,
    pub(crate) kind: &'a str,
    pub(crate) booking_date: &'a str,
    pub(crate) value_date: &'a str,
    pub(crate) recorded_at: &'a str,
    pub(crate) position: i64,
    pub(crate) partition: i32,
    pub(crate) debit: Uuid,
    pub(crate) credit: Uuid,
    pub(crate) amount_minor: i64,
}

impl Bank {
    pub(crate) async fn found(name: &str) -> Self {
        let place = Place::fresh(&format!("query_{name}")).await.unwrap();
        let pool = |key: &str| PgPoolOptions::new().max_connections(3).connect_lazy(place.get(key)).unwrap();
        let (views, log) = (pool("DAYBOOK_VIEWS_OWNER_URL"), pool("DAYBOOK_LOG_OWNER_URL"));
        sqlx::raw_sql(FRAME).execute(&views).await.unwrap();
        let api = query_api::start(&place.config().unwrap()).unwrap();
        let router = layered(api);
        let mut bank = Self { place, views, log, router, sequences: BTreeMap::new() };
        for booking in BOOKINGS {
            bank.book(booking).await;
        }
        bank
    }

    /// The same databases through another router, whose reads of the log go through `log`.
    pub(crate) fn router_over(&self, log: PgPool) -> Router {
        let views = PgPoolOptions::new().connect_lazy(self.place.get("DAYBOOK_VIEWS_READER_URL")).unwrap();
        layered(Api::start(views, LogReader::new(log)))
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        get(&self.router, path).await
    }

    /// The body of a read that succeeds.
    pub(crate) async fn read(&self, path: &str) -> Value {
        let reply = self.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        reply.json()
    }

    /// All items of a list, walked page by page.
    pub(crate) async fn walk(&self, path: &str, limit: u32) -> Vec<Value> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let body = self.read(&format!("{path}{separator}limit={limit}{cursor}")).await;
            let page = body["items"].as_array().unwrap().clone();
            assert!(page.len() <= limit as usize);
            items.extend(page);
            match body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// The status and code of a read that is refused.
    pub(crate) async fn refused(&self, path: &str) -> (u16, String) {
        let reply = self.get(path).await;
        assert_eq!(reply.headers["content-type"], "application/problem+json", "{path}: {}", reply.text);
        (reply.status.as_u16(), reply.json()["code"].as_str().unwrap().to_owned())
    }

    pub(crate) async fn execute(&self, sql: &str) {
        sqlx::raw_sql(sql).execute(&self.views).await.unwrap();
    }

    /// Writes what the projector writes for a transaction with one debit and one credit.
    pub(crate) async fn book(&mut self, booking: &Booking<'_>) {
        let id = Uuid::from_u128(booking.id);
        let legs: Vec<Value> = [(1, booking.debit, "debit"), (2, booking.credit, "credit")]
            .map(|(leg, account_id, side)| {
                json!({"leg": leg, "account_id": account_id, "ledger_code": code(account_id), "side": side,
                       "currency": "CZK", "amount_minor": booking.amount_minor, "pending_minor": 0,
                       "posted_minor": booking.amount_minor, "reversed_minor": 0})
            })
            .to_vec();
        let sql = "INSERT INTO transactions (transaction_id, kind, status, booking_date, value_date, postings, legs, \
                   position, recorded_at, version, updated_position, updated_at, external_reference) \
                   VALUES ($1, $2, 'posted', $3::date, $4::date, 1, $5, $6, $7::timestamptz, 1, $6, $7::timestamptz, $8)";
        sqlx::query(sql)
            .bind(id)
            .bind(booking.kind)
            .bind(booking.booking_date)
            .bind(booking.value_date)
            .bind(json!(legs))
            .bind(booking.position)
            .bind(booking.recorded_at)
            .bind(format!("ref-{}", booking.id))
            .execute(&self.views)
            .await
            .unwrap();
        for (leg, account, side) in [(1, booking.debit, "debit"), (2, booking.credit, "credit")] {
            self.book_leg(booking, leg, account, side).await;
        }
    }

    async fn book_leg(&mut self, booking: &Booking<'_>, leg: i32, account: Uuid, side: &str) {
        let sql = "INSERT INTO legs VALUES ($1, 1, $2, $3, $4, $5, $6, 'CZK', NULL, $7::date, $8::date, $9::timestamptz, $10)";
        sqlx::query(sql)
            .bind(Uuid::from_u128(booking.id))
            .bind(leg)
            .bind(account)
            .bind(code(account))
            .bind(side)
            .bind(booking.amount_minor)
            .bind(booking.booking_date)
            .bind(booking.value_date)
            .bind(booking.recorded_at)
            .bind(booking.position)
            .execute(&self.views)
            .await
            .unwrap();
        let (debit, credit) = if side == "debit" { (booking.amount_minor, 0) } else { (0, booking.amount_minor) };
        for (table, key, value) in [
            ("ledger_daily", "ledger_code, currency", format!("'{}', 'CZK'", code(account))),
            ("account_daily", "account_id", format!("'{account}'")),
        ] {
            let sql = format!(
                "INSERT INTO {table} AS d ({key}, booking_date, value_date, partition, debit_minor, credit_minor) \
                 VALUES ({value}, '{}', '{}', {}, {debit}, {credit}) \
                 ON CONFLICT ({key}, booking_date, value_date, partition) DO UPDATE SET \
                 debit_minor = d.debit_minor + EXCLUDED.debit_minor, credit_minor = d.credit_minor + EXCLUDED.credit_minor",
                booking.booking_date, booking.value_date, booking.partition
            );
            self.execute(&sql).await;
        }
        if account != CASH {
            self.book_entry(booking, leg, account, side).await;
        }
    }

    async fn book_entry(&mut self, booking: &Booking<'_>, leg: i32, account: Uuid, side: &str) {
        let sequence = self.sequences.entry(account).or_insert(1);
        *sequence += 1;
        let change_minor = if side == "credit" { booking.amount_minor } else { -booking.amount_minor };
        let position = booking.position + i64::from(leg);
        let sql = format!(
            "UPDATE account_balances SET balance_minor = balance_minor + {change_minor}, version = {sequence}, \
             updated_position = {position}, updated_at = '{2}' WHERE account_id = '{account}'; \
             INSERT INTO entries SELECT '{account}', {sequence}, '{0}', 1, {leg}, '{1}', '{side}', {3}, '{4}', '{5}', \
             balance_minor, 0, '{2}', {position} FROM account_balances WHERE account_id = '{account}'",
            Uuid::from_u128(booking.id),
            booking.kind,
            booking.recorded_at,
            booking.amount_minor,
            booking.booking_date,
            booking.value_date,
        );
        self.execute(&sql).await;
    }

    pub(crate) async fn close(self) {
        self.views.close().await;
        self.log.close().await;
        drop(self.router);
        self.place.discard().await.unwrap();
    }
}

pub(crate) fn layered(api: Api) -> Router {
    let somebody = Principal::in_process("tester", Permission::ALL);
    platform::http::layers(query_api::router(api, None), Options::everybody_is(somebody))
}

pub(crate) async fn get(router: &Router, path: &str) -> Reply {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    Reply { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

fn code(account: Uuid) -> &'static str {
    if account == CASH { "1000" } else { "2100" }
}

/// Ann: 1000.00 - 200.00 - 50.00; Bob: 500.00 + 200.00; cash: 1000.00 + 500.00 - 50.00.
const BOOKINGS: &[Booking<'static>] = &[
    Booking {
        id: 1,
        kind: "deposit",
        booking_date: "2026-01-05",
        value_date: "2026-01-05",
        recorded_at: "2026-01-05 10:00:00+00",
        position: 20,
        partition: 0,
        debit: CASH,
        credit: ANNS,
        amount_minor: 100_000,
    },
    Booking {
        id: 2,
        kind: "deposit",
        booking_date: "2026-01-10",
        value_date: "2026-01-12",
        recorded_at: "2026-01-10 10:00:00+00",
        position: 30,
        partition: 1,
        debit: CASH,
        credit: BOBS,
        amount_minor: 50_000,
    },
    // Booked for an earlier day than the one before it.
    Booking {
        id: 3,
        kind: "transfer",
        booking_date: "2026-01-08",
        value_date: "2026-01-15",
        recorded_at: "2026-01-20 10:00:00+00",
        position: 40,
        partition: 0,
        debit: ANNS,
        credit: BOBS,
        amount_minor: 20_000,
    },
    Booking {
        id: 4,
        kind: "withdrawal",
        booking_date: "2026-01-31",
        value_date: "2026-02-01",
        recorded_at: "2026-01-31 10:00:00+00",
        position: 50,
        partition: 1,
        debit: ANNS,
        credit: CASH,
        amount_minor: 5_000,
    },
];

const FRAME: &str = "
INSERT INTO projections VALUES ('core', 'daybook.events', 2);
INSERT INTO projection_progress (projection, partition, next_offset, ordinal, watermark) VALUES
    ('core', 0, 60, 55, 100), ('core', 1, 50, 45, 100);
INSERT INTO currencies VALUES ('CZK', 2, 1, '2026-01-01');
INSERT INTO ledger_codes VALUES
    ('1000', 'Cash', 'asset', 'debit', false, 2, '2026-01-01'),
    ('2100', 'Members'' current accounts', 'liability', 'credit', true, 3, '2026-01-01');
INSERT INTO periods VALUES
    ('2026-01', '2026-01-01', '2026-01-31', 'closed', 4, '2026-01-01', '2026-02-03'),
    ('2026-02', '2026-02-01', '2026-02-28', 'open', 5, '2026-01-01', NULL);
INSERT INTO members VALUES
    ('00000000-0000-0000-0000-0000000000a1', 'M-1', 'person', 'verified', 'active', NULL, 'praha', '{\"name\": \"AQAB\"}',
     6, '2026-01-02 08:00:00.123456+00', 2, 15, '2026-01-03'),
    ('00000000-0000-0000-0000-0000000000b1', 'M-2', 'business', 'pending', 'suspended', 'court_order', NULL, '{}',
     7, '2026-01-02 09:00:00+00', 2, 16, '2026-01-03');
INSERT INTO accounts VALUES
    ('00000000-0000-0000-0000-0000000000ca', 'CASH', 'Cash desk', 'internal', 'CZK', 'debit', '1000', false, 0, NULL,
     '2026-01-01', 'open', false, false, false, NULL, NULL, 8, '2026-01-02'),
    ('00000000-0000-0000-0000-0000000000a2', '1001', NULL, 'current', 'CZK', 'credit', '2100', true, -50000, 'praha',
     '2026-01-01', 'open', true, false, false, 'court_order', NULL, 9, '2026-01-02'),
    ('00000000-0000-0000-0000-0000000000b2', '1002', NULL, 'savings', 'CZK', 'credit', '2100', true, 0, NULL,
     '2026-01-01', 'open', false, false, false, NULL, NULL, 10, '2026-01-02');
INSERT INTO account_balances VALUES
    ('00000000-0000-0000-0000-0000000000ca', 0, 1, 8, '2026-01-02'),
    ('00000000-0000-0000-0000-0000000000a2', 0, 1, 9, '2026-01-02'),
    ('00000000-0000-0000-0000-0000000000b2', 0, 1, 10, '2026-01-02');
INSERT INTO holders VALUES
    ('00000000-0000-0000-0000-0000000000a2', '00000000-0000-0000-0000-0000000000a1', 'owner', 9),
    ('00000000-0000-0000-0000-0000000000a2', '00000000-0000-0000-0000-0000000000b1', 'disponent', 12),
    ('00000000-0000-0000-0000-0000000000b2', '00000000-0000-0000-0000-0000000000b1', 'owner', 10);
INSERT INTO holds VALUES
    ('00000000-0000-0000-0000-0000000000a2', '00000000-0000-0000-0000-000000000005', 1, 'debit', 10000, NULL, 61),
    ('00000000-0000-0000-0000-0000000000a2', '00000000-0000-0000-0000-000000000006', 1, 'debit', 3000, '2026-01-09', 63),
    ('00000000-0000-0000-0000-0000000000a2', '00000000-0000-0000-0000-000000000007', 2, 'credit', 700, NULL, 65);
INSERT INTO transactions (transaction_id, kind, status, booking_date, value_date, expires_at, postings, legs, position,
    recorded_at, version, updated_position, updated_at, narrative) VALUES
    ('00000000-0000-0000-0000-000000000005', 'withdrawal', 'pending', '2026-01-31', '2026-01-31', NULL, 0,
     '[{\"leg\": 1, \"account_id\": \"00000000-0000-0000-0000-0000000000a2\", \"ledger_code\": \"2100\", \"side\": \"debit\",
        \"currency\": \"CZK\", \"amount_minor\": 10000, \"pending_minor\": 10000, \"posted_minor\": 0, \"reversed_minor\": 0},
       {\"leg\": 2, \"account_id\": \"00000000-0000-0000-0000-0000000000ca\", \"ledger_code\": \"1000\", \"side\": \"credit\",
        \"currency\": \"CZK\", \"amount_minor\": 10000, \"pending_minor\": 10000, \"posted_minor\": 0, \"reversed_minor\": 0}]',
     60, '2026-01-31 11:00:00+00', 1, 60, '2026-01-31 11:00:00+00', 'AQID');
INSERT INTO loan_products SELECT '00000000-0000-0000-0000-0000000000f1', 'PERSONAL', 'Personal loan', 'CZK', 'offered',
    NULL, 1, a, a, a, a, a, a, a, 70, '2026-01-02', 1, 70, '2026-01-02'
    FROM (VALUES ('00000000-0000-0000-0000-0000000000ca'::uuid)) v (a);
INSERT INTO loan_product_versions VALUES ('00000000-0000-0000-0000-0000000000f1', 1, '{}', 70, '2026-01-02');
INSERT INTO loans (loan_id, number, member_id, product_id, product_version, status, currency, principal_minor, annual_rate,
    instalments, terms, portfolio_account_id, interest_receivable_account_id, charges_receivable_account_id, applied_on,
    disbursement_attempts, schedule_version, principal_outstanding_minor, interest_outstanding_minor,
    fee_outstanding_minor, penalty_outstanding_minor, position, recorded_at, version, updated_position, updated_at)
    SELECT '00000000-0000-0000-0000-0000000000f1', 'L-1', '00000000-0000-0000-0000-0000000000a1',
    '00000000-0000-0000-0000-0000000000f1', 1, 'applied', 'CZK', 100, 12.5, 12, '{}', a, a, a, '2026-01-02', 0, 0, 0, 0, 0,
    0, 71, '2026-01-02', 1, 71, '2026-01-02' FROM (VALUES ('00000000-0000-0000-0000-0000000000ca'::uuid)) v (a);
INSERT INTO sagas (saga_id, process, status, step, entry, attempts, loan_id, position, started_at, version,
    updated_position, updated_at) VALUES ('00000000-0000-0000-0000-0000000000f1', 'collection', 'running', 'collect', 0, 0,
    '00000000-0000-0000-0000-0000000000f1', 72, '2026-01-02', 1, 72, '2026-01-02');
";
