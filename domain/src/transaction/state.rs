//! The fold of a transaction's events.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::AccountId;
use crate::money::{Currency, Side};
use crate::transaction::{Leg, TransactionEvent, TransactionKind};
use crate::words::LedgerCode;

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransactionStatus {
    /// Its legs are held; some of it may be posted already.
    Pending,
    /// Posted, nothing pending.
    #[default]
    Posted,
    /// What was left of it was given up.
    Voided,
    /// What was left of it expired.
    Expired,
}

/// A leg with what became of it, in minor units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransactionLeg {
    /// Its number, from 1.
    pub leg: u16,
    /// The account.
    pub account_id: AccountId,
    /// The account's code in the chart of accounts.
    pub ledger_code: LedgerCode,
    /// Debit or credit.
    pub side: Side,
    /// The currency.
    pub currency: Currency,
    /// The loan component that it settles.
    pub component: Option<String>,
    /// Still pending.
    pub pending_minor: i64,
    /// Posted.
    pub posted_minor: i64,
    /// Reversed.
    pub reversed_minor: i64,
}

/// A transaction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    /// What kind.
    pub kind: TransactionKind,
    /// Where it stands.
    pub status: TransactionStatus,
    /// The business date it was posted on, or made pending for; none before its first event.
    pub booking_date: Option<NaiveDate>,
    /// From when interest counts, or would.
    pub value_date: Option<NaiveDate>,
    /// Its legs.
    pub legs: Vec<TransactionLeg>,
    /// How many postings there were.
    pub postings: u32,
    /// From when on it cannot be posted.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether it undoes another.
    pub is_reversal: bool,
}

impl Transaction {
    /// Applies an event.
    pub fn fold(&mut self, event: &TransactionEvent) {
        match event {
            TransactionEvent::TransactionPosted { kind, legs, reverses, booking_date, value_date, .. } => {
                self.kind = *kind;
                (self.booking_date, self.value_date) = (Some(*booking_date), Some(*value_date));
                self.status = TransactionStatus::Posted;
                self.postings = 1;
                self.is_reversal = reverses.is_some();
                self.legs = legs.iter().map(|leg| opened(leg, 0, leg.amount_minor)).collect();
            }
            TransactionEvent::TransactionPending { kind, legs, expires_at, booking_date, value_date, .. } => {
                self.kind = *kind;
                (self.booking_date, self.value_date) = (Some(*booking_date), Some(*value_date));
                self.status = TransactionStatus::Pending;
                self.expires_at = *expires_at;
                self.legs = legs.iter().map(|leg| opened(leg, leg.amount_minor, 0)).collect();
            }
            TransactionEvent::PendingPosted { posting, legs, is_final, .. } => {
                self.postings = *posting;
                for posted in legs {
                    if let Some(leg) = self.legs.iter_mut().find(|leg| leg.leg == posted.leg) {
                        leg.pending_minor -= posted.amount_minor;
                        leg.posted_minor += posted.amount_minor;
                    }
                }
                if *is_final {
                    self.end(TransactionStatus::Posted);
                }
            }
            TransactionEvent::PendingVoided { .. } => self.end(TransactionStatus::Voided),
            TransactionEvent::PendingExpired { .. } => self.end(TransactionStatus::Expired),
            TransactionEvent::TransactionReversed { legs, .. } => {
                for reversed in legs {
                    if let Some(leg) = self.legs.iter_mut().find(|leg| leg.leg == reversed.leg) {
                        leg.reversed_minor = reversed.reversed_minor;
                    }
                }
            }
        }
    }

    fn end(&mut self, status: TransactionStatus) {
        self.status = status;
        for leg in &mut self.legs {
            leg.pending_minor = 0;
        }
    }

    /// The leg with that number.
    pub fn leg(&self, number: u16) -> Option<&TransactionLeg> {
        self.legs.iter().find(|leg| leg.leg == number)
    }
}

fn opened(leg: &Leg, pending_minor: i64, posted_minor: i64) -> TransactionLeg {
    TransactionLeg {
        leg: leg.leg,
        account_id: leg.account_id,
        ledger_code: leg.ledger_code.clone(),
        side: leg.side,
        currency: leg.currency,
        component: leg.component.clone(),
        pending_minor,
        posted_minor,
        reversed_minor: 0,
    }
}
