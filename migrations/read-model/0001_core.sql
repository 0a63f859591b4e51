-- Read models of the projection `core`, and how far it is.
--
-- Every row is written by one Kafka partition only: rows of a stream by the partition of that stream,
-- sums by a row for each partition, which readers add up. So projectors never wait for each other.
-- Everything here can be dropped and made again from the topic. Amounts are integers in minor units;
-- sums over many amounts are numeric, since they may be wider than one amount.
-- `position` is that of the row's first event, a stable order for lists; `version` is the sequence of
-- the stream's last event and `updated_position` its position.

-- ---- progress --------------------------------------------------------------------------------------

CREATE TABLE projections (
    projection text PRIMARY KEY,
    topic      text NOT NULL,
    partitions integer NOT NULL CHECK (partitions > 0)
);
COMMENT ON TABLE projections IS 'Which topic a projection reads; a row is made at its first start and never changes';

CREATE TABLE projection_progress (
    projection  text NOT NULL REFERENCES projections,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL DEFAULT 0,
    ordinal     bigint NOT NULL DEFAULT 0,
    watermark   bigint NOT NULL DEFAULT 0,
    epoch       bigint NOT NULL DEFAULT 0,
    stopped     text,
    PRIMARY KEY (projection, partition)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
COMMENT ON TABLE projection_progress IS 'How far each partition is, written in the transaction of the rows it led to';
COMMENT ON COLUMN projection_progress.next_offset IS 'The offset in Kafka to read next';
COMMENT ON COLUMN projection_progress.ordinal IS 'How many events of the partition are applied';
COMMENT ON COLUMN projection_progress.watermark IS 'Every event of this partition up to this position of the log is applied';
COMMENT ON COLUMN projection_progress.epoch IS 'Raised by every new owner, so that an old one can no longer write';
COMMENT ON COLUMN projection_progress.stopped IS 'Why the partition stands still, if it does';

CREATE FUNCTION applied_position(projection text) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT COALESCE(min(p.watermark), 0) FROM projection_progress p WHERE p.projection = applied_position.projection
$$;
COMMENT ON FUNCTION applied_position(text) IS
    'Every event of the log up to this position is in the read models; ask in the snapshot of the data';

CREATE TABLE parked_events (
    projection   text NOT NULL,
    position     bigint NOT NULL,
    partition    integer NOT NULL,
    ordinal      bigint NOT NULL,
    kafka_offset bigint NOT NULL,
    stream       text NOT NULL,
    sequence     bigint NOT NULL,
    event_type   text NOT NULL,
    event_version text NOT NULL,
    recorded_at  timestamptz NOT NULL,
    command_id   text NOT NULL,
    payload      text NOT NULL,
    metadata     text NOT NULL,
    error        text,
    parked_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, position)
);
CREATE INDEX parked_events_stream ON parked_events (projection, stream, position);
COMMENT ON TABLE parked_events IS 'Events that could not be applied, and all later ones of their streams, in order';
COMMENT ON COLUMN parked_events.error IS 'Why it could not be applied; null for what waits behind such an event';

CREATE VIEW parked_streams AS
    SELECT projection, stream, min(partition) AS partition, min(position) AS first_position, count(*) AS events,
           min(parked_at) AS parked_since, (array_agg(error ORDER BY position))[1] AS error
    FROM parked_events GROUP BY projection, stream;
COMMENT ON VIEW parked_streams IS 'Streams whose rows have stood still since first_position; reads of them must say so';

-- ---- ledger ----------------------------------------------------------------------------------------

CREATE TABLE currencies (
    currency    text PRIMARY KEY,
    minor_units smallint NOT NULL,
    position    bigint NOT NULL,
    defined_at  timestamptz NOT NULL
);

CREATE TABLE ledger_codes (
    ledger_code text PRIMARY KEY,
    name        text NOT NULL,
    class       text NOT NULL,
    normal_side text NOT NULL,
    control     boolean NOT NULL,
    position    bigint NOT NULL,
    defined_at  timestamptz NOT NULL
);

CREATE TABLE periods (
    period_id text PRIMARY KEY,
    from_date date NOT NULL,
    to_date   date NOT NULL,
    status    text NOT NULL,
    position  bigint NOT NULL,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz
);
COMMENT ON COLUMN periods.status IS 'open or closed';

-- ---- members ---------------------------------------------------------------------------------------

