//! The equal instalment that repays a principal with interest.

use rust_decimal::{Decimal, RoundingStrategy};

use super::calendar::Period;
use crate::money::AMOUNT_MINOR_MAX;

/// Decimals to which the annuity is cut before it is rounded to money, in parts of a minor unit.
const SCALE: u32 = 8;

/// What [`annuity_scaled`] counts in: so many to one minor unit.
pub(super) const SCALED: i128 = 10_i128.pow(SCALE);

/// The instalment that repays a principal in equal parts, in 1 / [`SCALED`] minor units. Nothing if
/// it is beyond what one amount may be.
///
/// It is `principal / (w₁ + w₁w₂ + … + w₁…wₙ)` with `wᵢ = 1 / (1 + rateᵢ)`: the principal is what
/// all instalments are worth on the day of the disbursement. The sum is built from its end, as
/// `w₁(1 + w₂(1 + …))`, which cannot overflow however long the loan and high the rate; the textbook's
/// product of all `1 + rateᵢ` can. Divisions leave noise far behind the eighth decimal, which is cut
/// off, so that an exact half or an exact integer is seen as one by a named rounding.
pub(super) fn annuity_scaled(principal_minor: i64, periods: &[Period]) -> Option<i128> {
    let decimal = |number| Decimal::try_from_i128_with_scale(number, 0).ok();
    let mut worth = Decimal::ZERO;
    for period in periods.iter().rev() {
        let (numerator, denominator) = period.rate.ratio();
        let grown = decimal(denominator.checked_add(numerator)?)?;
        worth = worth.checked_add(Decimal::ONE)?.checked_mul(decimal(denominator)?)?.checked_div(grown)?;
    }
    let annuity = Decimal::from(principal_minor).checked_div(worth)?;
    if annuity > Decimal::from(AMOUNT_MINOR_MAX) {
        return None;
    }
    // Below the limit there is room for eight decimals in a decimal's 96 bits.
    let mut annuity = annuity.round_dp_with_strategy(SCALE, RoundingStrategy::MidpointNearestEven);
    annuity.rescale(SCALE);
    Some(annuity.mantissa())
}
