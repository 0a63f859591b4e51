//! What a payment settles: instalments in the order of their due dates, and within each the
//! components in the order of the loan's terms.

use crate::loan::{Allocation, Amounts, Loan};
use crate::product::Component;

/// Spreads an amount over what is owed, instalments that are not due yet included.
/// Returns what it settles and what is left of it, in minor units.
pub(super) fn allocate(loan: &Loan, amount_minor: i64) -> (Vec<Allocation>, i64) {
    let mut left_minor = amount_minor;
    let mut allocation = Vec::new();
    for instalment in &loan.instalments {
        for component in &loan.terms.allocation_order {
            let settled_minor = left_minor.min(instalment.outstanding_minor(*component));
            if settled_minor <= 0 {
                continue;
            }
            let receivable_minor = instalment.interest_receivable_minor().max(0);
            let income_minor = match component {
                // What was accrued is a receivable already; the rest is earned by being paid.
                Component::Interest => settled_minor - settled_minor.min(receivable_minor),
                Component::Penalty | Component::Fee | Component::Principal => 0,
            };
            left_minor -= settled_minor;
            allocation.push(Allocation {
                instalment: instalment.number,
                component: *component,
                amount_minor: settled_minor,
                income_minor,
            });
        }
        if left_minor == 0 {
            break;
        }
    }
    (allocation, left_minor)
}

/// An allocation's sums by component, and how much of the interest is earned with it, in minor units.
pub(super) fn sums(allocation: &[Allocation]) -> (Amounts, i64) {
    let mut amounts = Amounts::default();
    let mut income_minor = 0;
    for settled in allocation {
        *amounts.of_mut(settled.component) += settled.amount_minor;
        income_minor += settled.income_minor;
    }
    (amounts, income_minor)
}

/// What is left of what is owed once `paid` is paid; with `paid` negated, what is owed again.
pub(super) fn less(owed: Amounts, paid: Amounts) -> Amounts {
    Amounts {
        principal_minor: owed.principal_minor - paid.principal_minor,
        interest_minor: owed.interest_minor - paid.interest_minor,
        fee_minor: owed.fee_minor - paid.fee_minor,
        penalty_minor: owed.penalty_minor - paid.penalty_minor,
    }
}

/// The sum of both.
pub(super) fn plus(owed: Amounts, more: Amounts) -> Amounts {
    Amounts {
        principal_minor: owed.principal_minor + more.principal_minor,
        interest_minor: owed.interest_minor + more.interest_minor,
        fee_minor: owed.fee_minor + more.fee_minor,
        penalty_minor: owed.penalty_minor + more.penalty_minor,
    }
}
