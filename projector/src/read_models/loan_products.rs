//! Loan products, and every version of their terms.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use domain::Event;
use domain::product::{LoanAccounts, LoanProductEvent, ProductTerms};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ApplyError, Fact, ReadModel, missing, rows};

#[derive(Default)]
pub(super) struct LoanProducts<'a> {
    changes: Vec<(Fact<'a>, &'a LoanProductEvent)>,
}

/// A row of `loan_products`.
#[derive(Serialize, Deserialize)]
struct Row {
    product_id: Uuid,
    code: String,
    name: String,
    currency: String,
    status: String,
    status_reason: Option<String>,
    terms_version: u32,
    #[serde(flatten)]
    accounts: LoanAccounts,
    position: i64,
    defined_at: DateTime<Utc>,
    version: i64,
    updated_position: i64,
    updated_at: DateTime<Utc>,
}

/// A row of `loan_product_versions`.
#[derive(Serialize)]
struct Version<'a> {
    product_id: Uuid,
    terms_version: u32,
    terms: &'a ProductTerms,
    position: i64,
    recorded_at: DateTime<Utc>,
}

const LOAD: &str = "SELECT row_to_json(p)::text FROM loan_products p WHERE product_id = ANY($1)";
const UPSERT: &str = "INSERT INTO loan_products SELECT * FROM json_populate_recordset(NULL::loan_products, $1::json) \
     ON CONFLICT (product_id) DO UPDATE SET status = EXCLUDED.status, status_reason = EXCLUDED.status_reason, \
     terms_version = EXCLUDED.terms_version, version = EXCLUDED.version, \
     updated_position = EXCLUDED.updated_position, updated_at = EXCLUDED.updated_at";
const INSERT_VERSIONS: &str = "INSERT INTO loan_product_versions \
     SELECT * FROM json_populate_recordset(NULL::loan_product_versions, $1::json)";

impl Row {
    /// The row after a first event; `None` for one that is not a first event.
    fn first(fact: &Fact<'_>, event: &LoanProductEvent) -> Option<Self> {
        let LoanProductEvent::LoanProductDefined { code, name, currency, accounts, .. } = event else { return None };
        Some(Self {
            product_id: fact.id(),
            code: code.as_str().to_owned(),
            name: name.as_str().to_owned(),
            currency: currency.code().to_owned(),
            status: "offered".to_owned(),
            status_reason: None,
            terms_version: 1,
            accounts: *accounts,
            position: fact.position(),
            defined_at: fact.recorded_at(),
            version: fact.sequence(),
            updated_position: fact.position(),
            updated_at: fact.recorded_at(),
        })
    }

    fn fold(&mut self, fact: &Fact<'_>, event: &LoanProductEvent) {
        self.version = fact.sequence();
        self.updated_position = fact.position();
        self.updated_at = fact.recorded_at();
        match event {
            LoanProductEvent::LoanProductDefined { .. } => {}
            LoanProductEvent::LoanProductRevised { version, .. } => self.terms_version = *version,
            LoanProductEvent::LoanProductRetired { reason } => {
                "retired".clone_into(&mut self.status);
                self.status_reason = reason.as_ref().map(|reason| reason.as_str().to_owned());
            }
        }
    }
}

impl<'a> Version<'a> {
    fn of(fact: &Fact<'a>, event: &'a LoanProductEvent) -> Option<Self> {
        let (terms_version, terms) = match event {
            LoanProductEvent::LoanProductDefined { terms, .. } => (1, terms),
            LoanProductEvent::LoanProductRevised { version, terms } => (*version, terms),
            LoanProductEvent::LoanProductRetired { .. } => return None,
        };
        let (product_id, position) = (fact.id(), fact.position());
        Some(Self { product_id, terms_version, terms, position, recorded_at: fact.recorded_at() })
    }
}

impl<'a> ReadModel<'a> for LoanProducts<'a> {
    const TABLES: &'static [&'static str] = &["loan_products", "loan_product_versions"];

    fn collect(&mut self, fact: &Fact<'a>) {
        if let Event::LoanProduct(event) = fact.event {
            self.changes.push((*fact, event));
        }
    }

    async fn flush_in_tx(&mut self, connection: &mut PgConnection) -> Result<(), ApplyError> {
        let versions: Vec<_> = self.changes.iter().filter_map(|(fact, event)| Version::of(fact, event)).collect();
        let first = self.changes.iter().filter_map(|(fact, event)| Row::first(fact, event));
        let mut products: BTreeMap<Uuid, Row> = first.map(|row| (row.product_id, row)).collect();
        let known: BTreeSet<Uuid> =
            self.changes.iter().map(|(fact, _)| fact.id()).filter(|id| !products.contains_key(id)).collect();
        let known: Vec<Uuid> = known.into_iter().collect();
        let old: Vec<Row> = rows::load(connection, LOAD, &known).await?;
        products.extend(old.into_iter().map(|row| (row.product_id, row)));
        missing("loan product", &known, |id| products.contains_key(id))?;
        for (fact, event) in self.changes.drain(..) {
            if let Some(row) = products.get_mut(&fact.id()) {
                row.fold(&fact, event);
            }
        }
        rows::write(connection, UPSERT, &products.into_values().collect::<Vec<_>>()).await?;
        rows::write(connection, INSERT_VERSIONS, &versions).await
    }
}
