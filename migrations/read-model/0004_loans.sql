-- Read models of loan products, loans and sagas. What 0001 says of rows, positions and amounts holds here too.
--
-- Loans are asked about as of a date: a payment counts from its value date, an instalment or a charge is
-- due from its due date on. So everything that settles or gives up a part of a loan has a row of its own
-- with its date, and with the position at which it was recorded or undone, so that sums over many loans
-- can be cut at one position of the log.

CREATE TABLE loan_products (
    product_id   uuid PRIMARY KEY,
    code         text NOT NULL,
    name         text NOT NULL,
    currency     text NOT NULL,
    status       text NOT NULL,
    status_reason text,
    terms_version integer NOT NULL,
    portfolio_account_id           uuid NOT NULL,
    interest_receivable_account_id uuid NOT NULL,
    charges_receivable_account_id  uuid NOT NULL,
    interest_income_account_id     uuid NOT NULL,
    fee_income_account_id          uuid NOT NULL,
    penalty_income_account_id      uuid NOT NULL,
    write_off_account_id           uuid NOT NULL,
    position     bigint NOT NULL,
    defined_at   timestamptz NOT NULL,
    version      bigint NOT NULL,
    updated_position bigint NOT NULL,
    updated_at   timestamptz NOT NULL
);
CREATE UNIQUE INDEX loan_products_position ON loan_products (position);
COMMENT ON COLUMN loan_products.status IS 'offered or retired';
COMMENT ON COLUMN loan_products.terms_version IS 'The version of its terms that new applications are on';

CREATE TABLE loan_product_versions (
    product_id    uuid NOT NULL,
    terms_version integer NOT NULL,
    terms         jsonb NOT NULL,
    position      bigint NOT NULL,
    recorded_at   timestamptz NOT NULL,
    PRIMARY KEY (product_id, terms_version)
);
COMMENT ON COLUMN loan_product_versions.terms IS 'As in the event';

