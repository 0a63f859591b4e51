//! The fold of a loan's events.

use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::calc::AnnualRate;
use crate::ids::{AccountId, LoanProductId, MemberId, TransactionId};
use crate::loan::{Allocation, Amounts, LoanEvent, LoanTerms};
use crate::money::{Currency, Money};
use crate::product::{Component, LoanAccounts};

/// Where a loan stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoanStatus {
    /// Asked for.
    #[default]
    Applied,
    /// To be paid out.
    Approved,
    /// Not given.
    Rejected,
    /// On its way to another bank.
    Disbursing,
    /// Paid out and owed.
    Active,
    /// Nothing is owed any more.
    Repaid,
    /// Given up.
    WrittenOff,
    /// The file is closed.
    Closed,
}

impl LoanStatus {
    /// Every status.
    pub const ALL: [LoanStatus; 8] = [
        LoanStatus::Applied,
        LoanStatus::Approved,
        LoanStatus::Rejected,
        LoanStatus::Disbursing,
        LoanStatus::Active,
        LoanStatus::Repaid,
        LoanStatus::WrittenOff,
        LoanStatus::Closed,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            LoanStatus::Applied => "applied",
            LoanStatus::Approved => "approved",
            LoanStatus::Rejected => "rejected",
            LoanStatus::Disbursing => "disbursing",
            LoanStatus::Active => "active",
            LoanStatus::Repaid => "repaid",
            LoanStatus::WrittenOff => "written_off",
            LoanStatus::Closed => "closed",
        }
    }
}

impl std::fmt::Display for LoanStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// An instalment with what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instalment {
    /// Its number, from 1.
    pub number: u16,
    /// When it is due.
    pub due_on: NaiveDate,
    /// What is due.
    pub due: Amounts,
    /// What is paid.
    pub paid: Amounts,
    /// How much of its interest is recognised as income, in minor units.
    pub recognised_interest_minor: i64,
}

impl Instalment {
    /// What is left to pay of that component, in minor units.
    pub const fn outstanding_minor(&self, component: Component) -> i64 {
        self.due.of(component) - self.paid.of(component)
    }

    /// What is left to pay, in minor units.
    pub fn total_outstanding_minor(&self) -> i128 {
        self.due.total_minor() - self.paid.total_minor()
    }

    /// Interest that is recognised and not paid, in minor units.
    pub const fn interest_receivable_minor(&self) -> i64 {
        self.recognised_interest_minor - self.paid.interest_minor
    }
}

/// A payment that was received.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repayment {
    /// Its transaction.
    pub transaction_id: TransactionId,
    /// From when it counts.
    pub value_date: NaiveDate,
    /// What it settled.
    pub allocation: Vec<Allocation>,
    /// Whether it was undone.
    pub reversed: bool,
}

/// A payout on its way to another bank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Payout {
    /// The pending transaction that holds the money.
    pub transaction_id: TransactionId,
    /// From when interest counts.
    pub disbursed_on: NaiveDate,
    /// When the first instalment is due, if not one period later.
    pub first_due_on: Option<NaiveDate>,
}

/// A loan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Loan {
    /// Where it stands.
    pub status: LoanStatus,
    /// Who owes it.
    pub member_id: MemberId,
    /// The product.
    pub product_id: LoanProductId,
    /// The terms that it keeps.
    pub terms: LoanTerms,
    /// Where it posts.
    pub accounts: LoanAccounts,
    /// The currency.
    pub currency: Currency,
    /// How much was asked for, approved or paid out last, in minor units.
    pub principal_minor: i64,
    /// The nominal annual rate, in percent.
    pub annual_rate: AnnualRate,
    /// In how many instalments it is paid back.
    pub instalment_count: u16,
    /// The member's account for collections and surplus.
    pub settlement_account_id: Option<AccountId>,
    /// How many payouts to another bank were started.
    pub disbursement_attempts: u32,
    /// The payout that is on its way.
    pub payout: Option<Payout>,
    /// From when interest counts; none before it is paid out.
    pub disbursed_on: Option<NaiveDate>,
    /// The version of the schedule.
    pub schedule_version: u32,
    /// The schedule with what became of it.
    pub instalments: Vec<Instalment>,
    /// The payments, in their order.
    pub repayments: Vec<Repayment>,
}

