//! Posting: sides, currencies, sizes.

use domain::account::Product;
use domain::money::AMOUNT_MINOR_MAX;
use domain::transaction::{LEGS_MAX, Legs};
use domain::{Event, Money, Rejection, Side, StreamKind};

use crate::desk::{Desk, credit, currency, czk, debit, eur, event_names, legs, transfer};
use crate::invariants::{check_desk, net_debits};

#[test]
fn a_deposit_is_two_events_and_a_transfer_three() {
    let mut desk = Desk::new();
    let (one, two) = (desk.savings(0, 0), desk.savings(0, 0));
    let cash = desk.internal("1000", "CZK");
    let transaction_id = desk.fresh_transaction();
    let deposit = desk.ok(transfer(transaction_id, cash, one, czk(500)));
    let entry = (StreamKind::Account, "EntryPosted");
    assert_eq!(event_names(&deposit), [(StreamKind::Transaction, "TransactionPosted"), entry]);
    assert!(deposit.creates);
    let transaction_id = desk.fresh_transaction();
    let moved = desk.ok(transfer(transaction_id, one, two, czk(500)));
    assert_eq!(event_names(&moved), [(StreamKind::Transaction, "TransactionPosted"), entry, entry]);
    check_desk(&desk);
}

#[test]
fn a_short_move_finds_its_sides_from_the_normal_sides() {
    let mut desk = Desk::new();
    let account = desk.savings(0, 10_000);
    let (cash, nostro) = (desk.internal("1000", "CZK"), desk.internal("1100", "CZK"));
    let (fees, interest) = (desk.internal("4000", "CZK"), desk.internal("5000", "CZK"));
    for (from, to, from_side) in [
        (cash, account, Side::Debit),     // a deposit
        (account, cash, Side::Debit),     // a withdrawal
        (account, fees, Side::Debit),     // a fee
        (interest, account, Side::Debit), // interest
        (cash, nostro, Side::Credit),     // cash taken to another bank
    ] {
        let transaction_id = desk.transferred(from, to, 100);
        let sides: Vec<_> =
            desk.transaction(transaction_id).legs.iter().map(|leg| (leg.account_id, leg.side)).collect();
        assert_eq!(sides, [(from, from_side), (to, from_side.opposite())]);
    }
    let transaction_id = desk.fresh_transaction();
    assert_eq!(
        desk.refused(transfer(transaction_id, account, account, czk(1))),
        Rejection::SameAccount { account_id: account }
    );
    check_desk(&desk);
}

#[test]
fn a_transaction_in_two_currencies_goes_through_position_accounts() {
    let mut desk = Desk::new();
    let koruna = desk.savings(0, 250_000);
    let euro = desk.guarded("2200", Product::Savings, "EUR", 0, 0);
    let (position_czk, position_eur) = (desk.internal("1300", "CZK"), desk.internal("1300", "EUR"));
    let transaction_id = desk.fresh_transaction();
    desk.ok(legs(
        transaction_id,
        vec![
            debit(koruna, czk(250_000)),
            credit(position_czk, czk(250_000)),
            debit(position_eur, eur(10_000)),
            credit(euro, eur(10_000)),
        ],
    ));
    assert_eq!((desk.balance_minor(koruna), desk.balance_minor(euro)), (0, 10_000));
    let sums = net_debits(&desk);
    let position = |code: &str, account| sums[&(crate::desk::word("1300"), currency(code), account)];
    assert_eq!((position("CZK", position_czk), position("EUR", position_eur)), (-250_000, 10_000));
    // Each currency balances by itself: a rate does not make up for it.
    let transaction_id = desk.fresh_transaction();
    let rejection = desk.refused(legs(transaction_id, vec![debit(euro, eur(100)), credit(koruna, czk(2_500))]));
    assert!(matches!(rejection, Rejection::Unbalanced { .. }), "{rejection:?}");
    // An account takes its own currency only.
    let rejection = desk.refused(legs(transaction_id, vec![debit(euro, czk(100)), credit(koruna, czk(100))]));
    assert_eq!(
        rejection,
        Rejection::CurrencyMismatch {
            account_id: euro,
            account_currency: currency("EUR"),
            leg_currency: currency("CZK"),
        }
    );
    check_desk(&desk);
}

#[test]
fn a_thousand_legs_are_one_transaction_and_one_more_is_refused() {
    let mut desk = Desk::new();
    let cash = desk.internal("1000", "CZK");
    let member = desk.member();
    let accounts: Vec<_> = (0..LEGS_MAX - 1)
        .map(|at| {
            let account_id = domain::AccountId(desk.fresh());
            desk.ok(crate::desk::open_savings(account_id, &format!("B{at}"), vec![crate::desk::owner(member)]));
            account_id
        })
        .collect();
    let mut inputs = vec![debit(cash, czk(7 * accounts.len() as i64))];
    inputs.extend(accounts.iter().map(|account_id| credit(*account_id, czk(7))));
    let transaction_id = desk.fresh_transaction();
    let plan = desk.ok(legs(transaction_id, inputs.clone()));
    assert_eq!(plan.events.len(), 1 + accounts.len());
    assert!(accounts.iter().all(|account_id| desk.balance_minor(*account_id) == 7));
    inputs.extend([debit(cash, czk(1)), credit(accounts[0], czk(1))]);
    let transaction_id = desk.fresh_transaction();
    assert_eq!(
        desk.refused(legs(transaction_id, inputs)),
        Rejection::LegCountOutOfRange { legs: 1_002, legs_max: 1_000 }
    );
    // Undone as one, too.
    let reversal = desk.fresh_transaction();
    desk.ok(crate::desk::reverse(reversal, domain::TransactionId(plan.subject.id), None));
    assert!(accounts.iter().all(|account_id| desk.balance_minor(*account_id) == 0));
    check_desk(&desk);
}

