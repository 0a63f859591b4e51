//! Rows as PostgreSQL copies them out, in binary: that costs both sides a fraction of what the rows of a query
//! cost, and what is read can be borrowed.
//!
//! The format is that of `COPY … TO STDOUT (FORMAT binary)`: a signature of 11 bytes, flags, an extension with
//! its length; then for each row the number of its fields, and each field with its length before it; then -1.
//! All numbers are big-endian. A column that may be null is none of ours.

use futures::TryStreamExt;
use sqlx::PgPool;
use sqlx::postgres::PgPoolCopyExt;

use crate::error::ReadError;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// What that query gives, for [`Rows`], into `bytes` instead of what was there.
///
/// Not to be given up half way: the connection would go back to its pool with the rest of the rows still to come,
/// and whoever got it next would read those. So it runs in a task of its own that nobody aborts.
pub(super) async fn copy(pool: &PgPool, query: &str, bytes: &mut Vec<u8>) -> Result<(), ReadError> {
    bytes.clear();
    let statement = format!("COPY ({query}) TO STDOUT (FORMAT binary)");
    let mut chunks = pool.copy_out_raw(&statement).await?;
    while let Some(chunk) = chunks.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(())
}

/// The rows, each of `N` fields, of what [`copy`] gave. Ends after the last, or at what is not the format.
pub(super) struct Rows<'a, const N: usize> {
    bytes: Bytes<'a>,
    place: Place,
}

enum Place {
    Header,
    Row,
    End,
}

impl<'a, const N: usize> Rows<'a, N> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: Bytes(bytes), place: Place::Header }
    }

    /// The next row, or none after the marker of the end; an outer none if this is not the format.
    fn row(&mut self) -> Option<Option<[&'a [u8]; N]>> {
        if matches!(self.place, Place::Header) {
            let known = self.bytes.take(SIGNATURE.len())? == SIGNATURE;
            let (_flags, _extension) = (self.bytes.take(4)?, self.bytes.sized()?);
            if !known {
                return None;
            }
            self.place = Place::Row;
        }
        let fields = i16::from_be_bytes(self.bytes.take(2)?.try_into().ok()?);
        if fields == -1 {
            return Some(None);
        }
        if usize::try_from(fields) != Ok(N) {
            return None;
        }
        let mut row = [&[][..]; N];
        for field in &mut row {
            *field = self.bytes.sized()?;
        }
        Some(Some(row))
    }
}

impl<'a, const N: usize> Iterator for Rows<'a, N> {
    type Item = Result<[&'a [u8]; N], ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.place, Place::End) {
            return None;
        }
        let row = self.row().ok_or_else(unreadable).transpose();
        if !matches!(row, Some(Ok(_))) {
            self.place = Place::End;
        }
        row
    }
}

fn unreadable() -> ReadError {
    ReadError::Database(sqlx::Error::Protocol("what COPY sent is not its binary format".into()))
}

/// A field of type `bigint` or `timestamptz` (microseconds since 1 January 2000).
pub(super) fn number(field: &[u8]) -> Result<i64, ReadError> {
    field.try_into().map(i64::from_be_bytes).map_err(|_| unreadable())
}

/// A field of type `text` or `json`.
pub(super) fn text(field: &[u8]) -> Result<&str, ReadError> {
    std::str::from_utf8(field).map_err(|error| ReadError::Database(sqlx::Error::Decode(error.into())))
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// What has its length before it; none for a null (a length of -1).
    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = i32::from_be_bytes(self.take(4)?.try_into().ok()?);
        self.take(usize::try_from(length).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(rows: &[[&str; 2]]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        // No flags, an extension that readers are to pass over.
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]);
        for row in rows {
            bytes.extend_from_slice(&[0, 2]);
            for field in row {
                bytes.extend_from_slice(&(field.len() as i32).to_be_bytes());
                bytes.extend_from_slice(field.as_bytes());
            }
        }
        bytes.extend_from_slice(&[0xff, 0xff]);
        bytes
    }

    #[test]
    fn rows_are_read_as_they_were_copied() {
        let bytes = copied(&[["a", ""], ["position", "text"]]);
        let rows = Rows::<2>::new(&bytes).collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(rows, [[&b"a"[..], b""], [b"position", b"text"]]);
        assert_eq!(number(rows[1][0]).unwrap(), i64::from_be_bytes(*b"position"));
        assert!(number(rows[1][1]).is_err(), "not eight bytes");
    }

    #[test]
    fn bytes_that_end_too_early_are_an_error_wherever_they_end() {
        let bytes = copied(&[["a", "b"], ["c", "d"]]);
        for length in 0..bytes.len() {
            assert!(Rows::<2>::new(&bytes[..length]).any(|row| row.is_err()), "cut after {length} bytes");
        }
        assert!(Rows::<3>::new(&bytes).any(|row| row.is_err()), "another number of fields");
    }
}
