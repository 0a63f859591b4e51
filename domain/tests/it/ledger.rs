//! Currencies, the chart, periods, and what they mean for bookings.

use domain::Rejection;
use domain::ledger::{LedgerClass, LedgerCommand};
use domain::{Side, StreamId};

use crate::desk::{Desk, booked_on, date, define_code, period, transfer, word};
use crate::desk::{currency, czk};

#[test]
fn the_class_of_a_code_gives_its_normal_side() {
    let mut desk = Desk::bare();
    for (ledger_code, class, side) in [
        ("1", LedgerClass::Asset, Side::Debit),
        ("2", LedgerClass::Liability, Side::Credit),
        ("3", LedgerClass::Equity, Side::Credit),
        ("4", LedgerClass::Income, Side::Credit),
        ("5", LedgerClass::Expense, Side::Debit),
    ] {
        desk.ok(define_code(ledger_code, class, false));
        assert_eq!(desk.shelf.ledger.codes[&word(ledger_code)].normal_side, side);
    }
}

#[test]
fn only_what_brings_something_into_being_says_so() {
    let mut desk = Desk::new();
    assert!(desk.ok(LedgerCommand::DefineCurrency { currency: currency("PLN") }).creates);
    let plan = desk.ok(LedgerCommand::ClosePeriod { period: period("2026-06") });
    assert!(!plan.creates, "a close changes a period that is there");
    assert_eq!(plan.subject, StreamId::LEDGER);
}

#[test]
fn periods_touch_but_do_not_overlap() {
    let mut desk = Desk::new();
    let open = |id: &str, from: &str, to: &str| LedgerCommand::OpenPeriod {
        period: period(id),
        from: date(from),
        to: date(to),
    };
    desk.ok(open("2026-07", "2026-07-01", "2026-07-31"));
    desk.ok(open("one-day", "2026-08-01", "2026-08-01"));
    for (from, to) in [
        ("2026-07-31", "2026-08-31"),
        ("2025-12-31", "2026-01-01"),
        ("2026-02-10", "2026-02-11"),
        ("2020-01-01", "2030-01-01"),
    ] {
        assert!(matches!(desk.refused(open("x", from, to)), Rejection::PeriodOverlaps { .. }), "{from} {to}");
    }
    assert_eq!(desk.refused(open("x", "2027-01-02", "2027-01-01")), Rejection::PeriodEndsBeforeStart);
}

#[test]
fn a_booking_date_is_past_or_today_and_in_an_open_period() {
    let mut desk = Desk::new();
    let (from, to) = (desk.savings(0, 10_000), desk.savings(0, 0));
    let mut on = |day: &str| {
        let transaction_id = desk.fresh_transaction();
        desk.submit(booked_on(transfer(transaction_id, from, to, czk(1)), day)).map(|_| ())
    };
    assert_eq!(on("2026-03-16"), Ok(()));
    assert_eq!(on("2026-02-01"), Ok(()));
    assert_eq!(
        on("2026-03-17"),
        Err(Rejection::BookingDateInFuture { booking_date: date("2026-03-17"), business_date: date("2026-03-16") })
    );
    assert_eq!(on("2026-01-31"), Err(Rejection::PeriodClosed { period: period("2026-01") }));
    assert_eq!(on("2025-12-31"), Err(Rejection::NoPeriod { booking_date: date("2025-12-31") }));
}

#[test]
fn a_closed_period_takes_no_posting_of_what_was_pending_and_no_reversal() {
    let mut desk = Desk::new();
    let (from, to) = (desk.savings(0, 10_000), desk.savings(0, 0));
    let posted = desk.transferred(from, to, 100);
    let pending = desk.held(from, to, 100, None);
    desk.ok(LedgerCommand::ClosePeriod { period: period("2026-03") });
    let closed = Rejection::PeriodClosed { period: period("2026-03") };
    assert_eq!(desk.refused(crate::desk::post_pending(pending, None, true)), closed);
    let reversal = desk.fresh_transaction();
    assert_eq!(desk.refused(crate::desk::reverse(reversal, posted, None)), closed);
    // The correction lands in a period that is open.
    desk.ok(booked_on(crate::desk::reverse(reversal, posted, None), "2026-02-28"));
    desk.ok(booked_on(crate::desk::post_pending(pending, None, true), "2026-02-28"));
    crate::invariants::check_desk(&desk);
}
