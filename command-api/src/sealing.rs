//! Texts that are sealed: what they must be, and what a client is told when they cannot be sealed.

use event_store::SealingError;
use platform::Problem;

use crate::door::SealError;
use crate::fault::Fault;

/// A text of people: not blank, bounded, one line.
pub(crate) fn check_text(field: &'static str, text: &str, chars_max: usize) -> Result<(), Fault> {
    let fits = !text.trim().is_empty() && text.chars().count() <= chars_max && !text.chars().any(char::is_control);
    if fits {
        Ok(())
    } else {
        Err(Fault::invalid(field, format!("must be 1 to {chars_max} characters in one line, not blank")))
    }
}

/// The problem that a client is told; the log is told what is ours to repair.
pub(crate) fn cannot_seal(field: &'static str, error: &SealError) -> Problem {
    match error {
        SealError::TooManyParties { .. } => Fault::new(field, "too_many_parties", error.to_string()).into(),
        SealError::Sealing(SealingError::TooLong(_)) => {
            Fault::invalid(field, "is too long to be sealed for so many members").into()
        }
        SealError::Sealing(SealingError::Destroyed(member_id)) => {
            let detail = format!("member {member_id} has been erased, so nothing can be sealed for them any more");
            Problem::unprocessable("member_erased", detail)
        }
        SealError::Sealing(SealingError::NoKey(_) | SealingError::NotOpened) => {
            tracing::error!(%error, "a member's key does not do its work");
            Problem::internal()
        }
        SealError::Sealing(SealingError::Database(_) | SealingError::Random(_)) | SealError::Read(_) => {
            tracing::warn!(%error, "a text could not be sealed");
            let detail = "personal data cannot be sealed now; repeat the request as it was, under the same key";
            Problem::unavailable("sealing_unavailable", detail)
        }
    }
}
