//! Rows for `COPY … FROM STDIN (FORMAT binary)`, for the tables that get rows with almost every event:
//! the database then takes them page by page, which costs it less than an `INSERT` of arrays.
//!
//! The format is that of PostgreSQL's manual, chapter "COPY", section "Binary Format": a signature, then for
//! each row the number of its columns and each column as its length and its value as the type's own
//! binary form, −1 for NULL. The columns' types are not part of it: they must be pushed as the table has them.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::ApplyError;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// No flags, no extension of the header.
const HEADER_REST: [u8; 8] = [0; 8];
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// The type `uuid`, as elements of an array name it.
const UUID_OID: u32 = 2950;
/// 2000-01-01, from which PostgreSQL counts, as a day and in microseconds since 1970.
const EPOCH_DAY: i64 = 10_957;
const EPOCH_US: i64 = EPOCH_DAY * 86_400_000_000;

/// Rows of one table, in its statement's columns.
pub(super) struct Rows {
    bytes: Vec<u8>,
    columns: i16,
    rows: u64,
}

impl Rows {
    /// None yet, of so many columns; room for so many rows of about so many bytes.
    pub(super) fn new(columns: i16, rows: usize, row_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(rows.saturating_mul(row_bytes).saturating_add(32));
        bytes.extend_from_slice(SIGNATURE);
        bytes.extend_from_slice(&HEADER_REST);
        Self { bytes, columns, rows: 0 }
    }

    /// Begins the next row: all its columns are to be pushed now.
    pub(super) fn row(&mut self) -> &mut Self {
        self.rows += 1;
        self.bytes.extend_from_slice(&self.columns.to_be_bytes());
        self
    }

    fn column(&mut self, value: &[u8]) -> &mut Self {
        // A value of 2 GiB cannot occur: records are limited to some megabytes.
        self.bytes.extend_from_slice(&(value.len() as i32).to_be_bytes());
        self.bytes.extend_from_slice(value);
        self
    }

    pub(super) fn null(&mut self) -> &mut Self {
        self.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
        self
    }

    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        self.column(value.as_bytes())
    }

    pub(super) fn maybe_text(&mut self, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(value),
            None => self.null(),
        }
    }

    pub(super) fn uuid(&mut self, value: Uuid) -> &mut Self {
        self.column(value.as_bytes())
    }

    pub(super) fn maybe_uuid(&mut self, value: Option<Uuid>) -> &mut Self {
        match value {
            Some(value) => self.uuid(value),
            None => self.null(),
        }
    }

    pub(super) fn integer(&mut self, value: i32) -> &mut Self {
        self.column(&value.to_be_bytes())
    }

    pub(super) fn bigint(&mut self, value: i64) -> &mut Self {
        self.column(&value.to_be_bytes())
    }

    pub(super) fn date(&mut self, value: NaiveDate) -> &mut Self {
        let day = i64::from(value.to_epoch_days()) - EPOCH_DAY;
        self.column(&(day as i32).to_be_bytes())
    }

    pub(super) fn time(&mut self, value: DateTime<Utc>) -> &mut Self {
        self.column(&value.timestamp_micros().saturating_sub(EPOCH_US).to_be_bytes())
    }

    pub(super) fn maybe_time(&mut self, value: Option<DateTime<Utc>>) -> &mut Self {
        match value {
            Some(value) => self.time(value),
            None => self.null(),
        }
    }

    /// A value of type `jsonb`, of its JSON text.
    pub(super) fn jsonb(&mut self, json: &str) -> &mut Self {
        const VERSION: u8 = 1;
        self.bytes.extend_from_slice(&(json.len() as i32 + 1).to_be_bytes());
        self.bytes.push(VERSION);
        self.bytes.extend_from_slice(json.as_bytes());
        self
    }

    pub(super) fn uuids(&mut self, values: &[Uuid]) -> &mut Self {
        let mut array = Vec::with_capacity(20 + values.len() * 20);
        let dimensions = u32::from(!values.is_empty());
        for word in [dimensions, 0, UUID_OID] {
            array.extend_from_slice(&word.to_be_bytes());
        }
        if !values.is_empty() {
            for word in [values.len() as u32, 1] {
                array.extend_from_slice(&word.to_be_bytes());
            }
            for value in values {
                array.extend_from_slice(&16_u32.to_be_bytes());
                array.extend_from_slice(value.as_bytes());
            }
        }
        self.column(&array)
    }

    /// Writes them by a statement that copies from the client in the binary format; nothing for no rows.
    pub(super) async fn write(mut self, connection: &mut PgConnection, statement: &str) -> Result<(), ApplyError> {
        if self.rows == 0 {
            return Ok(());
        }
        self.bytes.extend_from_slice(&TRAILER);
        let mut copy = connection.copy_in_raw(statement).await?;
        copy.send(self.bytes.as_slice()).await?;
        let written = copy.finish().await?;
        if written != self.rows {
            return Err(ApplyError::Poison(format!("{written} of {} rows were taken", self.rows)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Rows;

    /// The bytes that `COPY (SELECT …) TO STDOUT (FORMAT binary)` of PostgreSQL 15 gives for the same values.
    #[test]
    fn the_bytes_are_postgresql_s() {
        let mut rows = Rows::new(7, 1, 0);
        rows.row()
            .integer(7)
            .maybe_text(None)
            .text("é")
            .date(chrono::NaiveDate::from_ymd_opt(1999, 12, 31).unwrap_or_default())
            .time(chrono::DateTime::UNIX_EPOCH)
            .jsonb("{}")
            .uuids(&[]);
        let expected = "5047434f50590aff0d0a00\
            0000000000000000\
            0007\
            0000000400000007\
            ffffffff\
            00000002c3a9\
            00000004ffffffff\
            00000008fffca2fec4c82000\
            00000003017b7d\
            0000000c000000000000000000000b86";
        let found: String = rows.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected);
    }
}
