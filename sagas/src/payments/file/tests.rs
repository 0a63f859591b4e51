//! Files as banks send them, and as they must not be.

use std::io::{BufReader, Read};

use super::{FileFault, IncomingFile, IncomingPayment, LINE_BYTES_MAX};

const HEADER: &str = "bank_reference,booked_on,value_date,amount,currency,reference\n";

/// Payments, and errors as text, in the file's order.
fn read(text: impl AsRef<[u8]>) -> Vec<Result<IncomingPayment, String>> {
    IncomingFile::new(text.as_ref()).map(|item| item.map_err(|error| error.to_string())).collect()
}

fn errors(rows: &str) -> Vec<String> {
    read(format!("{HEADER}{rows}")).into_iter().filter_map(Result::err).collect()
}

#[test]
fn a_file_is_read_as_it_is_written() {
    let rows =
        "B-1,2026-01-31,2026-02-01,1234.50,CZK,loan 7\r\n\nB-2,2026-01-31,2026-01-31,100,JPY,\"of \"\"A, B\"\"\"";
    let payments: Vec<_> = read(format!("\u{feff}{HEADER}{rows}")).into_iter().map(Result::unwrap).collect();
    let summary: Vec<_> = payments
        .iter()
        .map(|payment| {
            format!(
                "{} {} {} {} [{}]",
                payment.bank_reference, payment.booked_on, payment.value_date, payment.amount, payment.reference
            )
        })
        .collect();
    assert_eq!(
        summary,
        ["B-1 2026-01-31 2026-02-01 1234.50 CZK [loan 7]", "B-2 2026-01-31 2026-01-31 100 JPY [of \"A, B\"]"]
    );
}

#[test]
fn every_error_names_its_line_and_the_lines_between_are_read() {
    let rows = "B-1,2026-01-31,2026-01-31,1.00,CZK,\n\
                B-2,2026-1-31,2026-01-31,1.00,CZK,\r\n\
                \n\
                B-3,2026-01-31,2026-02-30,1.00,CZK,\n\
                B-4,2026-01-31,2026-01-31,1.001,CZK,\n\
                B-5,2026-01-31,2026-01-31,-1.00,CZK,\n\
                B-6,2026-01-31,2026-01-31,1.00,XXX,\n\
                B-7,2026-01-31,2026-01-31,1.00,CZK\n\
                B-1,2026-01-31,2026-01-31,2.00,CZK,again\n\
                B 8,2026-01-31,2026-01-31,1.00,CZK,\n\
                B-9,2026-01-31,2026-01-31,1.00,CZK,last\n";
    let read = read(format!("{HEADER}{rows}"));
    let references: Vec<_> = read.iter().flatten().map(|payment| payment.bank_reference.as_str()).collect();
    assert_eq!(references, ["B-1", "B-9"]);
    let errors: Vec<_> = read.iter().filter_map(|item| item.as_ref().err()).collect();
    let begins = [
        "line 3: booked_on:",
        "line 5: value_date:",
        "line 6: amount:",
        "line 7: amount:",
        "line 8: currency:",
        "line 9: there are 5 columns",
        "line 10: bank_reference: this reference is in the file before",
        "line 11: bank_reference:",
    ];
    assert_eq!(errors.len(), begins.len(), "{errors:?}");
    for (error, begin) in errors.iter().zip(begins) {
        assert!(error.starts_with(begin), "{error} / {begin}");
    }
}

#[test]
fn a_file_without_its_header_is_none() {
    for text in ["", "B-1,2026-01-31,2026-01-31,1.00,CZK,\n", "bank_reference;booked_on\n", "reference,amount\n1,2\n"] {
        let read = read(text);
        assert_eq!(read.len(), 1, "{text}");
        assert!(read[0].as_ref().unwrap_err().starts_with("line 1: the first line must be bank_reference,"));
    }
    assert!(read(HEADER).is_empty());
}

#[test]
fn what_could_swallow_the_rest_of_the_file_ends_it_at_its_line() {
    let open = "B-1,2026-01-31,2026-01-31,1.00,CZK,\"open\nB-2,2026-01-31,2026-01-31,1.00,CZK,\n";
    assert_eq!(errors(open), ["line 2: a quotation mark is not closed on its line"]);
    let long = format!("B-1,2026-01-31,2026-01-31,1.00,CZK,\nB-2,{}\n", "x".repeat(LINE_BYTES_MAX));
    assert_eq!(errors(&long), ["line 3: longer than 4096 bytes"]);
    let not_text = [HEADER.as_bytes(), b"B-1,2026-01-31,2026-01-31,1.00,CZK,\xff\xfe\n"].concat();
    assert_eq!(read(not_text), [Err("line 2: not UTF-8".to_owned())]);
}

/// A file that is made while it is read, and remembers how much was asked of it.
struct Endless {
    rows: u64,
    next: u64,
    rest: Vec<u8>,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.rest.is_empty() && self.next < self.rows {
            self.rest = format!("B-{},2026-01-31,2026-01-31,1.00,CZK,row\n", self.next).into_bytes();
            self.next += 1;
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}

#[test]
fn a_large_file_is_read_as_it_comes() {
    let rows = 50_000;
    let source = HEADER.as_bytes().chain(Endless { rows, next: 0, rest: Vec::new() });
    let mut file = IncomingFile::new(BufReader::with_capacity(4096, source));
    // The first payment is there before the source has given more than a few buffers.
    assert_eq!(file.next().unwrap().unwrap().bank_reference, "B-0");
    assert!(file.reader.get_ref().inner.get_ref().get_ref().1.next < 1_000);
    assert_eq!(
        file.map(|payment| payment.unwrap().amount.amount_minor).sum::<i64>(),
        i64::try_from(rows - 1).unwrap() * 100
    );
}

#[test]
fn a_file_that_breaks_off_is_told_as_that() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    let mut file = IncomingFile::new(BufReader::new(HEADER.as_bytes().chain(Broken)));
    let error = file.next().unwrap().unwrap_err();
    assert!(matches!(error.fault, FileFault::Io(_)) && error.to_string().contains("the disk is gone"), "{error}");
    assert!(file.next().is_none());
}
