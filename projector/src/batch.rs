//! Records taken from Kafka that are not written yet.
//!
//! A batch holds events of one owner's partitions in the order of each partition, and how far each
//! partition is once they are written. Taking a record never skips one: what does not follow the last
//! ordinal, or cannot be read, stops its partition before anything of it is taken.

use std::collections::BTreeMap;

use domain::Event;
use event_schemas::{DecodeError, EnvelopeError, KafkaRecord, Recorded, cloud_events};
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use tracing::Span;

use crate::progress::{Advance, Claim};
use crate::read_models::Fact;
use crate::telemetry::{Place, apply_span};

/// An event as Kafka delivered it.
#[derive(Clone, Debug)]
pub(crate) struct Delivered {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) ordinal: i64,
    pub(crate) recorded: Recorded,
    /// For the collector of traces; it ends when the event is visible.
    pub(crate) span: Span,
    /// The event, or why its payload does not fit its type and version.
    pub(crate) event: Result<Event, String>,
}

impl Delivered {
    /// The event for the read models, or why it cannot be one.
    pub(crate) fn fact(&self) -> Result<Fact<'_>, &str> {
        match &self.event {
            Ok(event) => Ok(Fact { partition: self.partition, recorded: &self.recorded, event }),
            Err(reason) => Err(reason),
        }
    }
}

/// What is written at once.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// How the partitions move on by it.
    pub(crate) advances: Vec<Advance>,
    /// The events to apply, in the order of each partition.
    pub(crate) events: Vec<Delivered>,
}

impl Load {
    /// By partition, when its newest event was recorded.
    pub(crate) fn newest_us(&self) -> BTreeMap<i32, i64> {
        self.events.iter().map(|delivered| (delivered.partition, delivered.recorded.recorded_at_us)).collect()
    }

    /// In so many parts of about as many events, each with partitions of its own; fewer where there are fewer
    /// partitions.
    pub(crate) fn split(self, parts: usize) -> Vec<Load> {
        if parts <= 1 {
            return vec![self];
        }
        let mut by_partition: BTreeMap<i32, Load> = BTreeMap::new();
        for advance in self.advances {
            by_partition.entry(advance.from.partition).or_default().advances.push(advance);
        }
        for delivered in self.events {
            by_partition.entry(delivered.partition).or_default().events.push(delivered);
        }
        let mut of_partitions: Vec<Load> = by_partition.into_values().collect();
        of_partitions.sort_by_key(|load| std::cmp::Reverse(load.events.len()));
        let mut loads: Vec<Load> = Vec::with_capacity(parts);
        for load in of_partitions {
            if loads.len() < parts {
                loads.push(load);
            } else if let Some(smallest) = loads.iter_mut().min_by_key(|of| of.events.len()) {
                smallest.advances.extend(load.advances);
                smallest.events.extend(load.events);
            }
        }
        // As in every write: rows are locked in the order of partitions.
        loads.iter_mut().for_each(|load| load.advances.sort_by_key(|advance| advance.from.partition));
        loads
    }
}

/// Why a partition cannot go on. Nothing of the record was taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// Not a record of ours.
    #[error("offset {offset} cannot be read: {source}")]
    Envelope { offset: i64, source: EnvelopeError },
    /// A type or version that this Daybook does not know; a newer one will.
    #[error("offset {offset}, position {position}: {source}")]
    Unknown { offset: i64, position: u64, source: DecodeError },
    /// Events are missing in the topic.
    #[error("offset {offset} has the ordinal {found}, {applied} is the last applied: events are missing in between")]
    Gap { offset: i64, found: i64, applied: i64 },
    /// What comes next is not in the topic, or no longer.
    #[error(
        "offset {next} comes next, but the topic has {low} to {high}: were its records deleted, or was the topic made \
         anew? Then build the read models anew with `daybook projection rebuild`, once the topic has everything"
    )]
    OutOfRange { next: i64, low: i64, high: i64 },
    /// Two histories in one topic.
    #[error(
        "offset {offset} is a new event at position {position}, but everything up to {watermark} was published before: \
         was the log restored to an earlier point? Then it needs a new topic"
    )]
    Fork { offset: i64, position: i64, watermark: i64 },
}

