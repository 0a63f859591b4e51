-- What the runners of sagas work from: which sagas are not over, and when each is to be looked at
-- again. Derived from the log by the feed (`saga_feed` says how far); emptied, it is made anew.

CREATE TABLE saga_work (
    saga_id      uuid PRIMARY KEY,
    process      text NOT NULL,
    status       text NOT NULL,
    step         text NOT NULL,
    -- When it is to be looked at; null: it waits for a person.
    due_at       timestamptz,
    -- Whose it is until when; a runner that dies gives it up by that.
    leased_by    uuid,
    leased_until timestamptz,
    -- Failures of our own parts in a row (not of its steps), and the last one.
    failures     integer NOT NULL DEFAULT 0,
    last_failure text
);
CREATE INDEX saga_work_due ON saga_work (due_at) WHERE due_at IS NOT NULL;
COMMENT ON TABLE saga_work IS 'Sagas that are not over, and when each is to be looked at again; derived from the log';

CREATE TABLE saga_feed (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position bigint NOT NULL
);
INSERT INTO saga_feed (position) VALUES (0);
COMMENT ON TABLE saga_feed IS 'Up to which position of the log sagas were started and work was noted';

GRANT SELECT ON saga_work, saga_feed TO daybook_writer, daybook_reader;
GRANT INSERT, UPDATE, DELETE ON saga_work TO daybook_writer;
GRANT UPDATE ON saga_feed TO daybook_writer;
