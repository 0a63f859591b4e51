//! What the client says when there is no record to give.

use std::time::Duration;

use platform::backoff::Backoff;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::Consumption;
use crate::ProjectorError;
use crate::batch::Stop;

/// How long asking for the ends of a partition may take.
const RANGE_TIMEOUT: Duration = Duration::from_secs(2);

/// For the database, which comes back by itself.
pub(super) fn patience() -> Backoff {
    Backoff::new(Duration::from_millis(50), Duration::from_secs(2))
}

/// For a partition that somebody has to help.
pub(super) fn long_patience() -> Backoff {
    Backoff::new(Duration::from_millis(500), Duration::from_secs(30))
}

impl Consumption<'_> {
    /// What the client says instead of a record.
    pub(super) fn hear(&mut self, error: KafkaError) -> Result<(), ProjectorError> {
        match error.rdkafka_error_code() {
            // The client connects again by itself.
            Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown) => {
                if !self.silent {
                    tracing::warn!(%error, "kafka does not answer");
                    self.silent = true;
                }
                Ok(())
            }
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => Err(error.into()),
            // The offset is not in the topic, above all: the topic has lost records, or was made anew.
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.find_out_of_range(&error);
                Ok(())
            }
            _ => {
                tracing::warn!(%error, "kafka");
                Ok(())
            }
        }
    }

    /// The client does not say of which partition it has no more: their ends do. Each stands still
    /// visibly, the others go on.
    fn find_out_of_range(&mut self, error: &KafkaError) {
        let mut found = false;
        for place in self.batch.places().collect::<Vec<_>>() {
            let range = self.consumer.fetch_watermarks(&self.options.topic, place.partition, RANGE_TIMEOUT);
            if let Ok((low, high)) = range
                && !(low..=high).contains(&place.next_offset)
            {
                found = true;
                self.stop(place.partition, &Stop::OutOfRange { next: place.next_offset, low, high });
            }
        }
        if !found {
            self.drop_batch("kafka", format!("the topic does not have what comes next: {error}"));
        }
    }
}
