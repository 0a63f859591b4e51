//! A plan that was tampered with is not sound: each promise has a plan that breaks only it.

use domain::account::AccountEvent;
use domain::transaction::TransactionEvent;
use domain::{AccountId, Event, Plan, Unsound, decide};

use crate::desk::{Desk, IntoCommand, currency, hold, transfer};

struct Scene {
    desk: Desk,
    from: AccountId,
    to: AccountId,
}

impl Scene {
    fn new() -> Self {
        let mut desk = Desk::new();
        let (from, to) = (desk.savings(0, 1_000), desk.savings(0, 0));
        Self { desk, from, to }
    }

    fn plan(&mut self, pending: bool) -> Plan {
        let id = self.desk.fresh_transaction();
        let amount = crate::desk::czk(400);
        let command =
            if pending { hold(id, self.from, self.to, amount, None) } else { transfer(id, self.from, self.to, amount) };
        decide(&command.into_command(), &self.desk.shelf, &self.desk.context()).unwrap()
    }

    fn check(&mut self, pending: bool, tamper: impl FnOnce(&mut Plan)) -> Result<(), Unsound> {
        let mut plan = self.plan(pending);
        tamper(&mut plan);
        plan.check(&self.desk.shelf)
    }
}

fn legs(plan: &mut Plan) -> &mut Vec<domain::transaction::Leg> {
    match &mut plan.events[0].1 {
        Event::Transaction(
            TransactionEvent::TransactionPosted { legs, .. } | TransactionEvent::TransactionPending { legs, .. },
        ) => legs,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sound_plan_is_sound() {
    let mut scene = Scene::new();
    for pending in [false, true] {
        assert_eq!(scene.check(pending, |_| {}), Ok(()));
    }
}

#[test]
fn a_plan_begins_with_its_subject() {
    let mut scene = Scene::new();
    let result = scene.check(false, |plan| plan.events.swap(0, 1));
    assert!(matches!(result, Err(Unsound::SubjectNotFirst { .. })), "{result:?}");
    let result = scene.check(false, |plan| plan.events.clear());
    assert!(matches!(result, Err(Unsound::SubjectNotFirst { .. })), "{result:?}");
}

#[test]
fn legs_are_some_positive_and_balanced() {
    let mut scene = Scene::new();
    for pending in [false, true] {
        let result = scene.check(pending, |plan| legs(plan).clear());
        assert!(matches!(result, Err(Unsound::Legs { .. })), "{result:?}");
        let result = scene.check(pending, |plan| legs(plan).iter_mut().for_each(|leg| leg.amount_minor = -400));
        assert!(matches!(result, Err(Unsound::Legs { .. })), "{result:?}");
        let result = scene.check(pending, |plan| legs(plan)[1].amount_minor += 1);
        assert!(matches!(result, Err(Unsound::Unbalanced { .. })), "{result:?}");
        let result = scene.check(pending, |plan| legs(plan)[1].currency = currency("EUR"));
        assert!(matches!(result, Err(Unsound::Unbalanced { .. })), "{result:?}");
    }
}

#[test]
fn every_guarded_leg_has_its_entry_or_hold_and_no_other_is_there() {
    let mut scene = Scene::new();
    let (from, to) = (scene.from, scene.to);
    for pending in [false, true] {
        let result = scene.check(pending, |plan| _ = plan.events.pop());
        assert_eq!(result, Err(Unsound::EntryAndLegDiffer { account_id: to }));
        let result = scene.check(pending, |plan| _ = plan.events.remove(1));
        assert_eq!(result, Err(Unsound::EntryAndLegDiffer { account_id: to }));
        let result = scene.check(pending, |plan| legs(plan)[0].side = domain::Side::Credit);
        assert!(matches!(result, Err(Unsound::Unbalanced { .. })), "{result:?}");
        let result = scene.check(pending, |plan| legs(plan)[0].leg = 7);
        assert_eq!(result, Err(Unsound::EntryAndLegDiffer { account_id: from }));
    }
    let result = scene.check(true, |plan| {
        let again = plan.events[2].clone();
        plan.events.push(again);
    });
    assert_eq!(result, Err(Unsound::EntryAndLegDiffer { account_id: to }));
    let unknown = AccountId(scene.desk.fresh());
    let result = scene.check(false, |plan| legs(plan)[0].account_id = unknown);
    assert_eq!(result, Err(Unsound::AccountUnknown { account_id: unknown }));
}

#[test]
fn a_balance_after_is_the_fold() {
    let mut scene = Scene::new();
    let account_id = scene.from;
    let result = scene.check(false, |plan| {
        if let Event::Account(AccountEvent::EntryPosted { balance_minor, .. }) = &mut plan.events[1].1 {
            *balance_minor += 1;
        }
    });
    assert_eq!(result, Err(Unsound::BalanceAfter { account_id, balance_minor: 601 }));
}

#[test]
fn an_internal_account_has_no_entries() {
    let mut scene = Scene::new();
    let cash = scene.desk.internal("1000", "CZK");
    let result = scene.check(false, |plan| {
        legs(plan)[0].account_id = cash;
        plan.events[1].0 = cash.stream();
    });
    assert_eq!(result, Err(Unsound::EntryAndLegDiffer { account_id: cash }));
}
