//! One aggregate at a time, with the framework's given-when-then.

use chrono::{DateTime, TimeZone, Utc};
use cqrs_es::test::TestFramework;
use domain::account::{AccountCommand, AccountEvent, FreezeScope, Holder, HolderRole, Product};
use domain::forward::{Request, Shelf};
use domain::ledger::{LedgerClass, LedgerCommand, LedgerEvent};
use domain::loan::{LoanEvent, LoanStatus};
use domain::member::{MemberCommand, MemberEvent, MemberKind};
use domain::product::Component;
use domain::transaction::{Leg, LegReversal, TransactionCommand, TransactionEvent, TransactionKind};
use domain::{
    Account, AccountId, Context, Event, Ledger, Loan, Member, MemberId, Rejection, Reservation, ReservationKind, Side,
    StreamId, Transaction, TransactionId,
};
use uuid::Uuid;

use crate::desk::{
    IntoCommand, currency, czk, date, fold_into, freeze, legs, number, open_savings, owner, part, period, post_pending,
    reason, reverse, transfer, void, word,
};
use crate::lending::{Lending, approve, close_loan, confirm};

const MEMBER: MemberId = MemberId(Uuid::from_u128(1));
const OTHER: MemberId = MemberId(Uuid::from_u128(2));
const ACCOUNT: AccountId = AccountId(Uuid::from_u128(11));
const CASH: AccountId = AccountId(Uuid::from_u128(12));
const TRANSACTION: TransactionId = TransactionId(Uuid::from_u128(21));
const REVERSAL: TransactionId = TransactionId(Uuid::from_u128(22));

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 16, 12, 0, 0).unwrap()
}

fn request(command: impl IntoCommand) -> Request {
    let context = Context { recorded_at: now(), business_date: now().date_naive(), command_id: Uuid::from_u128(99) };
    Request { command: command.into_command(), context }
}

fn shelf_with<E: Clone + Into<Event>>(mut shelf: Shelf, stream: StreamId, events: &[E]) -> Shelf {
    for event in events {
        fold_into(&mut shelf, stream, &event.clone().into());
    }
    shelf
}

fn registered() -> MemberEvent {
    MemberEvent::MemberRegistered {
        number: number("M1"),
        kind: MemberKind::Business,
        personal: std::collections::BTreeMap::default(),
        branch: None,
    }
}

/// A ledger, a verified member, and cash.
fn frame() -> Shelf {
    let code = |ledger_code: &str, class: LedgerClass, control| LedgerEvent::LedgerCodeDefined {
        ledger_code: word(ledger_code),
        name: crate::desk::title(ledger_code),
        class,
        normal_side: class.normal_side(),
        control,
    };
    let ledger = [
        LedgerEvent::CurrencyDefined { currency: currency("CZK"), minor_units: 2 },
        code("1000", LedgerClass::Asset, false),
        code("2200", LedgerClass::Liability, true),
        LedgerEvent::PeriodOpened { period: period("2026-03"), from: date("2026-03-01"), to: date("2026-03-31") },
    ];
    let shelf = shelf_with(Shelf::default(), StreamId::LEDGER, &ledger);
    let shelf = shelf_with(shelf, MEMBER.stream(), &[registered(), MemberEvent::KycVerified {}]);
    shelf_with(shelf, CASH.stream(), &[opened(Product::Internal, "1000", Side::Debit)])
}

fn opened(product: Product, ledger_code: &str, normal_side: Side) -> AccountEvent {
    let guarded = product != Product::Internal;
    AccountEvent::AccountOpened {
        number: number("A1"),
        name: None,
        product,
        holders: if guarded { vec![owner(MEMBER)] } else { Vec::new() },
        currency: currency("CZK"),
        normal_side,
        ledger_code: word(ledger_code),
        guarded,
        minimum_balance_minor: 0,
        branch: None,
        opened_on: date("2026-03-16"),
    }
}

fn opened_savings() -> AccountEvent {
    opened(Product::Savings, "2200", Side::Credit)
}

