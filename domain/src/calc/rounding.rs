//! Rounding by name: the one place where a figure loses a fraction.

use std::cmp::Ordering;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a figure between two minor units becomes one of them. Every way treats a negative figure as
/// the mirror of its positive one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// To the nearest; a half to the even neighbour, so that halves favour neither side.
    #[default]
    HalfEven,
    /// To the nearest; a half away from zero.
    HalfUp,
    /// To the nearest; a half towards zero.
    HalfDown,
    /// Away from zero.
    Up,
    /// Towards zero.
    Down,
}

impl Rounding {
    /// The integer for an exact ratio. A denominator below one counts as one.
    pub(super) fn divide(self, numerator: i128, denominator: i128) -> i128 {
        let denominator = denominator.max(1);
        let quotient = numerator / denominator;
        let rest = (numerator % denominator).abs();
        // The rest against the half, written so that nothing is doubled and nothing can overflow.
        let half = rest.cmp(&(denominator - rest));
        let away = match self {
            Rounding::HalfEven => half == Ordering::Greater || (half == Ordering::Equal && quotient % 2 != 0),
            Rounding::HalfUp => half != Ordering::Less,
            Rounding::HalfDown => half == Ordering::Greater,
            Rounding::Up => rest != 0,
            Rounding::Down => false,
        };
        if away { quotient + numerator.signum() } else { quotient }
    }

    /// Whether this goes to the nearest neighbour, rather than always the same way.
    pub(super) const fn to_nearest(self) -> bool {
        match self {
            Rounding::HalfEven | Rounding::HalfUp | Rounding::HalfDown => true,
            Rounding::Up | Rounding::Down => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_what_its_name_says() {
        // Halves of 1..=5 and their neighbours: numerators over 4.
        let rounded = |rounding: Rounding| [5, 6, 7, 10, 8].map(|quarters| rounding.divide(quarters, 4));
        assert_eq!(rounded(Rounding::HalfEven), [1, 2, 2, 2, 2]);
        assert_eq!(rounded(Rounding::HalfUp), [1, 2, 2, 3, 2]);
        assert_eq!(rounded(Rounding::HalfDown), [1, 1, 2, 2, 2]);
        assert_eq!(rounded(Rounding::Up), [2, 2, 2, 3, 2]);
        assert_eq!(rounded(Rounding::Down), [1, 1, 1, 2, 2]);
    }

    #[test]
    fn a_negative_figure_is_the_mirror_of_its_positive_one() {
        for rounding in [Rounding::HalfEven, Rounding::HalfUp, Rounding::HalfDown, Rounding::Up, Rounding::Down] {
            for numerator in 0..40 {
                assert_eq!(rounding.divide(-numerator, 4), -rounding.divide(numerator, 4), "{rounding:?} {numerator}");
            }
        }
    }

    #[test]
    fn the_widest_figures_do_not_overflow() {
        for rounding in [Rounding::HalfEven, Rounding::Up, Rounding::Down] {
            assert_eq!(rounding.divide(i128::MIN, 1), i128::MIN);
            assert_eq!(rounding.divide(i128::MAX, i128::MAX), 1);
            assert_eq!(rounding.divide(i128::MIN, i128::MAX), if rounding == Rounding::Up { -2 } else { -1 });
            assert_eq!(rounding.divide(7, 0), 7);
        }
    }
}
