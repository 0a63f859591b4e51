//! JSON as a parameter of a statement.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};
use sqlx::{Encode, Postgres, Type};

/// JSON as it is to be stored, for a parameter of type `json`, or many of them for one of `json[]`.
/// PostgreSQL checks its form as it comes in; given as `text` it would be turned into `json` after that.
#[derive(Clone, Copy, Debug)]
pub struct JsonText<'a>(pub &'a str);

/// Of PostgreSQL's own types, the same in every database: `json` and `json[]`.
const JSON: Oid = Oid(114);
const JSON_ARRAY: Oid = Oid(199);

impl Type<Postgres> for JsonText<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(JSON)
    }
}

impl PgHasArrayType for JsonText<'_> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(JSON_ARRAY)
    }
}

impl<'q> Encode<'q, Postgres> for JsonText<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}
