//! The file of payments that came in, as a bank hands it over; docs/incoming-payments.md describes it.
//!
//! Invariants: it is read line by line, in bounded memory but for 16 bytes a payment by which its
//! reference is known again; an error names its line; a payment is never half read. A caller that
//! wants all or nothing reads the file twice: once for its errors, once for its payments.

use std::collections::HashSet;
use std::io::{self, BufRead, Read};

use chrono::NaiveDate;
use csv::StringRecord;
use domain::Money;
use domain::money::{Currency, MoneyError};
use sha2::{Digest, Sha256};

/// The first line of every file.
pub const HEADER: [&str; 6] = ["bank_reference", "booked_on", "value_date", "amount", "currency", "reference"];
/// The longest line, in bytes.
pub const LINE_BYTES_MAX: usize = 4096;

const BANK_REFERENCE_LENGTH_MAX: usize = 64;
const REFERENCE_LENGTH_MAX: usize = 140;

/// A payment that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingPayment {
    /// The bank's own name for it: what makes taking it idempotent.
    pub bank_reference: String,
    /// The bank's date of it.
    pub booked_on: NaiveDate,
    /// From when it counts.
    pub value_date: NaiveDate,
    /// How much, greater than zero.
    pub amount: Money,
    /// What the payer wrote; may be empty.
    pub reference: String,
}

/// What is wrong with a file, and in which line (from 1, the header).
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct FileError {
    /// The line.
    pub line: u64,
    /// What is wrong there.
    pub fault: FileFault,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// The first line is not the header.
    #[error("the first line must be {}", HEADER.join(","))]
    Header,
    /// A line has too many or too few columns.
    #[error("there are {found} columns instead of {}", HEADER.len())]
    Columns {
        /// How many there are.
        found: usize,
    },
    /// A line is longer than any payment; nothing after it is read.
    #[error("longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// A quotation mark is open at the end of the line; nothing after it is read.
    #[error("a quotation mark is not closed on its line")]
    OpenQuote,
    /// Something is not text.
    #[error("not UTF-8")]
    NotText,
    /// A column is not what it must be.
    #[error("{column}: {reason}")]
    Value {
        /// The column.
        column: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// An amount or a currency is not one.
    #[error("{column}: {error}")]
    Money {
        /// The column.
        column: &'static str,
        /// What is wrong.
        error: MoneyError,
    },
    /// The same reference is in the file before.
    #[error("bank_reference: this reference is in the file before")]
    Duplicate,
    /// The file cannot be read on.
    #[error("{0}")]
    Io(io::Error),
}

impl FileFault {
    /// Whether the rest of the file cannot be read.
    pub fn ends_the_file(&self) -> bool {
        matches!(self, Self::Header | Self::TooLong | Self::OpenQuote | Self::Io(_))
    }
}

/// The payments of a file, one after the other. After an error of one line it goes on with the next,
/// so that all errors can be told at once; after one that ends the file it is at its end.
pub struct IncomingFile<R: BufRead> {
    reader: csv::Reader<Lines<R>>,
    seen: HashSet<[u8; 16]>,
    record: StringRecord,
    begun: bool,
    ended: bool,
}

impl<R: BufRead> IncomingFile<R> {
    /// Reads from here; nothing is read yet.
    pub fn new(reader: R) -> Self {
        // Rows of another width are told by us, with their line.
        let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(Lines::new(reader));
        Self { reader, seen: HashSet::new(), record: StringRecord::new(), begun: false, ended: false }
    }

    fn read(&mut self) -> Option<Result<IncomingPayment, FileError>> {
        let read = self.reader.read_record(&mut self.record);
        // A record is a whole line, and the reader stands at the one after it. The record's own
        // position would be that of the empty lines before it.
        let line = self.reader.position().line().saturating_sub(1).max(1);
        let parsed = match read {
            Ok(false) if self.begun => return None,
            Ok(false) => return Some(Err(FileError { line: 1, fault: FileFault::Header })),
            Ok(true) if !self.begun => {
                if self.record.iter().ne(HEADER) {
                    return Some(Err(FileError { line: 1, fault: FileFault::Header }));
                }
                self.begun = true;
                return self.read();
            }
            Ok(true) => payment(&self.record).and_then(|payment| self.first_time(payment)),
            Err(error) => return Some(Err(unreadable(error, line))),
        };
        Some(parsed.map_err(|fault| FileError { line, fault }))
    }

    fn first_time(&mut self, payment: IncomingPayment) -> Result<IncomingPayment, FileFault> {
        let mut mark = [0; 16];
        mark.copy_from_slice(&Sha256::digest(payment.bank_reference.as_bytes())[..16]);
        if self.seen.insert(mark) { Ok(payment) } else { Err(FileFault::Duplicate) }
    }
}

impl<R: BufRead> Iterator for IncomingFile<R> {
    type Item = Result<IncomingPayment, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.read();
        self.ended = match &item {
            None => true,
            Some(Ok(_)) => false,
            Some(Err(error)) => error.fault.ends_the_file(),
        };
        item
    }
}

