//! Every way to be refused: each code is produced by a command, or is named here as not the rules' own.

use std::collections::BTreeSet;

use chrono::Duration;
use domain::account::{AccountCommand, FreezeScope};
use domain::ledger::{LedgerClass, LedgerCommand};
use domain::member::MemberCommand;
use domain::money::AMOUNT_MINOR_MAX;
use domain::rejection::REJECTION_CODES;
use domain::transaction::TransactionCommand;
use domain::words::ExternalReference;
use domain::{AccountId, MemberId, Rejection, TransactionId};

use crate::desk::{
    Desk, booked_on, close, credit, currency, czk, date, debit, define_code, eur, freeze, hold, legs, open_internal,
    open_savings, owner, part, period, post_pending, reason, register, reverse, through, together, transfer, void,
    word,
};
use crate::lending::Lending;
use crate::loan_rejections::LOANS;

/// Codes that no command can produce, and who does.
const NOT_THE_RULES_OWN: &[(&str, &str)] = &[
    ("version_mismatch", "the event store: `If-Match` names a version, of which a state knows nothing"),
    ("state_unavailable", "the framework's door, used without the states that it needs"),
];

/// A desk with one of each, ready to be refused.
struct Scene {
    desk: Desk,
    member: MemberId,
    account: AccountId,
    other: AccountId,
    cash: AccountId,
    posted: TransactionId,
    pending: TransactionId,
    id: TransactionId,
}

fn scene() -> Scene {
    let mut desk = Desk::new();
    let member = desk.member();
    let (account, other) = (desk.savings(0, 1_000), desk.savings(0, 500));
    let cash = desk.internal("1000", "CZK");
    let posted = desk.transferred(account, other, 100);
    let until = desk.now + Duration::hours(1);
    let pending = desk.held(account, other, 100, Some(until));
    let id = desk.fresh_transaction();
    Scene { desk, member, account, other, cash, posted, pending, id }
}

