//! Rows that the rules refused, with the reason and what became of them: a file for the operator.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use domain::Money;

use super::berka::{Transaction, currency};
use super::client::Refusal;

const FILE_NAME: &str = "refused.csv";

/// What a refused thing is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    /// A row of `trans.asc`.
    Transaction(&'a Transaction),
    /// A member, an account or a credit line, by its idempotency key.
    Other(&'a str),
}

/// A refusal for the file.
pub(crate) struct Line<'a> {
    pub(crate) subject: Subject<'a>,
    pub(crate) refusal: &'a Refusal,
    /// What became of it.
    pub(crate) outcome: &'static str,
}

/// Writes the file anew and tells where it is.
pub(crate) fn write<'a>(folder: &Path, lines: impl IntoIterator<Item = Line<'a>>) -> Result<PathBuf> {
    let path = folder.join(FILE_NAME);
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let file = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
    write_to(file, lines).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}

fn write_to<'a>(writer: impl std::io::Write, lines: impl IntoIterator<Item = Line<'a>>) -> Result<()> {
    let mut csv = csv::Writer::from_writer(writer);
    csv.write_record(["what", "account", "date", "direction", "amount", "status", "code", "detail", "outcome"])?;
    for line in lines {
        let [what, account, date, direction, amount] = match line.subject {
            Subject::Transaction(row) => [
                format!("berka-trans-{}", row.trans_id),
                row.account_id.to_string(),
                row.date.to_string(),
                row.direction.to_string(),
                Money::new(row.amount_minor, currency()).decimal(),
            ],
            Subject::Other(key) => [key.to_owned(), String::new(), String::new(), String::new(), String::new()],
        };
        let status = line.refusal.status.to_string();
        let (code, detail) = (line.refusal.code.as_str(), line.refusal.detail.as_str());
        csv.write_record([&what, &account, &date, &direction, &amount, &status, code, detail, line.outcome])?;
    }
    Ok(csv.flush()?)
}

#[cfg(test)]
mod tests {
    use super::super::berka::{Direction, Operation, Symbol};
    use super::*;

    #[test]
    fn a_refused_row_is_told_with_its_reason() {
        let row = Transaction {
            trans_id: 7,
            account_id: 576,
            date: chrono::NaiveDate::from_ymd_opt(1993, 6, 30).unwrap(),
            direction: Direction::Debit,
            operation: Operation::CashWithdrawal,
            symbol: Symbol::None,
            amount_minor: 12_345,
            balance_minor: 0,
        };
        let refusal = Refusal { status: 422, code: "insufficient_funds".into(), detail: "too little, alas".into() };
        let mut bytes = Vec::new();
        let line = Line { subject: Subject::Transaction(&row), refusal: &refusal, outcome: "refused" };
        write_to(&mut bytes, [line]).unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "what,account,date,direction,amount,status,code,detail,outcome\n\
             berka-trans-7,576,1993-06-30,debit,123.45,422,insufficient_funds,\"too little, alas\",refused\n"
        );
    }
}