fn entry(side: Side, amount_minor: i64, balance_minor: i64) -> AccountEvent {
    AccountEvent::EntryPosted {
        transaction_id: TRANSACTION,
        posting: 1,
        leg: 2,
        kind: TransactionKind::Transfer,
        side,
        amount_minor,
        booking_date: date("2026-03-16"),
        value_date: date("2026-03-16"),
        balance_minor,
        hold_released_minor: 0,
    }
}

macro_rules! given {
    ($name:ident, $aggregate:ty, $event:ty, $id:expr) => {
        fn $name(shelf: Shelf, events: Vec<$event>) -> cqrs_es::test::AggregateTestExecutor<$aggregate> {
            let shelf = shelf_with(shelf, $id, &events);
            TestFramework::<$aggregate>::with(shelf).given(events)
        }
    };
}

given!(member_given, Member, MemberEvent, MEMBER.stream());
given!(account_given, Account, AccountEvent, ACCOUNT.stream());
given!(transaction_given, Transaction, TransactionEvent, TRANSACTION.stream());
given!(ledger_given, Ledger, LedgerEvent, StreamId::LEDGER);

#[test]
fn a_member_registers_and_passes_the_kyc_check() {
    member_given(Shelf::default(), vec![])
        .when(request(MemberCommand::RegisterMember {
            member_id: MEMBER,
            number: number("M1"),
            kind: MemberKind::Business,
            personal: std::collections::BTreeMap::default(),
            branch: None,
        }))
        .then_expect_events(vec![registered()]);
    member_given(Shelf::default(), vec![registered()])
        .when(request(MemberCommand::VerifyKyc { member_id: MEMBER }))
        .then_expect_events(vec![MemberEvent::KycVerified {}]);
    member_given(Shelf::default(), vec![registered(), MemberEvent::KycRejected { reason: reason("forged") }])
        .when(request(MemberCommand::VerifyKyc { member_id: MEMBER }))
        .then_expect_error(Rejection::KycNotPending { member_id: MEMBER });
}

#[test]
fn a_member_number_is_taken_once() {
    let taken = Reservation::new(ReservationKind::MemberNumber, "M1");
    let shelf = Shelf { reserved: vec![taken], ..Shelf::default() };
    member_given(shelf, vec![])
        .when(request(crate::desk::register(MEMBER, "M1")))
        .then_expect_error_message("another member has this number");
}

#[test]
fn a_suspended_member_comes_back_once() {
    let suspended = MemberEvent::MemberSuspended { reason: reason("fraud") };
    member_given(Shelf::default(), vec![registered()])
        .when(request(MemberCommand::SuspendMember { member_id: MEMBER, reason: reason("fraud") }))
        .then_expect_events(vec![suspended.clone()]);
    member_given(Shelf::default(), vec![registered(), suspended.clone()])
        .when(request(MemberCommand::ReactivateMember { member_id: MEMBER }))
        .then_expect_events(vec![MemberEvent::MemberReactivated {}]);
    member_given(Shelf::default(), vec![registered(), suspended.clone()])
        .when(request(MemberCommand::DeactivateMember { member_id: MEMBER, reason: reason("moved") }))
        .then_expect_error(Rejection::MemberNotActive { member_id: MEMBER });
    member_given(Shelf::default(), vec![registered(), suspended, MemberEvent::MemberReactivated {}])
        .when(request(MemberCommand::ReactivateMember { member_id: MEMBER }))
        .then_expect_error(Rejection::MemberActive { member_id: MEMBER });
}

#[test]
fn an_inactive_member_comes_back() {
    let inactive = MemberEvent::MemberDeactivated { reason: reason("moved") };
    member_given(Shelf::default(), vec![registered()])
        .when(request(MemberCommand::DeactivateMember { member_id: MEMBER, reason: reason("moved") }))
        .then_expect_events(vec![inactive.clone()]);
    member_given(Shelf::default(), vec![registered(), inactive])
        .when(request(MemberCommand::ReactivateMember { member_id: MEMBER }))
        .then_expect_events(vec![MemberEvent::MemberReactivated {}]);
}

