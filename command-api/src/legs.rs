//! The legs of a request, in either of their forms, read into the domain's.

use domain::AccountId;
use domain::transaction::{LEGS_MAX, LegAmount, LegInput, Legs};
use platform::Problem;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::amount::Amount;
use crate::fault::{Fault, Faults};
use crate::wire::{Id, Side};

const LEGS_MIN: usize = 2;

/// One leg of a transaction.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LegBody {
    /// The account.
    account_id: Id,
    /// Debit or credit.
    side: Side,
    /// The amount, above zero.
    amount: Amount,
}

/// How much of a leg of an earlier transaction.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LegAmountBody {
    /// Which leg, from 1.
    #[schema(minimum = 1, maximum = 1000, example = 1)]
    leg: u16,
    /// How much of it, above zero.
    amount: Amount,
}

/// Both forms in which legs can be given; exactly one of them must be.
pub(crate) struct LegsBody<'a> {
    pub(crate) legs: Option<&'a [LegBody]>,
    pub(crate) from_account_id: Option<Id>,
    pub(crate) to_account_id: Option<Id>,
    pub(crate) amount: Option<&'a Amount>,
}

impl LegsBody<'_> {
    /// The domain's legs; what is wrong is kept in `faults`, and then there are none.
    pub(crate) fn read(&self, faults: &mut Faults) -> Option<Legs> {
        let has_short = self.from_account_id.is_some() || self.to_account_id.is_some() || self.amount.is_some();
        match self.legs {
            Some(_) if has_short => {
                let detail = "give either legs, or from_account_id, to_account_id and amount";
                faults.push(Fault::new("legs", "ambiguous_legs", detail));
                None
            }
            Some(legs) => explicit(legs, faults),
            None if has_short => self.short(faults),
            None => {
                let detail = "give legs, or from_account_id, to_account_id and amount";
                faults.push(Fault::missing("legs", detail));
                None
            }
        }
    }

    fn short(&self, faults: &mut Faults) -> Option<Legs> {
        let detail = "the short form has from_account_id, to_account_id and amount";
        let mut needed = |field, id: Option<Id>| faults.keep(id.ok_or_else(|| Fault::missing(field, detail)));
        let from = needed("from_account_id", self.from_account_id);
        let to = needed("to_account_id", self.to_account_id);
        let amount = match self.amount {
            Some(amount) => faults.at(|| "amount".to_owned(), amount.positive()),
            None => faults.keep(Err(Fault::missing("amount", detail))),
        };
        Some(Legs::Move { from: AccountId(from?.0), to: AccountId(to?.0), amount: amount? })
    }
}

fn explicit(bodies: &[LegBody], faults: &mut Faults) -> Option<Legs> {
    if !(LEGS_MIN..=LEGS_MAX).contains(&bodies.len()) {
        let detail = format!("a transaction has {LEGS_MIN} to {LEGS_MAX} legs, not {}", bodies.len());
        faults.push(Fault::new("legs", "leg_count", detail));
        return None;
    }
    let mut legs = Vec::with_capacity(bodies.len());
    for (at, body) in bodies.iter().enumerate() {
        if let Some(amount) = faults.at(|| place(at), body.amount.positive()) {
            legs.push(LegInput { account_id: AccountId(body.account_id.0), side: body.side.into(), amount });
        }
    }
    (legs.len() == bodies.len()).then_some(Legs::Explicit(legs))
}

/// Parts of the legs of an earlier transaction; `None` where the client named none: then all that is
/// left is meant. An empty list is refused: it could mean all or nothing.
pub(crate) fn parts(bodies: Option<&[LegAmountBody]>) -> Result<Option<Vec<LegAmount>>, Problem> {
    let Some(bodies) = bodies else {
        return Ok(None);
    };
    let mut faults = Faults::default();
    if !(1..=LEGS_MAX).contains(&bodies.len()) {
        let detail = format!("name 1 to {LEGS_MAX} legs, or leave legs out to mean all that is left");
        faults.push(Fault::new("legs", "leg_count", detail));
    }
    let mut legs = Vec::with_capacity(bodies.len());
    for (at, body) in bodies.iter().enumerate() {
        if body.leg == 0 {
            faults.push(Fault::invalid(format!("legs[{at}].leg"), "legs are counted from 1"));
        }
        let amount = faults.at(|| place(at), body.amount.positive());
        legs.extend(amount.map(|amount| LegAmount { leg: body.leg, amount }));
    }
    faults.none_or_problem()?;
    Ok(Some(legs))
}

