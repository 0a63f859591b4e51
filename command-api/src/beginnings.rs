//! What was said of something when it began and never changes since: whose a loan is, which currency
//! a product is in, which payment a saga is for. Read from the first event of its stream, so that it does not matter when.

use domain::loan::LoanEvent;
use domain::product::LoanProductEvent;
use domain::saga::{Process, SagaEvent};
use domain::{Currency, Event, LoanId, LoanProductId, MemberId, SagaId, StreamId};
use event_store::{LogReader, ReadError};

/// The member whose loan it is; `None` where there is no such loan.
pub(crate) async fn member_of_loan(reader: &LogReader, loan_id: LoanId) -> Result<Option<MemberId>, ReadError> {
    let stream = loan_id.stream();
    Ok(match first(reader, stream).await? {
        None => None,
        Some((_, Event::Loan(LoanEvent::LoanApplied { member_id, .. }))) => Some(member_id),
        Some((position, _)) => return Err(not_a_beginning(stream, position)),
    })
}

/// The currency of the product's loans; `None` where there is no such product.
pub(crate) async fn currency_of_product(
    reader: &LogReader,
    product_id: LoanProductId,
) -> Result<Option<Currency>, ReadError> {
    let stream = product_id.stream();
    Ok(match first(reader, stream).await? {
        None => None,
        Some((_, Event::LoanProduct(LoanProductEvent::LoanProductDefined { currency, .. }))) => Some(currency),
        Some((position, _)) => return Err(not_a_beginning(stream, position)),
    })
}

/// What the saga is about, and at which position that was said; `None` where there is no such saga.
pub(crate) async fn process_of_saga(reader: &LogReader, saga_id: SagaId) -> Result<Option<(u64, Process)>, ReadError> {
    let stream = saga_id.stream();
    Ok(match first(reader, stream).await? {
        None => None,
        Some((position, Event::Saga(SagaEvent::SagaStarted { process }))) => Some((position, process)),
        Some((position, _)) => return Err(not_a_beginning(stream, position)),
    })
}

async fn first(reader: &LogReader, stream: StreamId) -> Result<Option<(u64, Event)>, ReadError> {
    let events = reader.stream_after(stream, 0, 1).await?;
    let Some(recorded) = events.first() else { return Ok(None) };
    let position = recorded.position;
    let event = recorded.event().map_err(|source| ReadError::Decode { position, source })?;
    Ok(Some((position, event)))
}

fn not_a_beginning(stream: StreamId, position: u64) -> ReadError {
    ReadError::Broken { position, what: format!("not how {stream} can begin") }
}
