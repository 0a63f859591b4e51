//! Splitting an amount so that its parts add up to it again.

use super::error::CalcError;

/// Splits an amount in proportion to weights, to the minor unit: the parts sum exactly to the
/// amount. Each part is its exact share cut off, and the units that remain go one by one to the
/// largest fractions cut off, the earlier of equals first. A negative amount is split as its mirror.
///
/// # Errors
/// [`CalcError::WeightsUnusable`] if a weight is negative or all together are zero.
pub fn split(amount_minor: i64, weights: &[i64]) -> Result<Vec<i64>, CalcError> {
    let unusable = CalcError::WeightsUnusable;
    let total: u128 = weights
        .iter()
        .map(|weight| u128::try_from(*weight))
        .sum::<Result<u128, _>>()
        .map_err(|_| CalcError::WeightsUnusable)?;
    if total == 0 {
        return Err(unusable);
    }
    // At most 2^63 times less than 2^63, so no product overflows, and a share is at most the amount.
    let amount = u128::from(amount_minor.unsigned_abs());
    let mut shares = Vec::with_capacity(weights.len());
    let mut fractions = Vec::with_capacity(weights.len());
    for (index, weight) in weights.iter().enumerate() {
        let product = amount * u128::from(weight.unsigned_abs());
        shares.push(product / total);
        fractions.push((product % total, index));
    }
    // Fewer units remain than there are fractions, so that none without a fraction gets one.
    let remaining = amount - shares.iter().sum::<u128>();
    fractions.sort_by(|(a, first), (b, second)| b.cmp(a).then(first.cmp(second)));
    for (_, index) in fractions.into_iter().take(usize::try_from(remaining).unwrap_or(usize::MAX)) {
        if let Some(share) = shares.get_mut(index) {
            *share += 1;
        }
    }
    let sign = i128::from(amount_minor.signum());
    let signed = |share: u128| i128::try_from(share).ok().and_then(|share| i64::try_from(share * sign).ok());
    shares.into_iter().map(|share| signed(share).ok_or(CalcError::AmountTooLarge)).collect()
}
