//! Several transactions in one command: all of them or none.

use domain::transaction::{LEGS_MAX, TransactionCommand};
use domain::words::ExternalReference;
use domain::{Rejection, Reservation, ReservationKind, StreamKind, TransactionId};

use crate::desk::{Desk, czk, debit, event_names, hold, legs, together, transfer};
use crate::invariants::check_desk;

#[test]
fn each_sees_what_those_before_it_leave() {
    let mut desk = Desk::new();
    let (one, two, three) = (desk.savings(0, 1_000), desk.savings(0, 0), desk.savings(0, 0));
    let ids = [(); 3].map(|()| desk.fresh_transaction());
    let plan = desk.ok(together([
        transfer(ids[0], one, two, czk(1_000)),
        transfer(ids[1], two, three, czk(700)),
        hold(ids[2], three, one, czk(700), None),
    ]));
    assert_eq!((plan.subject, plan.creates), (ids[0].stream(), true));
    let (posted, entry, held) = ("TransactionPosted", "EntryPosted", "HoldPlaced");
    let expected = [posted, entry, entry, posted, entry, entry, "TransactionPending", held, held];
    assert_eq!(event_names(&plan).into_iter().map(|(_, name)| name).collect::<Vec<_>>(), expected);
    let made = plan.events.iter().filter(|(stream, _)| stream.kind == StreamKind::Transaction);
    assert!(made.map(|(stream, _)| TransactionId(stream.id)).eq(ids));
    assert_eq!([one, two, three].map(|id| desk.balance_minor(id)), [0, 300, 700]);
    assert_eq!(desk.available_minor(three), 0);
    check_desk(&desk);
}

#[test]
fn one_refusal_refuses_all_and_says_which_it_was() {
    let mut desk = Desk::new();
    let (one, two) = (desk.savings(0, 1_000), desk.savings(0, 0));
    let before = desk.log.len();
    let ids = [(); 3].map(|()| desk.fresh_transaction());
    let refusal = desk.refused(together([
        transfer(ids[0], one, two, czk(600)),
        transfer(ids[1], one, two, czk(401)),
        transfer(ids[2], two, one, czk(1)),
    ]));
    let (index, cause) = refusal.cause();
    assert_eq!(index, Some(1));
    assert!(
        matches!(cause, Rejection::InsufficientFunds { available, .. } if *available == czk(400)),
        "on what the first leaves: {cause}"
    );
    assert_eq!(desk.log.len(), before);
    assert_eq!((desk.balance_minor(one), desk.balance_minor(two)), (1_000, 0));
    // The net of all would be within the limit; the second alone is not.
    let order = [(two, one), (one, two)].map(|(from, to)| transfer(desk.fresh_transaction(), from, to, czk(500)));
    assert_eq!(desk.refused(together(order.clone())).cause().0, Some(0));
    let [second, first] = order;
    desk.ok(together([first, second]));
    check_desk(&desk);
}

#[test]
fn ids_and_references_are_unique_among_them_too() {
    let mut desk = Desk::new();
    let (one, two) = (desk.savings(0, 1_000), desk.savings(0, 0));
    let (id, other) = (desk.fresh_transaction(), desk.fresh_transaction());
    let twice = [id, id].map(|id| transfer(id, one, two, czk(1)));
    let refusal = desk.refused(together(twice));
    assert_eq!(refusal.cause(), (Some(1), &Rejection::IdTaken { stream: id.stream() }));
    let referring = |id, text: &str| {
        let mut command = transfer(id, one, two, czk(1));
        if let TransactionCommand::PostTransaction { external_reference, .. } = &mut command {
            *external_reference = Some(ExternalReference::try_new(text).unwrap());
        }
        command
    };
    let refusal = desk.refused(together([referring(id, "E-1"), referring(other, "E-1")]));
    assert_eq!(refusal.cause(), (Some(1), &Rejection::ExternalReferenceTaken));
    let plan = desk.ok(together([referring(id, "E-1"), referring(other, "E-2")]));
    // Each reference is taken by its own transaction.
    let takers = plan.reservations.iter().map(|reservation| plan.taker(reservation));
    assert!(takers.eq([id.stream(), other.stream()]));
    assert_eq!(plan.taker(&Reservation::new(ReservationKind::AccountNumber, "A1")), plan.subject);
    check_desk(&desk);
}

#[test]
fn they_have_as_many_legs_as_one_transaction_may_have() {
    let mut desk = Desk::new();
    let (one, two) = (desk.savings(0, 100_000), desk.savings(0, 0));
    let mut transfers = |count: usize| {
        let postings: Vec<_> = (0..count).map(|_| transfer(desk.fresh_transaction(), one, two, czk(1))).collect();
        postings
    };
    let (most, none) = (transfers(LEGS_MAX / 2), transfers(0));
    let mut one_leg_more = transfers(LEGS_MAX / 2 - 1);
    let id = desk.fresh_transaction();
    one_leg_more.push(legs(id, vec![debit(one, czk(1)), debit(one, czk(1)), crate::desk::credit(two, czk(2))]));
    for (postings, count) in [(one_leg_more, LEGS_MAX as u64 + 1), (none, 0)] {
        let refusal = desk.refused(together(postings));
        assert_eq!(refusal, Rejection::LegCountOutOfRange { legs: count, legs_max: LEGS_MAX as u64 });
    }
    desk.ok(together(most));
    assert_eq!(desk.balance_minor(two), 500);
    check_desk(&desk);
}
