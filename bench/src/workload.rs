//! Which accounts a transfer moves money between: random, from a seed, and cheap to draw.

use serde::{Deserialize, Serialize};

/// How transfers spread over the accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Distribution {
    /// Each account as often as any other.
    Uniform,
    /// The n-th account as often as 1/n^0.99: few are busy, most are quiet.
    Zipf,
    /// Only the first ten accounts.
    TenHot,
    /// The first account is in every transfer, half of the time paying; the others are uniform.
    OneHot,
}

/// SplitMix64: small, quick, good enough to choose accounts.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is at least 1; the bias of the multiplication is below 2^-32 here.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u128::try_from(bound.max(1)).unwrap_or(1);
        usize::try_from((u128::from(self.next()) * bound) >> 64).unwrap_or(0)
    }
}

/// Draws the two accounts of transfers, as indices.
#[derive(Clone, Debug)]
pub(crate) struct Draw {
    distribution: Distribution,
    accounts: usize,
    /// For Zipf: where each account's share ends, out of `u64::MAX`.
    ends: std::sync::Arc<[u64]>,
}

impl Draw {
    /// Over so many accounts, at least two.
    pub(crate) fn new(distribution: Distribution, accounts: usize) -> Self {
        let ends = if distribution == Distribution::Zipf { zipf_ends(accounts) } else { [].into() };
        Self { distribution, accounts: accounts.max(2), ends }
    }

    /// From which account to which: never the same.
    pub(crate) fn pair(&self, random: &mut Random) -> (usize, usize) {
        match self.distribution {
            Distribution::Uniform => distinct(self.accounts, random),
            Distribution::TenHot => distinct(self.accounts.min(10), random),
            Distribution::OneHot => {
                let other = 1 + random.below(self.accounts - 1);
                if random.next() & 1 == 0 { (0, other) } else { (other, 0) }
            }
            Distribution::Zipf => {
                let from = self.zipf(random);
                loop {
                    let to = self.zipf(random);
                    if to != from {
                        return (from, to);
                    }
                }
            }
        }
    }

    fn zipf(&self, random: &mut Random) -> usize {
        let at = random.next();
        self.ends.partition_point(|end| *end < at).min(self.accounts - 1)
    }
}

fn distinct(accounts: usize, random: &mut Random) -> (usize, usize) {
    let from = random.below(accounts);
    let to = random.below(accounts - 1);
    (from, if to >= from { to + 1 } else { to })
}

/// The cumulated shares 1/n^0.99.
// Shares of a random draw are no money.
#[allow(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn zipf_ends(accounts: usize) -> std::sync::Arc<[u64]> {
    let shares: Vec<f64> = (1..=accounts.max(2)).map(|rank| 1.0 / (rank as f64).powf(0.99)).collect();
    let total: f64 = shares.iter().sum();
    let mut sum = 0.0;
    shares
        .iter()
        .map(|share| {
            sum += share;
            (sum / total * u64::MAX as f64) as u64
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(distribution: Distribution, accounts: usize) -> Vec<u32> {
        let draw = Draw::new(distribution, accounts);
        let mut random = Random::new(7);
        let mut counts = vec![0; accounts];
        for _ in 0..100_000 {
            let (from, to) = draw.pair(&mut random);
            assert_ne!(from, to);
            counts[from] += 1;
            counts[to] += 1;
        }
        counts
    }

    #[test]
    fn each_distribution_spreads_transfers_as_its_name_says() {
        let uniform = counts(Distribution::Uniform, 100);
        assert!(uniform.iter().all(|count| (1_700..2_300).contains(count)), "{uniform:?}");
        let zipf = counts(Distribution::Zipf, 100);
        assert!(zipf[0] > 3 * zipf[9] && zipf[0] > 20 * zipf[99] && zipf[99] > 0, "{zipf:?}");
        let ten = counts(Distribution::TenHot, 100);
        assert!(ten[..10].iter().all(|count| *count > 18_000) && ten[10..].iter().all(|count| *count == 0), "{ten:?}");
        let one = counts(Distribution::OneHot, 100);
        assert!(one[0] == 100_000 && one[1..].iter().all(|count| *count > 700), "{one:?}");
    }
}