impl Stop {
    /// Whether reading on may mend it: a relay that begins again from before the gap publishes what
    /// is missing, and all that follows it, at the end of the topic.
    pub(crate) fn is_mended_by_reading_on(&self) -> bool {
        match self {
            Stop::Gap { .. } => true,
            Stop::Envelope { .. } | Stop::Unknown { .. } | Stop::OutOfRange { .. } | Stop::Fork { .. } => false,
        }
    }
}

/// What a partition's records are good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// They are taken.
    Taken,
    /// Only the event that is missing is; nothing counts as read before it comes.
    Awaiting,
    /// None is.
    Stopped,
}

/// A partition as its owner sees it.
#[derive(Clone, Debug)]
struct Owned {
    /// What the database has.
    written: Claim,
    /// What it has once the batch is written that is under way, if there is one.
    handed_over: Claim,
    /// What it will have once the batch is written.
    next_offset: i64,
    ordinal: i64,
    watermark: i64,
    flow: Flow,
}

/// The partitions of an owner and what was taken of them since the last write.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    partitions: BTreeMap<i32, Owned>,
    events: Vec<Delivered>,
    records: usize,
}

impl Batch {
    /// An empty batch for an owner of these partitions.
    pub(crate) fn new(claims: Vec<Claim>) -> Self {
        let owned = |written: Claim| Owned {
            next_offset: written.next_offset,
            ordinal: written.ordinal,
            watermark: written.watermark,
            handed_over: written.clone(),
            written,
            flow: Flow::Taken,
        };
        Self {
            partitions: claims.into_iter().map(|claim| (claim.partition, owned(claim))).collect(),
            events: Vec::new(),
            records: 0,
        }
    }

    /// How many records were taken, watermarks and repetitions included.
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// Takes out what is to be written; what is taken from now on belongs to the next batch.
    pub(crate) fn hand_over(&mut self) -> Load {
        let mut advances = Vec::new();
        for owned in self.partitions.values_mut() {
            let (next_offset, ordinal, watermark) = (owned.next_offset, owned.ordinal, owned.watermark);
            if next_offset > owned.handed_over.next_offset {
                let from = owned.handed_over.clone();
                advances.push(Advance { from, next_offset, ordinal, watermark });
            }
            let of = &mut owned.handed_over;
            (of.next_offset, of.ordinal, of.watermark) = (next_offset, ordinal, watermark);
        }
        self.records = 0;
        Load { advances, events: std::mem::take(&mut self.events) }
    }

    /// What was handed over last is written.
    pub(crate) fn written(&mut self) {
        for owned in self.partitions.values_mut() {
            owned.written = owned.handed_over.clone();
        }
    }

    /// The events that are not handed over yet.
    pub(crate) fn events(&self) -> &[Delivered] {
        &self.events
    }

    /// The next offset to be written of each partition of which anything is written.
    pub(crate) fn written_offsets(&self) -> impl Iterator<Item = (i32, i64)> {
        let offsets = self.partitions.iter().map(|(partition, owned)| (*partition, owned.written.next_offset));
        offsets.filter(|(_, next_offset)| *next_offset > 0)
    }

    /// What comes next of each partition that is taken, whether it is written yet or not.
    pub(crate) fn taken(&self) -> impl Iterator<Item = (i32, i64)> {
        let taken = self.partitions.iter().filter(|(_, owned)| owned.flow == Flow::Taken);
        taken.map(|(partition, owned)| (*partition, owned.next_offset))
    }

