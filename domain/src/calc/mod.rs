//! Loan schedules: day counts, rounding, annuities, instalments. Pure arithmetic on money and
//! dates; it knows no aggregate, reads no clock and uses no floats.
//!
//! Invariants of every schedule: the principal parts sum exactly to the loan's principal and each
//! is at least one minor unit (but for a first instalment of interest alone), interest is never negative, due dates strictly increase, the last
//! balance is zero, and no amount is beyond [`crate::money::AMOUNT_MINOR_MAX`].
//!
//! A schedule is made in three steps, each with its own file: `calendar` says when instalments are
//! due, `day_count` what one period's rate is (an exact ratio), `schedule` what is due. Money is
//! rounded in one place, [`Rounding`], once for each figure.
//!
//! ```
//! use domain::calc::{AnnualRate, Terms, schedule};
//!
//! // 100.00 at 7 % over six months of 30 days: the instalment is 100.00 / (v + v² + … + v⁶) with
//! // v = 1 / (1 + 0.07 / 12), which is 17.01; the first interest is 100.00 × 0.07 / 12 = 0.58.
//! let terms = Terms {
//!     principal_minor: 10_000,
//!     minor_units: 2,
//!     annual_rate: "7".parse::<AnnualRate>()?,
//!     method: Default::default(),
//!     amortization: Default::default(),
//!     day_count: Default::default(),
//!     frequency: Default::default(),
//!     instalments: 6,
//!     disbursed_on: "2024-01-01".parse()?,
//!     first_due_on: None,
//!     rounding: Default::default(),
//!     instalment_multiple_minor: None,
//! };
//! let instalments = schedule(&terms)?;
//! assert_eq!((instalments[0].principal_minor, instalments[0].interest_minor), (1643, 58));
//! assert_eq!((instalments[5].principal_minor, instalments[5].interest_minor), (1690, 10));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod annuity;
mod calendar;
mod day_count;
mod error;
mod rate;
mod rounding;
mod schedule;
mod split;
mod terms;

pub use calendar::{Frequency, Period, periods};
pub use day_count::{DayCount, PeriodRate};
pub use error::CalcError;
pub use rate::{AnnualRate, InvalidRate};
pub use rounding::Rounding;
pub use schedule::{Instalment, schedule};
pub use split::split;
pub use terms::{Amortization, INSTALMENTS_MAX, InterestMethod, Terms};
