-- Two servers may each have a database of the same name and share one Kafka: the consumer group is named
-- after this database, not after its name.
ALTER TABLE projections ADD COLUMN instance uuid NOT NULL DEFAULT gen_random_uuid();
COMMENT ON COLUMN projections.instance IS 'Part of the name of the consumer group, so that no other database shares it';