#[test]
fn an_account_opens_with_the_normal_side_of_its_code() {
    account_given(frame(), vec![])
        .when(request(open_savings(ACCOUNT, "A1", vec![owner(MEMBER)])))
        .then_expect_events(vec![opened_savings()]);
}

#[test]
fn an_account_has_an_owner_as_long_as_it_is_open() {
    let disponent = Holder { member_id: OTHER, role: HolderRole::Disponent };
    let shelf = shelf_with(frame(), OTHER.stream(), &[registered(), MemberEvent::KycVerified {}]);
    let added = AccountEvent::HolderAdded { member_id: OTHER, role: HolderRole::Disponent };
    account_given(shelf.clone(), vec![opened_savings()])
        .when(request(AccountCommand::AddHolder { account_id: ACCOUNT, holder: disponent }))
        .then_expect_events(vec![added.clone()]);
    account_given(shelf.clone(), vec![opened_savings(), added.clone()])
        .when(request(AccountCommand::RemoveHolder { account_id: ACCOUNT, member_id: MEMBER }))
        .then_expect_error(Rejection::OwnerRequired);
    account_given(shelf, vec![opened_savings(), added])
        .when(request(AccountCommand::RemoveHolder { account_id: ACCOUNT, member_id: OTHER }))
        .then_expect_events(vec![AccountEvent::HolderRemoved { member_id: OTHER }]);
}

#[test]
fn a_freeze_is_lifted_by_scope() {
    let frozen = AccountEvent::AccountFrozen { scope: FreezeScope::Both, reason: reason("court_order") };
    account_given(frame(), vec![opened_savings()])
        .when(request(freeze(ACCOUNT, FreezeScope::Both)))
        .then_expect_events(vec![frozen.clone()]);
    account_given(frame(), vec![opened_savings(), frozen.clone()])
        .when(request(freeze(ACCOUNT, FreezeScope::Debit)))
        .then_expect_error(Rejection::AccountFrozenAlready { account_id: ACCOUNT });
    let unfrozen = AccountEvent::AccountUnfrozen { scope: FreezeScope::Credit };
    account_given(frame(), vec![opened_savings(), frozen.clone()])
        .when(request(AccountCommand::UnfreezeAccount { account_id: ACCOUNT, scope: FreezeScope::Credit }))
        .then_expect_events(vec![unfrozen.clone()]);
    account_given(frame(), vec![opened_savings(), frozen, unfrozen])
        .when(request(AccountCommand::UnfreezeAccount { account_id: ACCOUNT, scope: FreezeScope::Credit }))
        .then_expect_error(Rejection::AccountNotFrozen { account_id: ACCOUNT });
}

#[test]
fn an_account_goes_dormant_and_comes_back() {
    let dormant = AccountEvent::AccountMarkedDormant { reason: reason("no_activity") };
    account_given(frame(), vec![opened_savings()])
        .when(request(AccountCommand::MarkAccountDormant { account_id: ACCOUNT, reason: reason("no_activity") }))
        .then_expect_events(vec![dormant.clone()]);
    account_given(frame(), vec![opened_savings(), dormant])
        .when(request(AccountCommand::ReactivateAccount { account_id: ACCOUNT }))
        .then_expect_events(vec![AccountEvent::AccountReactivated {}]);
}

#[test]
fn an_account_closes_at_zero() {
    let closed = AccountEvent::AccountClosed { reason: None, closed_on: date("2026-03-16") };
    account_given(frame(), vec![opened_savings()])
        .when(request(crate::desk::close(ACCOUNT)))
        .then_expect_events(vec![closed]);
    account_given(frame(), vec![opened_savings(), entry(Side::Credit, 100, 100)])
        .when(request(crate::desk::close(ACCOUNT)))
        .then_expect_error(Rejection::BalanceNotZero { account_id: ACCOUNT, balance: czk(100) });
}