impl Loan {
    /// Applies an event.
    pub fn fold(&mut self, event: &LoanEvent) {
        match event {
            LoanEvent::LoanApplied { .. } => self.applied(event),
            LoanEvent::LoanApproved { principal_minor, annual_rate, instalments, .. } => {
                self.status = LoanStatus::Approved;
                self.principal_minor = *principal_minor;
                self.annual_rate = *annual_rate;
                self.instalment_count = *instalments;
            }
            LoanEvent::LoanRejected { .. } => self.status = LoanStatus::Rejected,
            LoanEvent::LoanDisbursementStarted { attempt, transaction_id, disbursed_on, first_due_on, .. } => {
                self.status = LoanStatus::Disbursing;
                self.disbursement_attempts = *attempt;
                self.payout = Some(Payout {
                    transaction_id: *transaction_id,
                    disbursed_on: *disbursed_on,
                    first_due_on: *first_due_on,
                });
            }
            LoanEvent::LoanDisbursementCancelled { .. } => {
                self.status = LoanStatus::Approved;
                self.payout = None;
            }
            LoanEvent::LoanDisbursed { disbursed_on, schedule_version, schedule, .. } => {
                self.status = LoanStatus::Active;
                self.payout = None;
                self.disbursed_on = Some(*disbursed_on);
                self.schedule_version = *schedule_version;
                self.instalments = schedule
                    .iter()
                    .map(|scheduled| Instalment {
                        number: scheduled.number,
                        due_on: scheduled.due_on,
                        due: Amounts {
                            principal_minor: scheduled.principal_minor,
                            interest_minor: scheduled.interest_minor,
                            ..Amounts::default()
                        },
                        paid: Amounts::default(),
                        recognised_interest_minor: 0,
                    })
                    .collect();
            }
            LoanEvent::InterestAccrued { instalments, .. } => {
                for accrued in instalments {
                    if let Some(instalment) = self.instalment_mut(accrued.instalment) {
                        instalment.recognised_interest_minor += accrued.amount_minor;
                    }
                }
            }
            LoanEvent::LoanCharged { instalment, component, amount_minor, .. } => {
                if let Some(instalment) = self.instalment_mut(*instalment) {
                    *instalment.due.of_mut(*component) += amount_minor;
                }
            }
            LoanEvent::RepaymentReceived { transaction_id, value_date, allocation, .. } => {
                self.settle(allocation, 1);
                self.repayments.push(Repayment {
                    transaction_id: *transaction_id,
                    value_date: *value_date,
                    allocation: allocation.clone(),
                    reversed: false,
                });
            }
            LoanEvent::RepaymentReversed { repayment_id, .. } => self.unsettle(*repayment_id),
            LoanEvent::LoanRepaid { .. } => self.status = LoanStatus::Repaid,
            LoanEvent::LoanWrittenOff { .. } => self.status = LoanStatus::WrittenOff,
            LoanEvent::LoanClosed { .. } => self.status = LoanStatus::Closed,
        }
    }

    fn applied(&mut self, event: &LoanEvent) {
        if let LoanEvent::LoanApplied {
            member_id,
            product_id,
            terms,
            accounts,
            currency,
            principal_minor,
            annual_rate,
            instalments,
            settlement_account_id,
            ..
        } = event
        {
            self.status = LoanStatus::Applied;
            self.member_id = *member_id;
            self.product_id = *product_id;
            self.terms.clone_from(terms);
            self.accounts = *accounts;
            self.currency = *currency;
            self.principal_minor = *principal_minor;
            self.annual_rate = *annual_rate;
            self.instalment_count = *instalments;
            self.settlement_account_id = *settlement_account_id;
        }
    }

    fn settle(&mut self, allocation: &[Allocation], sign: i64) {
        for settled in allocation {
            if let Some(instalment) = self.instalment_mut(settled.instalment) {
                *instalment.paid.of_mut(settled.component) += sign * settled.amount_minor;
                instalment.recognised_interest_minor += sign * settled.income_minor;
            }
        }
    }

    fn unsettle(&mut self, repayment_id: TransactionId) {
        let Some(at) = self.repayments.iter().position(|repayment| repayment.transaction_id == repayment_id) else {
            return;
        };
        self.repayments[at].reversed = true;
        let allocation = std::mem::take(&mut self.repayments[at].allocation);
        self.settle(&allocation, -1);
        self.repayments[at].allocation = allocation;
        self.status = LoanStatus::Active;
    }

    fn instalment_mut(&mut self, number: u16) -> Option<&mut Instalment> {
        self.instalments.iter_mut().find(|instalment| instalment.number == number)
    }

    /// What is owed, by component: all instalments, due or not.
    pub fn outstanding(&self) -> Amounts {
        self.outstanding_of(|_| true)
    }

    /// What is owed of instalments due until then, that day included.
    pub fn due_until(&self, day: NaiveDate) -> Amounts {
        self.outstanding_of(|instalment| instalment.due_on <= day)
    }

    fn outstanding_of(&self, which: impl Fn(&Instalment) -> bool) -> Amounts {
        let mut owed = Amounts::default();
        for instalment in self.instalments.iter().filter(|instalment| which(instalment)) {
            for component in Component::ALL {
                *owed.of_mut(component) += instalment.outstanding_minor(component);
            }
        }
        owed
    }

    /// Interest that is recognised and not paid, in minor units: the loan's share of the receivable account.
    pub fn interest_receivable_minor(&self) -> i64 {
        self.instalments.iter().map(Instalment::interest_receivable_minor).sum()
    }

    /// The earliest date on which something is due and not paid.
    pub fn next_due_on(&self) -> Option<NaiveDate> {
        self.instalments.iter().find(|instalment| instalment.total_outstanding_minor() > 0).map(|next| next.due_on)
    }

    /// An amount in the loan's currency, cut to what can be told.
    pub fn money(&self, amount_minor: i128) -> Money {
        Money::new(i64::try_from(amount_minor).unwrap_or(i64::MAX), self.currency)
    }
}