CREATE TABLE members (
    member_id     uuid PRIMARY KEY,
    number        text NOT NULL,
    kind          text NOT NULL,
    kyc           text NOT NULL,
    status        text NOT NULL,
    status_reason text,
    branch        text,
    personal      jsonb NOT NULL,
    position      bigint NOT NULL,
    registered_at timestamptz NOT NULL,
    version       bigint NOT NULL,
    updated_position bigint NOT NULL,
    updated_at    timestamptz NOT NULL
);
CREATE UNIQUE INDEX members_position ON members (position);
CREATE INDEX members_number ON members (number);
COMMENT ON COLUMN members.kind IS 'person, group or business';
COMMENT ON COLUMN members.kyc IS 'pending, verified or rejected';
COMMENT ON COLUMN members.status IS 'active, inactive or suspended';
COMMENT ON COLUMN members.status_reason IS 'The reason code of the last change of kyc or status that gave one';
COMMENT ON COLUMN members.personal IS 'Field name to text sealed under the member''s key, as in the event';

-- ---- accounts --------------------------------------------------------------------------------------

CREATE TABLE accounts (
    account_id    uuid PRIMARY KEY,
    number        text NOT NULL,
    name          text,
    product       text NOT NULL,
    currency      text NOT NULL,
    normal_side   text NOT NULL,
    ledger_code   text NOT NULL,
    guarded       boolean NOT NULL,
    minimum_balance_minor bigint NOT NULL,
    branch        text,
    opened_on     date NOT NULL,
    status        text NOT NULL,
    frozen_debit  boolean NOT NULL,
    frozen_credit boolean NOT NULL,
    dormant       boolean NOT NULL,
    status_reason text,
    closed_on     date,
    position      bigint NOT NULL,
    opened_at     timestamptz NOT NULL
);
CREATE UNIQUE INDEX accounts_position ON accounts (position);
CREATE INDEX accounts_number ON accounts (number);
CREATE INDEX accounts_ledger_code ON accounts (ledger_code);
COMMENT ON COLUMN accounts.product IS 'savings, current, fixed_deposit or internal';
COMMENT ON COLUMN accounts.status IS 'open, closed or retired; freezes and dormancy are apart from it';
COMMENT ON COLUMN accounts.guarded IS 'A member''s account: it has entries, a limit and holds of its own';

-- One narrow row an account: what changes with every entry. It has a row for every account.
CREATE TABLE account_balances (
    account_id       uuid PRIMARY KEY,
    balance_minor    bigint NOT NULL,
    version          bigint NOT NULL,
    updated_position bigint NOT NULL,
    updated_at       timestamptz NOT NULL
) WITH (fillfactor = 60);
COMMENT ON COLUMN account_balances.balance_minor IS
    'On the normal side, of guarded accounts; always 0 for the others, whose balance is the sum of account_daily';

CREATE TABLE holders (
    account_id uuid NOT NULL,
    member_id  uuid NOT NULL,
    role       text NOT NULL,
    position   bigint NOT NULL,
    PRIMARY KEY (account_id, member_id)
);
CREATE INDEX holders_member ON holders (member_id, account_id);
COMMENT ON COLUMN holders.role IS 'owner or disponent';

CREATE TABLE holds (
    account_id     uuid NOT NULL,
    transaction_id uuid NOT NULL,
    leg            integer NOT NULL,
    side           text NOT NULL,
    amount_minor   bigint NOT NULL CHECK (amount_minor > 0),
    expires_at     timestamptz,
    position       bigint NOT NULL,
    PRIMARY KEY (account_id, transaction_id, leg)
);
COMMENT ON TABLE holds IS
    'What is left of each hold; it lowers what is available if its side is not the normal side and it has not expired';

CREATE TABLE entries (
    account_id     uuid NOT NULL,
    sequence       bigint NOT NULL,
    transaction_id uuid NOT NULL,
    posting        bigint NOT NULL,
    leg            integer NOT NULL,
    kind           text NOT NULL,
    side           text NOT NULL,
    amount_minor   bigint NOT NULL,
    booking_date   date NOT NULL,
    value_date     date NOT NULL,
    balance_minor  bigint NOT NULL,
    hold_released_minor bigint NOT NULL,
    recorded_at    timestamptz NOT NULL,
    position       bigint NOT NULL,
    PRIMARY KEY (account_id, sequence)
);
COMMENT ON TABLE entries IS 'Statement lines of guarded accounts with the running balance, in the account''s currency';

-- ---- transactions ----------------------------------------------------------------------------------