#[test]
fn a_limit_may_not_be_raised_above_what_is_available() {
    let limit = |minor| request(AccountCommand::ChangeLimit { account_id: ACCOUNT, minimum_balance: czk(minor) });
    let given = || account_given(frame(), vec![opened_savings(), entry(Side::Credit, 100, 100)]);
    given().when(limit(100)).then_expect_events(vec![AccountEvent::LimitChanged { minimum_balance_minor: 100 }]);
    given().when(limit(-500)).then_expect_events(vec![AccountEvent::LimitChanged { minimum_balance_minor: -500 }]);
    given().when(limit(101)).then_expect_error(Rejection::LimitAboveAvailable {
        account_id: ACCOUNT,
        available: czk(100),
        minimum_balance: czk(101),
    });
}

/// The frame with an open savings account.
fn with_savings() -> Shelf {
    shelf_with(frame(), ACCOUNT.stream(), &[opened_savings()])
}

fn leg(number: u16, account_id: AccountId, side: Side, amount_minor: i64) -> Leg {
    Leg {
        leg: number,
        account_id,
        ledger_code: word(if account_id == CASH { "1000" } else { "2200" }),
        side,
        amount_minor,
        currency: currency("CZK"),
        component: None,
    }
}

fn deposit_legs(amount_minor: i64) -> Vec<Leg> {
    vec![leg(1, CASH, Side::Debit, amount_minor), leg(2, ACCOUNT, Side::Credit, amount_minor)]
}

fn posted(legs: Vec<Leg>) -> TransactionEvent {
    TransactionEvent::TransactionPosted {
        kind: TransactionKind::Transfer,
        booking_date: date("2026-03-16"),
        value_date: date("2026-03-16"),
        legs,
        reverses: None,
        external_reference: None,
        narrative: None,
    }
}

fn pending(amount_minor: i64, expires_at: Option<DateTime<Utc>>) -> TransactionEvent {
    TransactionEvent::TransactionPending {
        kind: TransactionKind::Transfer,
        booking_date: date("2026-03-16"),
        value_date: date("2026-03-16"),
        legs: deposit_legs(amount_minor),
        expires_at,
        external_reference: None,
        narrative: None,
    }
}

#[test]
fn a_transaction_freezes_the_ledger_codes_into_its_legs() {
    transaction_given(with_savings(), vec![])
        .when(request(transfer(TRANSACTION, CASH, ACCOUNT, czk(700))))
        .then_expect_events(vec![posted(deposit_legs(700))]);
}

#[test]
fn legs_that_do_not_balance_are_refused_with_both_sums() {
    transaction_given(with_savings(), vec![])
        .when(request(legs(
            TRANSACTION,
            vec![crate::desk::debit(CASH, czk(700)), crate::desk::credit(ACCOUNT, czk(699))],
        )))
        .then_expect_error(Rejection::Unbalanced {
            currency: currency("CZK"),
            debit_minor: "700".to_owned(),
            credit_minor: "699".to_owned(),
        });
}

#[test]
fn a_pending_transaction_is_posted_in_parts() {
    let first = TransactionEvent::PendingPosted {
        posting: 1,
        booking_date: date("2026-03-16"),
        value_date: date("2026-03-16"),
        legs: deposit_legs(300),
        is_final: false,
    };
    transaction_given(with_savings(), vec![pending(700, None)])
        .when(request(post_pending(TRANSACTION, part(&[(1, czk(300)), (2, czk(300))]), false)))
        .then_expect_events(vec![first.clone()]);
    transaction_given(with_savings(), vec![pending(700, None), first.clone()])
        .when(request(post_pending(TRANSACTION, part(&[(1, czk(401)), (2, czk(401))]), false)))
        .then_expect_error(Rejection::LegAmountExceeded { leg: 1, remaining: czk(400), requested: czk(401) });
    transaction_given(with_savings(), vec![pending(700, None), first])
        .when(request(post_pending(TRANSACTION, None, false)))
        .then_expect_events(vec![TransactionEvent::PendingPosted {
            posting: 2,
            booking_date: date("2026-03-16"),
            value_date: date("2026-03-16"),
            legs: deposit_legs(400),
            is_final: true,
        }]);
}

