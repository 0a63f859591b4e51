-- What PostgreSQL's autovacuum does with tables that only grow (docs/adr/0037). By default it goes over the newest
-- partition and `commands` whenever they have grown by a tenth or a fifth, and sorts samples of thirty
-- thousand hashes and ids for statistics that no plan needs.

-- A partition is gone over once, when it is nearly full, and then its rows are frozen, so that nothing
-- has to be written for them ever again. What is looked for are positions and streams, and few values
-- of each say enough; of the rest nothing is gathered.
CREATE FUNCTION set_event_partition_upkeep(name text, size bigint) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I SET (autovacuum_vacuum_insert_scale_factor = 0,
                        autovacuum_vacuum_insert_threshold = %s, autovacuum_freeze_min_age = 0,
                        autovacuum_analyze_scale_factor = 0.5, autovacuum_analyze_threshold = 1000)',
                   name, LEAST(size - size / 10, 2000000000));
    EXECUTE format('ALTER TABLE %I
                        ALTER aggregate_type SET STATISTICS 10, ALTER aggregate_id SET STATISTICS 10,
                        ALTER sequence SET STATISTICS 10, ALTER event_type SET STATISTICS 10,
                        ALTER event_version SET STATISTICS 0, ALTER payload SET STATISTICS 0,
                        ALTER metadata SET STATISTICS 0, ALTER position SET STATISTICS 10,
                        ALTER recorded_at SET STATISTICS 10, ALTER event_hash SET STATISTICS 0,
                        ALTER chain_hash SET STATISTICS 0, ALTER command_id SET STATISTICS 0', name);
END $$;
REVOKE ALL ON FUNCTION set_event_partition_upkeep(text, bigint) FROM PUBLIC;

-- As in 0001, but for the upkeep.
CREATE OR REPLACE FUNCTION extend_event_partitions(ahead integer DEFAULT 2) RETURNS integer
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
        PERFORM set_event_partition_upkeep(name, size);
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

SELECT set_event_partition_upkeep(relid::text, partition_size)
FROM pg_partition_tree('events'), log_settings WHERE isleaf;

-- Read by its key alone.
ALTER TABLE commands SET (autovacuum_freeze_min_age = 0,
    autovacuum_analyze_scale_factor = 0.5, autovacuum_analyze_threshold = 1000);
ALTER TABLE commands
    ALTER client SET STATISTICS 10, ALTER idempotency_key SET STATISTICS 10,
    ALTER command_id SET STATISTICS 0, ALTER request_hmac SET STATISTICS 0,
    ALTER position SET STATISTICS 10, ALTER reply SET STATISTICS 0;