fn place(at: usize) -> String {
    format!("legs[{at}].amount")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn amount(text: &str) -> Amount {
        Amount { amount: text.to_owned(), currency: "CZK".to_owned() }
    }

    fn leg(side: Side, text: &str) -> LegBody {
        LegBody { account_id: Id(Uuid::from_u128(1)), side, amount: amount(text) }
    }

    fn told(problem: Problem) -> Vec<(String, String)> {
        problem.errors.into_iter().map(|error| (error.field, error.code.into_owned())).collect()
    }

    fn refused(body: &LegsBody) -> Vec<(String, String)> {
        let mut faults = Faults::default();
        assert_eq!(body.read(&mut faults), None);
        told(faults.into_problem())
    }

    fn expected(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(field, code)| ((*field).to_owned(), (*code).to_owned())).collect()
    }

    #[test]
    fn both_forms_are_read() {
        let legs = [leg(Side::Debit, "1.00"), leg(Side::Credit, "1.00")];
        let long = LegsBody { legs: Some(&legs), from_account_id: None, to_account_id: None, amount: None };
        let mut faults = Faults::default();
        assert!(matches!(long.read(&mut faults), Some(Legs::Explicit(legs)) if legs.len() == 2));
        let (id, one) = (Some(Id(Uuid::from_u128(1))), amount("1"));
        let short = LegsBody { legs: None, from_account_id: id, to_account_id: id, amount: Some(&one) };
        assert!(matches!(short.read(&mut faults), Some(Legs::Move { .. })));
        assert!(faults.is_empty());
    }

    #[test]
    fn exactly_one_form_must_be_given() {
        let legs = [leg(Side::Debit, "1"), leg(Side::Credit, "1")];
        let one = amount("1");
        let both = LegsBody { legs: Some(&legs), from_account_id: None, to_account_id: None, amount: Some(&one) };
        assert_eq!(refused(&both), expected(&[("legs", "ambiguous_legs")]));
        let neither = LegsBody { legs: None, from_account_id: None, to_account_id: None, amount: None };
        assert_eq!(refused(&neither), expected(&[("legs", "missing_field")]));
        let half = LegsBody { legs: None, from_account_id: None, to_account_id: None, amount: Some(&one) };
        assert_eq!(
            refused(&half),
            expected(&[("from_account_id", "missing_field"), ("to_account_id", "missing_field")])
        );
    }

    #[test]
    fn every_bad_leg_is_named() {
        let legs = [leg(Side::Debit, "0"), leg(Side::Credit, "1.234"), leg(Side::Credit, "1")];
        let body = LegsBody { legs: Some(&legs), from_account_id: None, to_account_id: None, amount: None };
        let wanted =
            [("legs[0].amount.amount", "amount_not_positive"), ("legs[1].amount.amount", "amount_too_precise")];
        assert_eq!(refused(&body), expected(&wanted));
        let alone = LegsBody { legs: Some(&legs[..1]), from_account_id: None, to_account_id: None, amount: None };
        assert_eq!(refused(&alone), expected(&[("legs", "leg_count")]));
    }

    #[test]
    fn parts_of_legs_are_counted_from_one() {
        assert_eq!(parts(None).unwrap(), None);
        assert_eq!(parts(Some(&[])).unwrap_err().code, "leg_count");
        let problem = parts(Some(&[LegAmountBody { leg: 0, amount: amount("-1") }])).unwrap_err();
        let wanted = [("legs[0].leg", "invalid_value"), ("legs[0].amount.amount", "amount_not_positive")];
        assert_eq!(told(problem), expected(&wanted));
    }
}