#[test]
fn what_has_ended_is_not_pending() {
    let voided = TransactionEvent::PendingVoided { reason: reason("customer_cancelled") };
    transaction_given(with_savings(), vec![pending(700, None)])
        .when(request(void(TRANSACTION)))
        .then_expect_events(vec![voided.clone()]);
    transaction_given(with_savings(), vec![pending(700, None), voided])
        .when(request(post_pending(TRANSACTION, None, true)))
        .then_expect_error(Rejection::NotPending { transaction_id: TRANSACTION });
    transaction_given(with_savings(), vec![pending(700, Some(now()))])
        .when(request(TransactionCommand::ExpirePending { transaction_id: TRANSACTION }))
        .then_expect_events(vec![TransactionEvent::PendingExpired { expired_at: now() }]);
}

#[test]
fn a_reversal_may_not_exceed_what_is_left_of_its_original() {
    let reversed = TransactionEvent::TransactionReversed {
        by: REVERSAL,
        legs: (1..=2).map(|leg| LegReversal { leg, amount_minor: 500, reversed_minor: 500 }).collect(),
    };
    let given = || transaction_given(with_savings(), vec![posted(deposit_legs(700)), reversed.clone()]);
    let third = TransactionId(Uuid::from_u128(23));
    given()
        .when(request(reverse(third, TRANSACTION, part(&[(1, czk(201)), (2, czk(201))]))))
        .then_expect_error(Rejection::LegAmountExceeded { leg: 1, remaining: czk(200), requested: czk(201) });
}

#[test]
fn a_period_takes_bookings_until_it_is_closed() {
    let open =
        LedgerCommand::OpenPeriod { period: period("2026-03"), from: date("2026-03-01"), to: date("2026-03-31") };
    let opened =
        LedgerEvent::PeriodOpened { period: period("2026-03"), from: date("2026-03-01"), to: date("2026-03-31") };
    let closed = LedgerEvent::PeriodClosed { period: period("2026-03") };
    let close = LedgerCommand::ClosePeriod { period: period("2026-03") };
    ledger_given(Shelf::default(), vec![]).when(request(open)).then_expect_events(vec![opened.clone()]);
    ledger_given(Shelf::default(), vec![opened.clone()])
        .when(request(close.clone()))
        .then_expect_events(vec![closed.clone()]);
    ledger_given(Shelf::default(), vec![opened, closed])
        .when(request(close))
        .then_expect_error(Rejection::PeriodClosed { period: period("2026-03") });
}

/// From the application to the closed file: the framework's aggregate writes what the plan has for its stream.
#[test]
fn a_loan_lives_its_life_through_the_frameworks_door() {
    let mut lending = Lending::new();
    let application = lending.apply(120_000, "12", 3);
    let loan_id = application.target();
    let commands = [
        application,
        approve(loan_id),
        lending.start(loan_id),
        confirm(loan_id),
        lending.accrue(loan_id),
        lending.charge(loan_id, Component::Fee, 300),
        lending.repay(loan_id, 200_000),
        close_loan(loan_id),
    ];
    let mut told: Vec<LoanEvent> = Vec::new();
    for command in commands {
        let executor = TestFramework::<Loan>::with(lending.desk.shelf.clone()).given(told.clone());
        let request = Request { command: command.clone().into_command(), context: lending.desk.context() };
        let plan = lending.desk.ok(command);
        let own = plan.events.into_iter().filter_map(|(_, event)| match event {
            Event::Loan(event) => Some(event),
            _ => None,
        });
        let own: Vec<_> = own.collect();
        executor.when(request).then_expect_events(own.clone());
        told.extend(own);
    }
    let names: Vec<_> = told.iter().map(LoanEvent::name).collect();
    let life = ["LoanApplied", "LoanApproved", "LoanDisbursementStarted", "LoanDisbursed", "InterestAccrued"];
    let end = ["LoanCharged", "RepaymentReceived", "LoanRepaid", "LoanClosed"];
    assert_eq!(names, [&life[..], &end[..]].concat());
    let refused = Request { command: approve(loan_id).into_command(), context: lending.desk.context() };
    TestFramework::<Loan>::with(lending.desk.shelf.clone())
        .given(told)
        .when(refused)
        .then_expect_error(Rejection::LoanStatusConflict { loan_id, status: LoanStatus::Closed });
}