type Case = (&'static str, fn(&mut Scene) -> Rejection);

const MEMBERS: &[Case] = &[
    ("member_not_found", |s| s.desk.refused(MemberCommand::VerifyKyc { member_id: MemberId(s.id.0) })),
    ("id_taken", |s| s.desk.refused(register(s.member, "new"))),
    ("member_number_taken", |s| {
        s.desk.ok(register(MemberId(s.id.0), "twice"));
        let member_id = MemberId(s.desk.fresh());
        s.desk.refused(register(member_id, "twice"))
    }),
    ("kyc_not_pending", |s| s.desk.refused(MemberCommand::RejectKyc { member_id: s.member, reason: reason("late") })),
    ("member_not_active", |s| {
        s.desk.ok(MemberCommand::SuspendMember { member_id: s.member, reason: reason("fraud") });
        s.desk.refused(open_savings(AccountId(s.id.0), "x", vec![owner(s.member)]))
    }),
    ("member_active", |s| s.desk.refused(MemberCommand::ReactivateMember { member_id: s.member })),
    ("member_not_verified", |s| {
        let member_id = MemberId(s.desk.fresh());
        s.desk.ok(register(member_id, "new"));
        s.desk.refused(AccountCommand::AddHolder { account_id: s.account, holder: owner(member_id) })
    }),
];

const FRAME: &[Case] = &[
    ("currency_exists", |s| s.desk.refused(LedgerCommand::DefineCurrency { currency: currency("CZK") })),
    ("ledger_code_exists", |s| s.desk.refused(define_code("1000", LedgerClass::Asset, false))),
    ("period_exists", |s| {
        let (from, to) = (date("2027-01-01"), date("2027-01-31"));
        s.desk.refused(LedgerCommand::OpenPeriod { period: period("2026-03"), from, to })
    }),
    ("period_not_found", |s| s.desk.refused(LedgerCommand::ClosePeriod { period: period("1993-01") })),
    ("period_ends_before_start", |s| {
        let (from, to) = (date("2027-01-31"), date("2027-01-01"));
        s.desk.refused(LedgerCommand::OpenPeriod { period: period("2027-01"), from, to })
    }),
    ("period_overlaps", |s| {
        let (from, to) = (date("2026-06-30"), date("2026-07-31"));
        s.desk.refused(LedgerCommand::OpenPeriod { period: period("2026-07"), from, to })
    }),
    ("period_closed", |s| s.desk.refused(booked_on(transfer(s.id, s.account, s.other, czk(1)), "2026-01-05"))),
    ("no_period", |s| s.desk.refused(booked_on(transfer(s.id, s.account, s.other, czk(1)), "2025-01-05"))),
    ("booking_date_in_future", |s| s.desk.refused(booked_on(transfer(s.id, s.account, s.other, czk(1)), "2026-03-17"))),
];

const ACCOUNTS: &[Case] = &[
    ("account_not_found", |s| s.desk.refused(close(AccountId(s.id.0)))),
    ("account_number_taken", |s| {
        s.desk.ok(open_internal(AccountId(s.id.0), "twice", "1000", "CZK"));
        let account_id = AccountId(s.desk.fresh());
        s.desk.refused(open_savings(account_id, "twice", vec![owner(s.member)]))
    }),
    ("currency_not_defined", |s| s.desk.refused(open_internal(AccountId(s.id.0), "x", "1000", "USD"))),
    ("ledger_code_not_defined", |s| s.desk.refused(open_internal(AccountId(s.id.0), "x", "9999", "CZK"))),
    ("ledger_code_is_control", |s| s.desk.refused(open_internal(AccountId(s.id.0), "x", "2200", "CZK"))),
    ("ledger_code_not_control", |s| {
        let mut command = open_savings(AccountId(s.id.0), "x", vec![owner(s.member)]);
        if let AccountCommand::OpenAccount { ledger_code, .. } = &mut command {
            *ledger_code = word("2900");
        }
        s.desk.refused(command)
    }),
    ("owner_required", |s| s.desk.refused(open_savings(AccountId(s.id.0), "x", vec![]))),
    ("name_not_allowed", |s| {
        let mut command = open_savings(AccountId(s.id.0), "x", vec![owner(s.member)]);
        if let AccountCommand::OpenAccount { name, .. } = &mut command {
            *name = Some(crate::desk::title("Jana Novotná"));
        }
        s.desk.refused(command)
    }),
    ("internal_account_has_no_holders", |s| {
        let mut command = open_internal(AccountId(s.id.0), "x", "1000", "CZK");
        if let AccountCommand::OpenAccount { minimum_balance, .. } = &mut command {
            *minimum_balance = Some(czk(0));
        }
        s.desk.refused(command)
    }),
    ("holder_exists", |s| s.desk.refused(open_savings(AccountId(s.id.0), "x", vec![owner(s.member), owner(s.member)]))),
    ("holder_not_found", |s| {
        s.desk.refused(AccountCommand::RemoveHolder { account_id: s.account, member_id: s.member })
    }),
    ("opening_date_in_future", |s| {
        let mut command = open_savings(AccountId(s.id.0), "x", vec![owner(s.member)]);
        if let AccountCommand::OpenAccount { opened_on, .. } = &mut command {
            *opened_on = Some(date("2026-03-17"));
        }
        s.desk.refused(command)
    }),
    ("account_is_internal", |s| s.desk.refused(freeze(s.cash, FreezeScope::Both))),
    ("account_closed", |s| {
        let account = s.desk.savings(0, 0);
        s.desk.ok(close(account));
        s.desk.refused(freeze(account, FreezeScope::Both))
    }),
    ("account_retired", |s| {
        s.desk.ok(close(s.cash));
        s.desk.refused(transfer(s.id, s.account, s.cash, czk(1)))
    }),
    ("account_frozen_already", |s| {
        s.desk.ok(freeze(s.account, FreezeScope::Both));
        s.desk.refused(freeze(s.account, FreezeScope::Credit))
    }),
    ("account_not_frozen", |s| {
        s.desk.ok(freeze(s.account, FreezeScope::Debit));
        s.desk.refused(AccountCommand::UnfreezeAccount { account_id: s.account, scope: FreezeScope::Credit })
    }),
    ("account_frozen", |s| {
        s.desk.ok(freeze(s.other, FreezeScope::Credit));
        s.desk.refused(transfer(s.id, s.account, s.other, czk(1)))
    }),
    ("account_dormant", |s| {
        s.desk.ok(AccountCommand::MarkAccountDormant { account_id: s.account, reason: reason("quiet") });
        s.desk.refused(transfer(s.id, s.account, s.other, czk(1)))
    }),
    ("account_not_dormant", |s| s.desk.refused(AccountCommand::ReactivateAccount { account_id: s.account })),
    ("balance_not_zero", |s| s.desk.refused(close(s.account))),
    ("holds_remain", |s| {
        s.desk.transferred(s.other, s.account, 600);
        s.desk.refused(close(s.other))
    }),
    ("limit_above_available", |s| {
        s.desk.refused(AccountCommand::ChangeLimit { account_id: s.account, minimum_balance: czk(801) })
    }),
];

const TRANSACTIONS: &[Case] = &[
    ("transaction_not_found", |s| s.desk.refused(void(s.id))),
    ("external_reference_taken", |s| {
        let referring = |id, s: &Scene| {
            let mut command = transfer(id, s.account, s.other, czk(1));
            if let TransactionCommand::PostTransaction { external_reference, .. } = &mut command {
                *external_reference = Some(ExternalReference::try_new("E2E-1").unwrap());
            }
            command
        };
        let first = referring(s.id, s);
        s.desk.ok(first);
        let id = s.desk.fresh_transaction();
        let second = referring(id, s);
        s.desk.refused(second)
    }),
    ("insufficient_funds", |s| s.desk.refused(transfer(s.id, s.account, s.other, czk(801)))),
    ("unbalanced", |s| s.desk.refused(legs(s.id, vec![debit(s.account, czk(1))]))),
    ("currency_mismatch", |s| s.desk.refused(transfer(s.id, s.account, s.other, eur(1)))),
    ("same_account", |s| s.desk.refused(transfer(s.id, s.account, s.account, czk(1)))),
    ("leg_count_out_of_range", |s| s.desk.refused(legs(s.id, vec![]))),
    ("amount_out_of_range", |s| s.desk.refused(transfer(s.id, s.account, s.other, czk(0)))),
    ("balance_overflow", |s| {
        let amount = czk(AMOUNT_MINOR_MAX);
        let pairs = || (0..400).flat_map(|_| [debit(s.cash, amount), credit(s.other, amount)]).collect();
        let (first, second, third) = (legs(s.id, pairs()), legs(s.desk.fresh_transaction(), pairs()), pairs());
        s.desk.ok(first);
        s.desk.ok(second);
        let id = s.desk.fresh_transaction();
        s.desk.refused(legs(id, third))
    }),
    ("transaction_refused", |s| {
        let second = s.desk.fresh_transaction();
        let amounts = [(s.id, 800), (second, 1)];
        let postings = amounts.map(|(id, minor)| transfer(id, s.account, s.other, czk(minor)));
        s.desk.refused(together(postings))
    }),
    ("not_pending", |s| s.desk.refused(void(s.posted))),
    ("pending_expired", |s| {
        s.desk.pass(Duration::hours(1));
        s.desk.refused(post_pending(s.pending, None, true))
    }),
    ("not_expired", |s| s.desk.refused(TransactionCommand::ExpirePending { transaction_id: s.pending })),
    ("expiry_not_in_future", |s| {
        let now = s.desk.now;
        s.desk.refused(hold(s.id, s.account, s.other, czk(1), Some(now)))
    }),
    ("leg_not_found", |s| s.desk.refused(post_pending(s.pending, part(&[(3, czk(1))]), true))),
    ("leg_repeated", |s| s.desk.refused(reverse(s.id, s.posted, part(&[(1, czk(1)), (1, czk(1))])))),
    ("leg_amount_exceeded", |s| s.desk.refused(reverse(s.id, s.posted, part(&[(1, czk(101)), (2, czk(101))])))),
    ("nothing_to_reverse", |s| s.desk.refused(reverse(s.id, s.pending, None))),
    ("reversal_not_reversible", |s| {
        s.desk.ok(reverse(s.id, s.posted, None));
        let again = s.desk.fresh_transaction();
        s.desk.refused(reverse(again, s.id, None))
    }),
    ("suspense_not_internal", |s| {
        let gone = s.desk.savings(0, 0);
        let original = s.desk.transferred(s.account, gone, 10);
        s.desk.transferred(gone, s.account, 10);
        s.desk.ok(close(gone));
        s.desk.refused(through(reverse(s.id, original, None), s.other))
    }),
];

#[test]
fn every_code_is_produced_by_a_command_or_named_as_not_the_rules_own() {
    let mut covered: BTreeSet<&str> = NOT_THE_RULES_OWN.iter().map(|(code, _)| *code).collect();
    for (code, case) in [MEMBERS, FRAME, ACCOUNTS, TRANSACTIONS].concat() {
        let mut scene = scene();
        assert_eq!(case(&mut scene).code(), code);
        assert!(covered.insert(code), "{code} is covered twice");
        crate::invariants::check_desk(&scene.desk);
    }
    for (code, case) in LOANS {
        let mut lending = Lending::new();
        assert_eq!(case(&mut lending).code(), *code);
        assert!(covered.insert(code), "{code} is covered twice");
        crate::invariants::check_desk(&lending.desk);
    }
    let every: BTreeSet<&str> = REJECTION_CODES.iter().map(|(code, _)| *code).collect();
    assert_eq!(covered, every);
    assert_eq!(every.len(), REJECTION_CODES.len(), "codes are unique");
}

#[test]
fn codes_are_snake_case_and_texts_start_small_and_have_no_full_stop() {
    let frame = [MEMBERS, FRAME, ACCOUNTS, TRANSACTIONS].concat();
    let loans = LOANS.iter().map(|(code, case)| (*code, case(&mut Lending::new())));
    for (code, rejection) in frame.into_iter().map(|(code, case)| (code, case(&mut scene()))).chain(loans) {
        assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
        let text = rejection.to_string();
        let first = text.chars().next().unwrap();
        assert!(!text.ends_with('.') && (first.is_lowercase() || first.is_ascii_digit()), "{text}");
    }
}
