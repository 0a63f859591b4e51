//! event-schemas