CREATE TABLE loans (
    loan_id            uuid PRIMARY KEY,
    number             text NOT NULL,
    member_id          uuid NOT NULL,
    product_id         uuid NOT NULL,
    product_version    integer NOT NULL,
    status             text NOT NULL,
    status_reason      text,
    currency           text NOT NULL,
    principal_minor    bigint NOT NULL,
    annual_rate        numeric(10, 6) NOT NULL,
    instalments        integer NOT NULL,
    terms              jsonb NOT NULL,
    settlement_account_id          uuid,
    purpose            text,
    branch             text,
    portfolio_account_id           uuid NOT NULL,
    interest_receivable_account_id uuid NOT NULL,
    charges_receivable_account_id  uuid NOT NULL,
    applied_on         date NOT NULL,
    approved_on        date,
    rejected_on        date,
    disbursed_on       date,
    repaid_on          date,
    written_off_on     date,
    closed_on          date,
    disbursement_attempts       integer NOT NULL,
    disbursement_transaction_id uuid,
    disbursed_to_account_id     uuid,
    bank_reference     text,
    schedule_version   integer NOT NULL,
    principal_outstanding_minor bigint NOT NULL,
    interest_outstanding_minor  bigint NOT NULL,
    fee_outstanding_minor       bigint NOT NULL,
    penalty_outstanding_minor   bigint NOT NULL,
    position           bigint NOT NULL,
    recorded_at        timestamptz NOT NULL,
    version            bigint NOT NULL,
    updated_position   bigint NOT NULL,
    updated_at         timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX loans_position ON loans (position);
CREATE INDEX loans_number ON loans (number);
CREATE INDEX loans_member ON loans (member_id, position);
CREATE INDEX loans_product ON loans (product_id, position);
CREATE INDEX loans_settlement ON loans (settlement_account_id, position) WHERE settlement_account_id IS NOT NULL;
COMMENT ON COLUMN loans.status IS
    'applied, approved, rejected, disbursing, active, repaid, written_off or closed';
COMMENT ON COLUMN loans.terms IS 'The terms that it keeps, as in the event';
COMMENT ON COLUMN loans.annual_rate IS 'Nominal, in percent';
COMMENT ON COLUMN loans.disbursement_transaction_id IS 'The last one that paid it out or held the money for it';
COMMENT ON COLUMN loans.principal_outstanding_minor IS
    'What the borrower owes of all instalments, due or not; of a loan that was written off, what was owed then';

CREATE TABLE loan_instalments (
    loan_id             uuid NOT NULL,
    instalment          integer NOT NULL,
    due_on              date NOT NULL,
    principal_due_minor bigint NOT NULL,
    interest_due_minor  bigint NOT NULL,
    fee_due_minor       bigint NOT NULL,
    penalty_due_minor   bigint NOT NULL,
    principal_paid_minor bigint NOT NULL,
    interest_paid_minor  bigint NOT NULL,
    fee_paid_minor       bigint NOT NULL,
    penalty_paid_minor   bigint NOT NULL,
    schedule_version    integer NOT NULL,
    position            bigint NOT NULL,
    PRIMARY KEY (loan_id, instalment)
) WITH (fillfactor = 80);
COMMENT ON TABLE loan_instalments IS 'The schedule, with everything recorded that settles it, whatever its date';
COMMENT ON COLUMN loan_instalments.position IS 'Position of the disbursement';

CREATE TABLE loan_payments (
    loan_id            uuid NOT NULL,
    transaction_id     uuid NOT NULL,
    from_account_id    uuid NOT NULL,
    amount_minor       bigint NOT NULL,
    surplus_minor      bigint NOT NULL,
    surplus_account_id uuid,
    booking_date       date NOT NULL,
    value_date         date NOT NULL,
    schedule_version   integer NOT NULL,
    position           bigint NOT NULL,
    recorded_at        timestamptz NOT NULL,
    reversed_by        uuid,
    reversed_reason    text,
    reversed_on        date,
    reversed_position  bigint,
    PRIMARY KEY (loan_id, transaction_id)
);
CREATE UNIQUE INDEX loan_payments_position ON loan_payments (loan_id, position);
COMMENT ON COLUMN loan_payments.amount_minor IS 'What the loan took';
COMMENT ON COLUMN loan_payments.surplus_minor IS 'What was offered beyond all that was owed';
COMMENT ON COLUMN loan_payments.reversed_on IS 'The booking date of the reversal; by value date it never counted';

CREATE TABLE loan_allocations (
    loan_id           uuid NOT NULL,
    transaction_id    uuid NOT NULL,
    instalment        integer NOT NULL,
    component         text NOT NULL,
    amount_minor      bigint NOT NULL CHECK (amount_minor > 0),
    value_date        date NOT NULL,
    position          bigint NOT NULL,
    reversed_position bigint,
    PRIMARY KEY (loan_id, transaction_id, instalment, component)
);
CREATE INDEX loan_allocations_instalment ON loan_allocations (loan_id, instalment);
COMMENT ON TABLE loan_allocations IS 'What each payment settled';
COMMENT ON COLUMN loan_allocations.component IS 'principal, interest, fee or penalty';

CREATE TABLE loan_charges (
    loan_id        uuid NOT NULL,
    transaction_id uuid NOT NULL,
    instalment     integer NOT NULL,
    component      text NOT NULL,
    amount_minor   bigint NOT NULL,
    reason         text NOT NULL,
    position       bigint NOT NULL,
    recorded_at    timestamptz NOT NULL,
    PRIMARY KEY (loan_id, transaction_id)
);
COMMENT ON TABLE loan_charges IS 'Fees and penalties, each due with an instalment';

CREATE TABLE loan_write_offs (
    loan_id         uuid PRIMARY KEY,
    transaction_id  uuid NOT NULL,
    principal_minor bigint NOT NULL,
    interest_minor  bigint NOT NULL,
    fee_minor       bigint NOT NULL,
    penalty_minor   bigint NOT NULL,
    reason          text NOT NULL,
    written_off_on  date NOT NULL,
    position        bigint NOT NULL,
    recorded_at     timestamptz NOT NULL
);
COMMENT ON TABLE loan_write_offs IS 'What was given up of what was in the books: interest that was never recognised is not in it';

CREATE TABLE sagas (
    saga_id             uuid PRIMARY KEY,
    process             text NOT NULL,
    status              text NOT NULL,
    step                text NOT NULL,
    entry               bigint NOT NULL,
    attempts            bigint NOT NULL,
    wake_at             timestamptz,
    code                text,
    loan_id             uuid,
    disbursement_attempt bigint,
    transaction_id      uuid,
    amount_minor        bigint,
    currency            text,
    left_minor          bigint,
    payment_reference   text,
    loan_number         text,
    bank_reference      text,
    position            bigint NOT NULL,
    started_at          timestamptz NOT NULL,
    ended_at            timestamptz,
    version             bigint NOT NULL,
    updated_position    bigint NOT NULL,
    updated_at          timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX sagas_position ON sagas (position);
CREATE INDEX sagas_loan ON sagas (loan_id, position) WHERE loan_id IS NOT NULL;
CREATE INDEX sagas_open ON sagas (position) WHERE ended_at IS NULL;
COMMENT ON COLUMN sagas.process IS 'disbursement, incoming_payment or collection';
COMMENT ON COLUMN sagas.status IS 'running, unknown, compensating, parked, completed or abandoned';
COMMENT ON COLUMN sagas.payment_reference IS 'How the other bank knows the incoming payment';
COMMENT ON COLUMN sagas.bank_reference IS 'How the other bank knows the payout or the return';

CREATE TABLE saga_timeline (
    saga_id        uuid NOT NULL,
    sequence       bigint NOT NULL,
    what           text NOT NULL,
    step           text,
    attempt        bigint,
    code           text,
    until          timestamptz,
    loan_id        uuid,
    bank_reference text,
    left_minor     bigint,
    resolution     text,
    position       bigint NOT NULL,
    recorded_at    timestamptz NOT NULL,
    PRIMARY KEY (saga_id, sequence)
);
COMMENT ON COLUMN saga_timeline.what IS 'The type of the event';
COMMENT ON COLUMN saga_timeline.until IS 'When the next step or try is to be taken';

-- ---- as of a date -----------------------------------------------------------------------------------

-- The instalments of loans that are paid out, with what had been paid of them by a value date, from what
-- was recorded up to a position.
CREATE FUNCTION loan_instalments_as_of(as_of date, at_position bigint) RETURNS TABLE (
    loan_id uuid, instalment integer, due_on date,
    principal_due_minor bigint, interest_due_minor bigint, fee_due_minor bigint, penalty_due_minor bigint,
    principal_paid_minor bigint, interest_paid_minor bigint, fee_paid_minor bigint, penalty_paid_minor bigint,
    outstanding_minor bigint
) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT i.loan_id, i.instalment, i.due_on,
           i.principal_due_minor, i.interest_due_minor, COALESCE(c.fee, 0), COALESCE(c.penalty, 0),
           COALESCE(p.principal, 0), COALESCE(p.interest, 0), COALESCE(p.fee, 0), COALESCE(p.penalty, 0),
           i.principal_due_minor + i.interest_due_minor + COALESCE(c.fee + c.penalty, 0) - COALESCE(p.total, 0)
    FROM loan_instalments i
    LEFT JOIN (
        SELECT a.loan_id, a.instalment, sum(a.amount_minor)::bigint AS total,
               COALESCE(sum(a.amount_minor) FILTER (WHERE a.component = 'principal'), 0)::bigint AS principal,
               COALESCE(sum(a.amount_minor) FILTER (WHERE a.component = 'interest'), 0)::bigint AS interest,
               COALESCE(sum(a.amount_minor) FILTER (WHERE a.component = 'fee'), 0)::bigint AS fee,
               COALESCE(sum(a.amount_minor) FILTER (WHERE a.component = 'penalty'), 0)::bigint AS penalty
        FROM loan_allocations a
        WHERE a.value_date <= $1 AND a.position <= $2 AND (a.reversed_position IS NULL OR a.reversed_position > $2)
        GROUP BY a.loan_id, a.instalment
    ) p ON p.loan_id = i.loan_id AND p.instalment = i.instalment
    LEFT JOIN (
        SELECT h.loan_id, h.instalment,
               COALESCE(sum(h.amount_minor) FILTER (WHERE h.component = 'fee'), 0)::bigint AS fee,
               COALESCE(sum(h.amount_minor) FILTER (WHERE h.component = 'penalty'), 0)::bigint AS penalty
        FROM loan_charges h WHERE h.position <= $2 GROUP BY h.loan_id, h.instalment
    ) c ON c.loan_id = i.loan_id AND c.instalment = i.instalment
    WHERE i.position <= $2
$$;
COMMENT ON FUNCTION loan_instalments_as_of(date, bigint) IS
    'A payment counts from its value date; one that was reversed never counted';

-- Loans that were paid out by a date, with what was owed and due then. A loan that was written off by then
-- owes what is left in the books, which is nothing once all its payments have reached their value dates.
CREATE FUNCTION loans_as_of(as_of date, at_position bigint) RETURNS TABLE (
    loan_id uuid, "position" bigint, currency text, portfolio_account_id uuid, written_off boolean,
    principal_outstanding_minor numeric, outstanding_minor numeric,
    principal_due_minor numeric, interest_due_minor numeric, fee_due_minor numeric, penalty_due_minor numeric,
    due_minor numeric, overdue_minor numeric, overdue_instalments bigint, oldest_due_on date, days_past_due integer
) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT l.loan_id, l.position, l.currency, l.portfolio_account_id, w.loan_id IS NOT NULL,
           s.principal_outstanding - COALESCE(w.principal_minor, 0),
           CASE WHEN w.loan_id IS NULL THEN s.outstanding ELSE s.principal_outstanding - w.principal_minor END,
           CASE WHEN w.loan_id IS NULL THEN s.principal_due ELSE 0 END,
           CASE WHEN w.loan_id IS NULL THEN s.interest_due ELSE 0 END,
           CASE WHEN w.loan_id IS NULL THEN s.fee_due ELSE 0 END,
           CASE WHEN w.loan_id IS NULL THEN s.penalty_due ELSE 0 END,
           CASE WHEN w.loan_id IS NULL THEN s.due ELSE 0 END,
           CASE WHEN w.loan_id IS NULL THEN s.overdue ELSE 0 END,
           CASE WHEN w.loan_id IS NULL THEN s.overdue_instalments ELSE 0 END,
           CASE WHEN w.loan_id IS NULL THEN s.oldest_due_on END,
           CASE WHEN w.loan_id IS NULL THEN COALESCE($1 - s.oldest_due_on, 0) ELSE 0 END
    FROM loans l
    JOIN (
        SELECT i.loan_id,
               sum(i.principal_due_minor - i.principal_paid_minor) AS principal_outstanding,
               sum(i.outstanding_minor) AS outstanding,
               COALESCE(sum(i.principal_due_minor - i.principal_paid_minor) FILTER (WHERE i.due_on <= $1), 0) AS principal_due,
               COALESCE(sum(i.interest_due_minor - i.interest_paid_minor) FILTER (WHERE i.due_on <= $1), 0) AS interest_due,
               COALESCE(sum(i.fee_due_minor - i.fee_paid_minor) FILTER (WHERE i.due_on <= $1), 0) AS fee_due,
               COALESCE(sum(i.penalty_due_minor - i.penalty_paid_minor) FILTER (WHERE i.due_on <= $1), 0) AS penalty_due,
               COALESCE(sum(i.outstanding_minor) FILTER (WHERE i.due_on <= $1), 0) AS due,
               COALESCE(sum(i.outstanding_minor) FILTER (WHERE i.due_on < $1), 0) AS overdue,
               count(*) FILTER (WHERE i.due_on < $1 AND i.outstanding_minor > 0) AS overdue_instalments,
               min(i.due_on) FILTER (WHERE i.due_on <= $1 AND i.outstanding_minor > 0) AS oldest_due_on
        FROM loan_instalments_as_of($1, $2) i GROUP BY i.loan_id
    ) s ON s.loan_id = l.loan_id
    LEFT JOIN loan_write_offs w ON w.loan_id = l.loan_id AND w.written_off_on <= $1 AND w.position <= $2
    WHERE l.disbursed_on <= $1
$$;
COMMENT ON FUNCTION loans_as_of(date, bigint) IS 'Days past due: from the oldest due date with something unpaid';

GRANT SELECT ON ALL TABLES IN SCHEMA public TO daybook_query;

-- ---- for analysts -----------------------------------------------------------------------------------

CREATE VIEW analysis.loan_products AS
    SELECT product_id, code, name, currency, status, terms_version, portfolio_account_id, interest_receivable_account_id,
           charges_receivable_account_id, interest_income_account_id, fee_income_account_id, penalty_income_account_id,
           write_off_account_id, defined_at, version, updated_at FROM loan_products;
COMMENT ON VIEW analysis.loan_products IS 'Loan products: what is offered, and to which accounts their loans post';

CREATE VIEW analysis.loans AS
    SELECT l.loan_id, l.number, l.member_id, l.product_id, l.product_version, l.status, l.status_reason, l.currency,
           l.principal_minor, analysis.in_units(l.principal_minor, c.minor_units) AS principal, l.annual_rate, l.instalments,
           l.settlement_account_id, l.purpose, l.branch, l.portfolio_account_id, l.applied_on, l.approved_on, l.rejected_on,
           l.disbursed_on, l.repaid_on, l.written_off_on, l.closed_on,
           l.principal_outstanding_minor, l.interest_outstanding_minor, l.fee_outstanding_minor, l.penalty_outstanding_minor,
           analysis.in_units(l.principal_outstanding_minor, c.minor_units) AS principal_outstanding,
           analysis.in_units(l.interest_outstanding_minor, c.minor_units) AS interest_outstanding,
           analysis.in_units(l.fee_outstanding_minor, c.minor_units) AS fee_outstanding,
           analysis.in_units(l.penalty_outstanding_minor, c.minor_units) AS penalty_outstanding,
           l.recorded_at, l.position, l.version, l.updated_at
    FROM loans l LEFT JOIN currencies c USING (currency);
COMMENT ON VIEW analysis.loans IS
    'Loans with what is owed of them; the principal of active ones, by portfolio account, is that account''s balance';

CREATE VIEW analysis.loan_instalments AS
    SELECT i.loan_id, i.instalment, i.due_on, l.currency, i.principal_due_minor, i.interest_due_minor, i.fee_due_minor,
           i.penalty_due_minor, i.principal_paid_minor, i.interest_paid_minor, i.fee_paid_minor, i.penalty_paid_minor,
           analysis.in_units(i.principal_due_minor, c.minor_units) AS principal_due,
           analysis.in_units(i.interest_due_minor, c.minor_units) AS interest_due,
           analysis.in_units(i.fee_due_minor, c.minor_units) AS fee_due,
           analysis.in_units(i.penalty_due_minor, c.minor_units) AS penalty_due,
           analysis.in_units(i.principal_paid_minor, c.minor_units) AS principal_paid,
           analysis.in_units(i.interest_paid_minor, c.minor_units) AS interest_paid,
           analysis.in_units(i.fee_paid_minor, c.minor_units) AS fee_paid,
           analysis.in_units(i.penalty_paid_minor, c.minor_units) AS penalty_paid, i.schedule_version
    FROM loan_instalments i JOIN loans l USING (loan_id) LEFT JOIN currencies c USING (currency);
COMMENT ON VIEW analysis.loan_instalments IS 'Schedules of loans that are paid out, with everything paid, whatever its date';

CREATE VIEW analysis.loan_payments AS
    SELECT p.loan_id, p.transaction_id, p.from_account_id, l.currency, p.amount_minor, p.surplus_minor,
           analysis.in_units(p.amount_minor, c.minor_units) AS amount,
           analysis.in_units(p.surplus_minor, c.minor_units) AS surplus,
           p.surplus_account_id, p.booking_date, p.value_date, p.reversed_by, p.reversed_reason, p.reversed_on,
           p.recorded_at, p.position
    FROM loan_payments p JOIN loans l USING (loan_id) LEFT JOIN currencies c USING (currency);
COMMENT ON VIEW analysis.loan_payments IS 'Payments on loans; those with reversed_by do not count';

CREATE VIEW analysis.loan_allocations AS
    SELECT a.loan_id, a.transaction_id, a.instalment, a.component, l.currency, a.amount_minor,
           analysis.in_units(a.amount_minor, c.minor_units) AS amount, a.value_date,
           a.reversed_position IS NOT NULL AS reversed, a.position
    FROM loan_allocations a JOIN loans l USING (loan_id) LEFT JOIN currencies c USING (currency);
COMMENT ON VIEW analysis.loan_allocations IS 'What each payment settled, by instalment and component';

CREATE VIEW analysis.loan_charges AS
    SELECT h.loan_id, h.transaction_id, h.instalment, h.component, l.currency, h.amount_minor,
           analysis.in_units(h.amount_minor, c.minor_units) AS amount, h.reason, h.recorded_at, h.position
    FROM loan_charges h JOIN loans l USING (loan_id) LEFT JOIN currencies c USING (currency);
COMMENT ON VIEW analysis.loan_charges IS 'Fees and penalties charged, each due with an instalment';

CREATE VIEW analysis.loan_write_offs AS
    SELECT w.loan_id, w.transaction_id, l.currency, w.principal_minor, w.interest_minor, w.fee_minor, w.penalty_minor,
           analysis.in_units(w.principal_minor, c.minor_units) AS principal,
           analysis.in_units(w.interest_minor, c.minor_units) AS interest,
           analysis.in_units(w.fee_minor, c.minor_units) AS fee,
           analysis.in_units(w.penalty_minor, c.minor_units) AS penalty, w.reason, w.written_off_on, w.recorded_at
    FROM loan_write_offs w JOIN loans l USING (loan_id) LEFT JOIN currencies c USING (currency);
COMMENT ON VIEW analysis.loan_write_offs IS 'What was written off, as it was in the books';

CREATE VIEW analysis.sagas AS
    SELECT s.saga_id, s.process, s.status, s.step, s.attempts, s.wake_at, s.code, s.loan_id, s.transaction_id, s.currency,
           s.amount_minor, analysis.in_units(s.amount_minor, c.minor_units) AS amount,
           s.left_minor, analysis.in_units(s.left_minor, c.minor_units) AS left_over,
           s.payment_reference, s.bank_reference, s.started_at, s.ended_at, s.version, s.updated_at
    FROM sagas s LEFT JOIN currencies c USING (currency);
COMMENT ON VIEW analysis.sagas IS 'Disbursements, incoming payments and collections on their way; code is why one failed last or how it ended';

CREATE VIEW analysis.saga_timeline AS
    SELECT saga_id, sequence, what, step, attempt, code, until, loan_id, bank_reference, left_minor, resolution, recorded_at,
           position FROM saga_timeline;
COMMENT ON VIEW analysis.saga_timeline IS 'One row an event of a saga, in the order of sequence';

-- As its owner, since analysts may read views only; it takes nothing but a date.
CREATE FUNCTION analysis.loans_as_of(as_of date) RETURNS TABLE (
    loan_id uuid, currency text, written_off boolean, principal_outstanding numeric, outstanding numeric, due numeric,
    overdue numeric, overdue_instalments bigint, oldest_due_on date, days_past_due integer
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT l.loan_id, l.currency, l.written_off,
           analysis.in_units(l.principal_outstanding_minor, c.minor_units), analysis.in_units(l.outstanding_minor, c.minor_units),
           analysis.in_units(l.due_minor, c.minor_units), analysis.in_units(l.overdue_minor, c.minor_units),
           l.overdue_instalments, l.oldest_due_on, l.days_past_due
    FROM loans_as_of($1, 9223372036854775807) l LEFT JOIN currencies c USING (currency)
$$;
COMMENT ON FUNCTION analysis.loans_as_of(date) IS
    'Loans paid out by that date with what was owed, due and overdue then: payments count from their value dates';
REVOKE ALL ON FUNCTION analysis.loans_as_of(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION analysis.loans_as_of(date) TO daybook_analyst, daybook_query;
GRANT SELECT ON ALL TABLES IN SCHEMA analysis TO daybook_analyst, daybook_query;
