//! Currencies, ledger codes and periods. Rare, so one statement an event.

use domain::Event;
use domain::ledger::LedgerEvent;
use sqlx::PgConnection;

use super::{ApplyError, Fact, ReadModel, word};

#[derive(Default)]
pub(super) struct Ledger<'a> {
    changes: Vec<(Fact<'a>, &'a LedgerEvent)>,
}

impl<'a> ReadModel<'a> for Ledger<'a> {
    const TABLES: &'static [&'static str] = &["currencies", "ledger_codes", "periods"];

    fn collect(&mut self, fact: &Fact<'a>) {
        if let Event::Ledger(event) = fact.event {
            self.changes.push((*fact, event));
        }
    }

    async fn flush_in_tx(&mut self, connection: &mut PgConnection) -> Result<(), ApplyError> {
        for (fact, event) in self.changes.drain(..) {
            write(connection, &fact, event).await?;
        }
        Ok(())
    }
}

async fn write(connection: &mut PgConnection, fact: &Fact<'_>, event: &LedgerEvent) -> Result<(), ApplyError> {
    let (position, recorded_at) = (fact.position(), fact.recorded_at());
    let query = match event {
        LedgerEvent::CurrencyDefined { currency, minor_units } => {
            sqlx::query("INSERT INTO currencies (currency, minor_units, position, defined_at) VALUES ($1, $2, $3, $4)")
                .bind(currency.code().to_owned())
                .bind(i16::from(*minor_units))
                .bind(position)
                .bind(recorded_at)
        }
        LedgerEvent::LedgerCodeDefined { ledger_code, name, class, normal_side, control } => sqlx::query(
            "INSERT INTO ledger_codes (ledger_code, name, class, normal_side, control, position, defined_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(ledger_code.as_str())
        .bind(name.as_str())
        .bind(word(class))
        .bind(normal_side.name())
        .bind(*control)
        .bind(position)
        .bind(recorded_at),
        LedgerEvent::PeriodOpened { period, from, to } => sqlx::query(
            "INSERT INTO periods (period_id, from_date, to_date, status, position, opened_at) \
             VALUES ($1, $2, $3, 'open', $4, $5)",
        )
        .bind(period.as_str())
        .bind(*from)
        .bind(*to)
        .bind(position)
        .bind(recorded_at),
        LedgerEvent::PeriodClosed { period } => {
            sqlx::query("UPDATE periods SET status = 'closed', closed_at = $2 WHERE period_id = $1")
                .bind(period.as_str())
                .bind(recorded_at)
        }
    };
    if query.execute(connection).await?.rows_affected() == 0 {
        return Err(ApplyError::Poison("an event of a period that is not in the read model".to_owned()));
    }
    Ok(())
}
