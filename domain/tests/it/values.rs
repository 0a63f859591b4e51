//! Money, words and ids under random texts: what is read is exact, what is not is refused.

use domain::money::{AMOUNT_MINOR_MAX, decimal};
use domain::words::{LedgerCode, Number, ReasonCode, Sealed, Title};
use domain::{Currency, Money, StreamId};
use proptest::prelude::*;

const CODES: [&str; 4] = ["CZK", "JPY", "KWD", "CLF"];

fn a_currency() -> impl Strategy<Value = Currency> {
    prop::sample::select(&CODES[..]).prop_map(|code| code.parse().unwrap())
}

proptest! {
    #[test]
    fn an_amount_reads_back_as_it_was_written(
        amount_minor in -AMOUNT_MINOR_MAX..=AMOUNT_MINOR_MAX,
        currency in a_currency(),
    ) {
        let money = Money::new(amount_minor, currency);
        prop_assert_eq!(Money::parse(&money.decimal(), currency), Ok(money));
        let text = serde_json::to_string(&money).unwrap();
        prop_assert_eq!(serde_json::from_str::<Money>(&text).unwrap(), money);
    }

    #[test]
    fn what_is_read_is_exact_or_refused(text in "-?[0-9]{0,18}(\\.[0-9]{0,5})?", currency in a_currency()) {
        if let Ok(money) = Money::parse(&text, currency) {
            prop_assert!(money.amount_minor.abs() <= AMOUNT_MINOR_MAX);
            // The same digits again, but for leading zeros, missing decimals and a negative zero.
            let trim = |text: &str| {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
                (whole.trim_start_matches(['-', '0']).to_owned(), fraction.trim_end_matches('0').to_owned())
            };
            prop_assert_eq!(trim(&money.decimal()), trim(&text));
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC{0,40}", currency in a_currency()) {
        let _ = Money::parse(&text, currency);
        let _ = text.parse::<Currency>();
        let _ = (Number::try_new(&*text), ReasonCode::try_new(&*text), Title::try_new(&*text));
        let _ = (LedgerCode::try_new(&*text), Sealed::try_new(&*text));
        let _ = text.parse::<StreamId>();
    }
}

#[test]
fn sums_of_many_amounts_are_written_in_full() {
    let czk: Currency = "CZK".parse().unwrap();
    assert_eq!(decimal(i128::from(AMOUNT_MINOR_MAX) * 1_000_000, czk), "90071992547409910000.00");
    assert_eq!(decimal(i128::from(i64::MIN), czk), "-92233720368547758.08");
    assert_eq!(decimal(-7, czk), "-0.07");
}