fn unreadable(error: csv::Error, line: u64) -> FileError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => match error.downcast::<FileError>() {
            Ok(error) => error,
            Err(error) => FileError { line, fault: FileFault::Io(error) },
        },
        csv::ErrorKind::Utf8 { .. } => FileError { line, fault: FileFault::NotText },
        // Without deserialization and with rows of any width there is no other.
        _ => FileError { line, fault: FileFault::Io(io::Error::other("the file cannot be read")) },
    }
}

fn payment(record: &StringRecord) -> Result<IncomingPayment, FileFault> {
    let fields: Vec<&str> = record.iter().collect();
    let found = fields.len();
    let Ok([bank_reference, booked_on, value_date, amount, currency, reference]) = <[&str; 6]>::try_from(fields) else {
        return Err(FileFault::Columns { found });
    };
    let length = bank_reference.len();
    if !(1..=BANK_REFERENCE_LENGTH_MAX).contains(&length) || !bank_reference.bytes().all(|byte| byte.is_ascii_graphic())
    {
        let reason = "1 to 64 visible ASCII characters are needed";
        return Err(FileFault::Value { column: "bank_reference", reason });
    }
    if reference.chars().count() > REFERENCE_LENGTH_MAX || reference.chars().any(char::is_control) {
        return Err(FileFault::Value { column: "reference", reason: "at most 140 characters on one line are taken" });
    }
    let currency: Currency = currency.parse().map_err(|error| FileFault::Money { column: "currency", error })?;
    Ok(IncomingPayment {
        bank_reference: bank_reference.to_owned(),
        booked_on: date("booked_on", booked_on)?,
        value_date: date("value_date", value_date)?,
        amount: Money::parse_positive(amount, currency)
            .map_err(|error| FileFault::Money { column: "amount", error })?,
        reference: reference.to_owned(),
    })
}

/// Exactly `YYYY-MM-DD`; the library alone would take `2026-1-2` and more.
fn date(column: &'static str, text: &str) -> Result<NaiveDate, FileFault> {
    let fits = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    text.parse().ok().filter(|_| fits).ok_or(FileFault::Value { column, reason: "a date like 2026-01-31 is needed" })
}

/// Passes whole lines on, each ending with one line feed, and refuses what could make one record of the rest of the file: a line
/// without end, or a quotation that goes on after it.
struct Lines<R> {
    inner: R,
    line: Vec<u8>,
    given: usize,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn new(inner: R) -> Self {
        Self { inner, line: Vec::new(), given: 0, number: 0 }
    }

    fn next_line(&mut self) -> io::Result<()> {
        self.line.clear();
        self.given = 0;
        let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        self.inner.by_ref().take(limit).read_until(b'\n', &mut self.line)?;
        self.number += 1;
        let fault = if self.line.len() > LINE_BYTES_MAX {
            FileFault::TooLong
        } else if self.line.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
            FileFault::OpenQuote
        } else {
            self.end_with_line_feed();
            return Ok(());
        };
        self.line.clear();
        Err(io::Error::new(io::ErrorKind::InvalidData, FileError { line: self.number, fault }))
    }
}

impl<R> Lines<R> {
    fn end_with_line_feed(&mut self) {
        if self.line.is_empty() {
            return;
        }
        for ending in [b'\n', b'\r'] {
            if self.line.last() == Some(&ending) {
                self.line.pop();
            }
        }
        self.line.push(b'\n');
    }
}

impl<R: BufRead> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.line.len() {
            self.next_line()?;
        }
        let rest = self.line.get(self.given..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