CREATE TABLE transactions (
    transaction_id     uuid PRIMARY KEY,
    kind               text NOT NULL,
    status             text NOT NULL,
    booking_date       date NOT NULL,
    value_date         date NOT NULL,
    expires_at         timestamptz,
    external_reference text,
    narrative          text,
    reverses_id        uuid,
    reverses_reason    text,
    void_reason        text,
    postings           bigint NOT NULL,
    legs               jsonb NOT NULL,
    reversed_by        uuid[] NOT NULL DEFAULT '{}',
    position           bigint NOT NULL,
    recorded_at        timestamptz NOT NULL,
    version            bigint NOT NULL,
    updated_position   bigint NOT NULL,
    updated_at         timestamptz NOT NULL
);
CREATE UNIQUE INDEX transactions_position ON transactions (position);
CREATE INDEX transactions_external_reference ON transactions (external_reference) WHERE external_reference IS NOT NULL;
CREATE INDEX transactions_pending ON transactions (position) WHERE status = 'pending';
COMMENT ON COLUMN transactions.status IS 'pending, posted, voided or expired';
COMMENT ON COLUMN transactions.narrative IS 'Free text, sealed under the keys of the members party to it';
COMMENT ON COLUMN transactions.legs IS
    'As first made: [{leg, account_id, ledger_code, side, currency, amount_minor, pending_minor, posted_minor, reversed_minor, component?}]';

CREATE TABLE legs (
    transaction_id uuid NOT NULL,
    posting        bigint NOT NULL,
    leg            integer NOT NULL,
    account_id     uuid NOT NULL,
    ledger_code    text NOT NULL,
    side           text NOT NULL,
    amount_minor   bigint NOT NULL,
    currency       text NOT NULL,
    component      text,
    booking_date   date NOT NULL,
    value_date     date NOT NULL,
    recorded_at    timestamptz NOT NULL,
    position       bigint NOT NULL,
    PRIMARY KEY (transaction_id, posting, leg)
);
CREATE INDEX legs_account ON legs (account_id, position);
CREATE INDEX legs_recorded_at ON legs USING brin (recorded_at) WITH (pages_per_range = 32, autosummarize = on);
COMMENT ON TABLE legs IS 'Every posted leg, of guarded and unguarded accounts alike: the source of every balance as of any of the three dates';

-- Sums of posted legs by both business dates: a trial balance or a balance as of a booking or value
-- date adds up days, not legs. As of a recording time: less the legs recorded after it.
CREATE TABLE ledger_daily (
    ledger_code  text NOT NULL,
    currency     text NOT NULL,
    booking_date date NOT NULL,
    value_date   date NOT NULL,
    partition    integer NOT NULL,
    debit_minor  numeric(38, 0) NOT NULL,
    credit_minor numeric(38, 0) NOT NULL,
    PRIMARY KEY (ledger_code, currency, booking_date, value_date, partition)
) WITH (fillfactor = 50);
CREATE TABLE account_daily (
    account_id   uuid NOT NULL,
    booking_date date NOT NULL,
    value_date   date NOT NULL,
    partition    integer NOT NULL,
    debit_minor  numeric(38, 0) NOT NULL,
    credit_minor numeric(38, 0) NOT NULL,
    PRIMARY KEY (account_id, booking_date, value_date, partition)
) WITH (fillfactor = 80);
COMMENT ON TABLE ledger_daily IS 'Sums of posted legs by ledger code, currency, dates and writing partition; readers add up the partitions';
COMMENT ON TABLE account_daily IS 'Sums of posted legs by account, dates and writing partition, for every account; readers add up the partitions';

-- An account as one row: what it is, its balance, what is held now, what is available.
CREATE VIEW account_states AS
    SELECT a.account_id, a.number, a.name, a.product, a.currency, a.normal_side, a.ledger_code, a.guarded,
           a.minimum_balance_minor, a.branch, a.opened_on, a.status, a.frozen_debit, a.frozen_credit, a.dormant,
           a.status_reason, a.closed_on, a.position, a.opened_at,
           s.balance_minor, s.held_minor, s.balance_minor - s.held_minor AS available_minor,
           b.version, b.updated_position, b.updated_at
    FROM accounts a
    JOIN account_balances b USING (account_id)
    CROSS JOIN LATERAL (
        SELECT CASE WHEN a.guarded THEN b.balance_minor::numeric ELSE (
                   SELECT COALESCE(sum(CASE a.normal_side WHEN 'debit' THEN d.debit_minor - d.credit_minor
                                                          ELSE d.credit_minor - d.debit_minor END), 0)
                   FROM account_daily d WHERE d.account_id = a.account_id) END AS balance_minor,
               (SELECT COALESCE(sum(h.amount_minor), 0) FROM holds h
                WHERE h.account_id = a.account_id AND h.side <> a.normal_side
                  AND (h.expires_at IS NULL OR h.expires_at > now())) AS held_minor
    ) s;
COMMENT ON VIEW account_states IS 'Balances are on the normal side; numeric, whole minor units';

GRANT USAGE ON SCHEMA public TO daybook_query;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO daybook_query;
