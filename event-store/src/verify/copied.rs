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

/// Gives `each` the rows of that query, each of `N` fields, in order and while they come; after its first error, or
/// what is not the format, none is given any more.
///
/// Not to be given up half way: the connection would go back to its pool with the rest of the rows still to come,
/// and whoever got it next would read those. So it runs in a task of its own that nobody aborts, and reads to the end
/// in any case.
///
/// # Errors
/// That of `each`; or the database does not answer, or not in the format.
pub(super) async fn copy<const N: usize>(
    pool: &PgPool,
    query: &str,
    mut each: impl FnMut([&[u8]; N]) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let statement = format!("COPY ({query}) TO STDOUT (FORMAT binary)");
    let mut chunks = pool.copy_out_raw(&statement).await?;
    let (mut rows, mut result) = (Rows::default(), Ok(()));
    while let Some(chunk) = chunks.try_next().await? {
        if result.is_ok() {
            result = rows.read(&chunk, &mut each);
        }
    }
    result?;
    if matches!(rows.place, Place::End) { Ok(()) } else { Err(unreadable()) }
}

/// Where in the format the reader is, and what it read of a row whose end is still to come.
#[derive(Default)]
struct Rows {
    place: Place,
    begun: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
enum Place {
    #[default]
    Header,
    Row,
    End,
}

impl Rows {
    /// PostgreSQL sends one row at a time, but does not promise it.
    fn read<const N: usize>(
        &mut self,
        chunk: &[u8],
        each: &mut impl FnMut([&[u8]; N]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut begun = std::mem::take(&mut self.begun);
        let mut bytes = if begun.is_empty() {
            Bytes(chunk)
        } else {
            begun.extend_from_slice(chunk);
            Bytes(&begun)
        };
        while !bytes.0.is_empty() {
            let before = bytes.0;
            match self.next(&mut bytes)? {
                Read::Row(row) => each(row)?,
                Read::HeaderOrEnd => {}
                Read::Begun => {
                    self.begun = before.to_vec();
                    break;
                }
            }
        }
        Ok(())
    }

    fn next<'a, const N: usize>(&mut self, bytes: &mut Bytes<'a>) -> Result<Read<'a, N>, ReadError> {
        let read = match self.place {
            Place::Header => bytes.header()?,
            Place::Row => bytes.row()?,
            Place::End => return Err(unreadable()),
        };
        self.place = match (self.place, &read) {
            (place, Read::Begun) => place,
            (Place::Header, _) | (_, Read::Row(_)) => Place::Row,
            (Place::Row | Place::End, Read::HeaderOrEnd) => Place::End,
        };
        Ok(read)
    }
}

/// What is next.
enum Read<'a, const N: usize> {
    Row([&'a [u8]; N]),
    HeaderOrEnd,
    /// Something whose end is still to come.
    Begun,
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
    fn header<const N: usize>(&mut self) -> Result<Read<'a, N>, ReadError> {
        let Some(signature) = self.take(SIGNATURE.len()) else { return Ok(Read::Begun) };
        if signature != SIGNATURE {
            return Err(unreadable());
        }
        let _flags = self.take(4);
        Ok(if self.sized()?.is_some() { Read::HeaderOrEnd } else { Read::Begun })
    }

    fn row<const N: usize>(&mut self) -> Result<Read<'a, N>, ReadError> {
        let Some(fields) = self.take(2) else { return Ok(Read::Begun) };
        if fields == [0xff, 0xff] {
            return Ok(Read::HeaderOrEnd);
        }
        if fields.try_into().map_or(0, u16::from_be_bytes) as usize != N {
            return Err(unreadable());
        }
        let mut row = [&[][..]; N];
        for field in &mut row {
            let Some(value) = self.sized()? else { return Ok(Read::Begun) };
            *field = value;
        }
        Ok(Read::Row(row))
    }

    /// What has its length before it, which is -1 for a null; none if its end is still to come.
    fn sized(&mut self) -> Result<Option<&'a [u8]>, ReadError> {
        let Some(length) = self.take(4) else { return Ok(None) };
        let length = length.try_into().map_or(-1, i32::from_be_bytes);
        Ok(self.take(usize::try_from(length).map_err(|_| unreadable())?))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
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

    /// The rows in pieces of that length, and whether they came to their end.
    fn read<const N: usize>(bytes: &[u8], length: usize) -> Result<(Vec<Vec<String>>, bool), ReadError> {
        let (mut reader, mut rows) = (Rows::default(), Vec::new());
        for chunk in bytes.chunks(length) {
            reader.read(chunk, &mut |row: [&[u8]; N]| {
                rows.push(row.iter().map(|field| text(field).unwrap().to_owned()).collect());
                Ok(())
            })?;
        }
        Ok((rows, matches!(reader.place, Place::End)))
    }

    #[test]
    fn rows_are_read_as_they_were_copied_however_they_are_cut() {
        let bytes = copied(&[["a", ""], ["position", "text"]]);
        for length in 1..=bytes.len() {
            let (rows, ended) = read::<2>(&bytes, length).unwrap();
            assert_eq!(rows, [["a", ""], ["position", "text"]]);
            assert!(ended);
        }
        assert_eq!(number(b"position").unwrap(), i64::from_be_bytes(*b"position"));
        assert!(number(b"text").is_err(), "not eight bytes");
    }

    #[test]
    fn bytes_that_end_too_early_are_no_end_wherever_they_end() {
        let bytes = copied(&[["a", "b"], ["c", "d"]]);
        for length in 0..bytes.len() {
            let ended = read::<2>(&bytes[..length], bytes.len()).map(|(_, ended)| ended);
            assert!(!ended.unwrap(), "cut after {length} bytes");
        }
    }

    #[test]
    fn what_is_not_the_format_is_an_error() {
        let bytes = copied(&[["a", "b"]]);
        assert!(read::<3>(&bytes, bytes.len()).is_err(), "another number of fields");
        assert!(read::<2>(&[bytes.clone(), vec![0]].concat(), bytes.len()).is_err(), "more after the end");
        assert!(read::<2>(&[&b"X"[..], &bytes].concat(), bytes.len()).is_err(), "another signature");
    }

    #[test]
    fn the_first_error_is_the_last_row() {
        let (bytes, mut given) = (copied(&[["a", "b"], ["c", "d"]]), 0);
        let result = Rows::default().read(&bytes, &mut |_: [&[u8]; 2]| {
            given += 1;
            Err(unreadable())
        });
        assert!(result.is_err());
        assert_eq!(given, 1);
    }
}