#[test]
fn no_number_of_legs_can_make_the_rules_panic() {
    let mut desk = Desk::new();
    let (account, cash) = (desk.savings(0, 10), desk.internal("1000", "CZK"));
    for count in [0, 65_535, 65_536, 70_001] {
        let inputs = (0..count).map(|at| if at % 2 == 0 { debit(cash, czk(1)) } else { credit(account, czk(1)) });
        let command = legs(desk.fresh_transaction(), inputs.collect());
        let refusal = Rejection::LegCountOutOfRange { legs: count, legs_max: 1_000 };
        assert_eq!(desk.refused(command), refusal);
    }
}

#[test]
fn an_amount_is_above_zero_and_within_the_limit() {
    let mut desk = Desk::new();
    let (account, cash) = (desk.savings(0, 0), desk.internal("1000", "CZK"));
    for amount_minor in [i64::MIN, -1, 0, AMOUNT_MINOR_MAX + 1, i64::MAX] {
        let transaction_id = desk.fresh_transaction();
        let amount = czk(amount_minor);
        let explicit = legs(transaction_id, vec![debit(cash, amount), credit(account, amount)]);
        assert_eq!(desk.refused(explicit), Rejection::AmountOutOfRange { amount });
        assert_eq!(
            desk.refused(transfer(transaction_id, cash, account, amount)),
            Rejection::AmountOutOfRange { amount }
        );
    }
    desk.transferred(cash, account, AMOUNT_MINOR_MAX);
    desk.transferred(account, cash, AMOUNT_MINOR_MAX);
    desk.transferred(cash, account, 1);
    assert_eq!(desk.balance_minor(account), 1);
    check_desk(&desk);
}

#[test]
fn a_balance_that_cannot_be_counted_is_refused() {
    let mut desk = Desk::new();
    let (account, cash) = (desk.savings(0, 0), desk.internal("1000", "CZK"));
    let most = |desk: &mut Desk, pairs: usize| {
        let amount = czk(AMOUNT_MINOR_MAX);
        let inputs = (0..pairs).flat_map(|_| [debit(cash, amount), credit(account, amount)]).collect();
        let transaction_id = desk.fresh_transaction();
        desk.submit(legs(transaction_id, inputs)).map(|_| ())
    };
    assert_eq!(most(&mut desk, 500), Ok(()));
    assert_eq!(most(&mut desk, 500), Ok(()));
    assert_eq!(most(&mut desk, 25), Err(Rejection::BalanceOverflow { account_id: account }));
    assert_eq!(most(&mut desk, 24), Ok(()), "1,024 times 2^53 - 1 is just below 2^63");
    assert_eq!(desk.balance_minor(account), 1_024 * AMOUNT_MINOR_MAX);
    check_desk(&desk);
}

#[test]
fn currencies_have_their_own_decimals() {
    let mut desk = Desk::new();
    let yen = desk.guarded("2200", Product::Savings, "JPY", 0, 0);
    let cash = desk.internal("1000", "JPY");
    let amount = Money::parse("1000", currency("JPY")).unwrap();
    let transaction_id = desk.fresh_transaction();
    desk.ok(crate::desk::post(
        transaction_id,
        domain::transaction::TransactionKind::Deposit,
        Legs::Move { from: cash, to: yen, amount },
    ));
    assert_eq!(desk.balance_minor(yen), 1_000);
}

#[test]
fn a_value_date_is_the_booking_date_unless_given() {
    use domain::account::AccountEvent;
    use domain::transaction::TransactionCommand;
    let mut desk = Desk::new();
    let (account, cash) = (desk.savings(0, 0), desk.internal("1000", "CZK"));
    let mut dates = |command: TransactionCommand| {
        let plan = desk.ok(command);
        let entry = plan.events.iter().find_map(|(_, event)| match event {
            Event::Account(AccountEvent::EntryPosted { booking_date, value_date, .. }) => {
                Some((booking_date.to_string(), value_date.to_string()))
            }
            _ => None,
        });
        entry.unwrap()
    };
    let told = |booked: &str, valued: &str| (booked.to_owned(), valued.to_owned());
    let id = |n: u128| domain::TransactionId(uuid::Uuid::from_u128(n));
    let plain = transfer(id(1), cash, account, czk(1));
    assert_eq!(dates(plain), told("2026-03-16", "2026-03-16"));
    let earlier = crate::desk::booked_on(transfer(id(2), cash, account, czk(1)), "2026-03-02");
    assert_eq!(dates(earlier), told("2026-03-02", "2026-03-02"));
    let mut both = crate::desk::booked_on(transfer(id(3), cash, account, czk(1)), "2026-03-02");
    if let TransactionCommand::PostTransaction { value_date, .. } = &mut both {
        *value_date = Some(crate::desk::date("2026-12-24"));
    }
    assert_eq!(dates(both), told("2026-03-02", "2026-12-24"));
    let undone = crate::desk::booked_on(crate::desk::reverse(id(4), id(1), None), "2026-03-10");
    assert_eq!(dates(undone), told("2026-03-10", "2026-03-10"));
}