    /// How far each partition is written.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        self.partitions.values().map(|owned| Place {
            partition: owned.written.partition,
            next_offset: owned.written.next_offset,
            watermark: owned.written.watermark,
        })
    }

    /// From now on records of the partition are ignored, all or until the missing event comes; gives
    /// what the database has of it.
    pub(crate) fn stop(&mut self, partition: i32, stop: &Stop) -> Option<&Claim> {
        let owned = self.partitions.get_mut(&partition)?;
        owned.flow = if stop.is_mended_by_reading_on() { Flow::Awaiting } else { Flow::Stopped };
        Some(&owned.written)
    }

    /// Takes records of the partition again; gives the offset to go on from.
    pub(crate) fn resume(&mut self, partition: i32) -> Option<i64> {
        let owned = self.partitions.get_mut(&partition)?;
        owned.flow = Flow::Taken;
        Some(owned.next_offset)
    }

    /// Takes a record; `false` if it is ignored, being of a partition that is not owned or stands still,
    /// or a repetition from before the owner's offset.
    pub(crate) fn take(&mut self, message: &BorrowedMessage<'_>) -> Result<bool, Stop> {
        let (partition, offset) = (message.partition(), message.offset());
        let Some(owned) = self.partitions.get_mut(&partition) else { return Ok(false) };
        if owned.flow == Flow::Stopped || offset < owned.next_offset {
            return Ok(false);
        }
        match read(message).map_err(|source| Stop::Envelope { offset, source })? {
            KafkaRecord::Watermark { position, ordinal } => {
                let (position, found) = (signed(position), signed(ordinal));
                if owned.flow == Flow::Awaiting {
                    return Ok(false);
                }
                if found > owned.ordinal {
                    return Err(Stop::Gap { offset, found, applied: owned.ordinal });
                }
                owned.watermark = owned.watermark.max(position);
            }
            KafkaRecord::Event { recorded, ordinal, .. } => {
                let (found, next) = (signed(ordinal), owned.ordinal + 1);
                if owned.flow == Flow::Awaiting && found != next {
                    return Ok(false);
                }
                if found > next {
                    return Err(Stop::Gap { offset, found, applied: owned.ordinal });
                }
                if found == next {
                    let (position, watermark) = (signed(recorded.position), owned.watermark);
                    if position <= watermark {
                        return Err(Stop::Fork { offset, position, watermark });
                    }
                    let event = decode(&recorded).map_err(|source| Stop::Unknown {
                        offset,
                        position: recorded.position,
                        source,
                    })?;
                    owned.flow = Flow::Taken;
                    owned.ordinal = found;
                    // Every earlier event of the partition has a smaller ordinal, so it is applied too.
                    owned.watermark = position;
                    let span = apply_span(message, &recorded);
                    self.events.push(Delivered { partition, offset, ordinal: found, recorded, span, event });
                }
            }
        }
        owned.next_offset = offset + 1;
        self.records += 1;
        Ok(true)
    }
}

/// A payload that does not fit is the event's own fault and parks its stream; an unknown type or
/// version is a fault of this program and stops it.
fn decode(recorded: &Recorded) -> Result<Result<Event, String>, DecodeError> {
    match recorded.event() {
        Ok(event) => Ok(Ok(event)),
        Err(fault @ (DecodeError::Payload { .. } | DecodeError::TypeMismatch { .. } | DecodeError::Upcast { .. })) => {
            Ok(Err(fault.to_string()))
        }
        Err(unknown @ (DecodeError::UnknownType { .. } | DecodeError::UnknownVersion { .. })) => Err(unknown),
    }
}

fn read(message: &BorrowedMessage<'_>) -> Result<KafkaRecord, EnvelopeError> {
    // Gathered once, because each look at a header is a call into the client.
    let headers: Vec<(&str, Option<&[u8]>)> = message
        .headers()
        .map(|headers| headers.iter().map(|header| (header.key, header.value)).collect())
        .unwrap_or_default();
    let header = |name: &str| headers.iter().find(|(key, _)| *key == name).and_then(|(_, value)| *value);
    cloud_events::from_kafka(header, message.key(), message.payload())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
