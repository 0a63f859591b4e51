-- The log. Frozen once written: columns, partitions, hashes (see docs/adr/0001).
-- The column names and types of the first seven columns are those that postgres-es reads.

CREATE TABLE events (
    aggregate_type text NOT NULL,
    aggregate_id   text NOT NULL,
    sequence       bigint NOT NULL CHECK (sequence >= 1),
    event_type     text NOT NULL,
    event_version  text NOT NULL,
    payload        json NOT NULL,
    metadata       json NOT NULL,
    position       bigint NOT NULL CHECK (position >= 1),
    recorded_at    timestamptz NOT NULL,
    event_hash     bytea NOT NULL,
    chain_hash     bytea NOT NULL,
    command_id     text NOT NULL,
    PRIMARY KEY (position)
) PARTITION BY RANGE (position);

-- Streams are loaded by id; that (stream, sequence) is unique is kept by the head and verified.
CREATE INDEX events_stream ON events (aggregate_id, sequence);
-- The sweeper finds what may expire without reading the whole log.
CREATE INDEX events_pending ON events (position) WHERE event_type = 'TransactionPending';

COMMENT ON TABLE events IS 'The log: every business fact, once, in commit order, hash-chained. Append only.';
COMMENT ON COLUMN events.position IS 'Place in the whole log, from 1, gapless';
COMMENT ON COLUMN events.recorded_at IS 'When it was recorded; never before its predecessor';
COMMENT ON COLUMN events.event_hash IS 'SHA-256 over every field and the event hash of the stream''s predecessor';
COMMENT ON COLUMN events.chain_hash IS 'SHA-256 over the predecessor''s chain hash and this event hash';

-- One row: where the log ends. A writer appends only by moving it on from the batch it believes in.
CREATE TABLE log_head (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    batch       bigint NOT NULL,
    position    bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    chain_hash  bytea NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
INSERT INTO log_head (batch, position, recorded_at, chain_hash)
VALUES (0, 0, 'epoch', decode(repeat('00', 32), 'hex'));

CREATE TABLE log_settings (
    only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    partition_size bigint NOT NULL CHECK (partition_size > 0)
);
INSERT INTO log_settings (partition_size) VALUES (1000000);

-- What was decided under which idempotency key. For ever.
CREATE TABLE commands (
    client          text NOT NULL,
    idempotency_key text NOT NULL,
    command_id      text NOT NULL,
    request_hmac    bytea NOT NULL,
    position        bigint NOT NULL,
    reply           json NOT NULL,
    PRIMARY KEY (client, idempotency_key)
);

-- Values that are unique beyond a stream (numbers, references), as HMACs.
CREATE TABLE reservations (
    kind       text NOT NULL,
    value_hmac bytea NOT NULL,
    stream     text NOT NULL,
    position   bigint NOT NULL,
    PRIMARY KEY (kind, value_hmac)
);

-- States of streams at some sequence: a way to load faster, never a source of truth.
CREATE TABLE snapshots (
    aggregate_type text NOT NULL,
    aggregate_id   text NOT NULL,
    sequence       bigint NOT NULL,
    position       bigint NOT NULL,
    event_hash     bytea NOT NULL,
    state_version  integer NOT NULL,
    state          json NOT NULL,
    PRIMARY KEY (aggregate_id, aggregate_type)
);

-- How far the log has been published, by topic. `ordinals[p + 1]` counts the events of partition p.
CREATE TABLE relay_progress (
    topic    text PRIMARY KEY,
    epoch    bigint NOT NULL,
    position bigint NOT NULL,
    ordinals bigint[] NOT NULL
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON commands
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reservations
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION refuse_going_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the head of the log only moves on' USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER moves_on BEFORE UPDATE ON log_head FOR EACH ROW
    WHEN (NEW.batch <= OLD.batch OR NEW.position < OLD.position OR NEW.recorded_at < OLD.recorded_at)
    EXECUTE FUNCTION refuse_going_back();

-- Keeps partitions ready ahead of the head. It runs with the owner's rights, so that a writer needs
-- none of them; it builds a partition detached and attaches it, which does not block writers.
CREATE FUNCTION extend_event_partitions(ahead integer DEFAULT 2) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    size    bigint;
    current bigint;
    part    bigint;
    created integer := 0;
    name    text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('daybook.extend_event_partitions'));
    SELECT partition_size INTO size FROM log_settings;
    SELECT position / size INTO current FROM log_head;
    -- Capped, since a writer may ask for any number.
    FOR part IN current .. current + LEAST(ahead, 16) LOOP
        name := 'events_' || lpad(part::text, 6, '0');
        CONTINUE WHEN to_regclass('public.' || name) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE events INCLUDING ALL)', name);
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT in_range CHECK (position >= %s AND position < %s)',
                       name, part * size, (part + 1) * size);
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
                        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                       name, part * size, (part + 1) * size);
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT in_range', name);
        created := created + 1;
    END LOOP;
    RETURN created;
END $$;
REVOKE ALL ON FUNCTION extend_event_partitions(integer) FROM PUBLIC;

SELECT extend_event_partitions(2);

GRANT USAGE ON SCHEMA public TO daybook_writer, daybook_reader;
GRANT SELECT ON events, log_head, log_settings, commands, reservations, snapshots, relay_progress
    TO daybook_writer, daybook_reader;
GRANT INSERT ON events, commands, reservations, snapshots, relay_progress TO daybook_writer;
GRANT UPDATE ON log_head, snapshots, relay_progress TO daybook_writer;
GRANT EXECUTE ON FUNCTION extend_event_partitions(integer) TO daybook_writer;
