-- What analysts read: a stable, documented face of the read models. Amounts come twice, as integers
-- in minor units and as decimals in the currency's unit. No personal data, sealed or not.

CREATE SCHEMA analysis;
COMMENT ON SCHEMA analysis IS 'Views for analysts, read with SQL as daybook_analyst';

CREATE FUNCTION analysis.in_units(amount_minor numeric, minor_units integer) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN amount_minor * ('1e-' || minor_units)::numeric;
COMMENT ON FUNCTION analysis.in_units(numeric, integer) IS 'Minor units as a decimal with the currency''s decimals: 123450 with 2 is 1234.50';

CREATE VIEW analysis.freshness AS
    SELECT projection, COALESCE(min(g.watermark), 0) AS applied_position, p.topic, p.partitions
    FROM projections p LEFT JOIN projection_progress g USING (projection) GROUP BY projection, p.topic, p.partitions;
COMMENT ON VIEW analysis.freshness IS 'Up to which position of the log the views are complete';

CREATE VIEW analysis.currencies AS SELECT currency, minor_units, defined_at FROM currencies;
COMMENT ON VIEW analysis.currencies IS 'Currencies of ISO 4217 that the ledger has defined, with their number of decimals';

CREATE VIEW analysis.ledger_codes AS
    SELECT ledger_code, name, class, normal_side, control, defined_at FROM ledger_codes;
COMMENT ON VIEW analysis.ledger_codes IS 'The chart of accounts; members'' accounts hang on control codes, and only those';

CREATE VIEW analysis.periods AS
    SELECT period_id, from_date, to_date, status, opened_at, closed_at FROM periods;
COMMENT ON VIEW analysis.periods IS 'Accounting periods; a closed one takes nothing more';

CREATE VIEW analysis.members AS
    SELECT member_id, number, kind, kyc, status, status_reason, branch, registered_at, version, updated_at FROM members;
COMMENT ON VIEW analysis.members IS 'Members without personal data';

CREATE VIEW analysis.accounts AS
    SELECT s.account_id, s.number, s.name, s.product, s.currency, s.normal_side, s.ledger_code, s.guarded, s.branch,
           s.opened_on, s.status, s.frozen_debit, s.frozen_credit, s.dormant, s.closed_on,
           s.balance_minor, s.held_minor, s.available_minor, s.minimum_balance_minor,
           analysis.in_units(s.balance_minor, c.minor_units) AS balance,
           analysis.in_units(s.held_minor, c.minor_units) AS held,
           analysis.in_units(s.available_minor, c.minor_units) AS available,
           analysis.in_units(s.minimum_balance_minor, c.minor_units) AS minimum_balance,
           s.opened_at, s.version, s.updated_at
    FROM account_states s LEFT JOIN currencies c USING (currency);
COMMENT ON VIEW analysis.accounts IS 'Accounts with balance, holds that count now, and available balance, on the normal side';

CREATE VIEW analysis.holders AS SELECT account_id, member_id, role FROM holders;
COMMENT ON VIEW analysis.holders IS 'Who holds which account, as owner or disponent';

CREATE VIEW analysis.entries AS
    SELECT e.account_id, e.sequence, e.transaction_id, e.posting, e.leg, e.kind, e.side, a.currency, e.amount_minor,
           e.balance_minor, analysis.in_units(e.amount_minor, c.minor_units) AS amount,
           analysis.in_units(e.balance_minor, c.minor_units) AS balance,
           e.booking_date, e.value_date, e.recorded_at, e.position
    FROM entries e LEFT JOIN accounts a USING (account_id) LEFT JOIN currencies c USING (currency);
COMMENT ON VIEW analysis.entries IS 'Statement lines of members'' accounts in the order of sequence, with the balance after each';

CREATE VIEW analysis.transactions AS
    SELECT transaction_id, kind, status, booking_date, value_date, expires_at, external_reference, reverses_id,
           reverses_reason, reversed_by, postings, recorded_at, position, version, updated_at FROM transactions;
COMMENT ON VIEW analysis.transactions IS 'Transactions, pending ones too; what was posted of them is in legs';

CREATE VIEW analysis.legs AS
    SELECT l.transaction_id, l.posting, l.leg, l.account_id, l.ledger_code, l.side, l.currency, l.amount_minor,
           analysis.in_units(l.amount_minor, c.minor_units) AS amount, l.component,
           l.booking_date, l.value_date, l.recorded_at, l.position
    FROM legs l LEFT JOIN currencies c USING (currency);
COMMENT ON VIEW analysis.legs IS 'Posted legs: the double entry itself; debits equal credits in every transaction, posting and currency';

CREATE VIEW analysis.trial_balance AS
    SELECT d.ledger_code, k.name, k.class, k.normal_side, d.currency, d.booking_date, d.debit_minor, d.credit_minor,
           analysis.in_units(d.debit_minor, c.minor_units) AS debit,
           analysis.in_units(d.credit_minor, c.minor_units) AS credit
    FROM (SELECT ledger_code, currency, booking_date, sum(debit_minor) AS debit_minor, sum(credit_minor) AS credit_minor
          FROM ledger_daily GROUP BY ledger_code, currency, booking_date) d
    LEFT JOIN ledger_codes k USING (ledger_code) LEFT JOIN currencies c USING (currency);
COMMENT ON VIEW analysis.trial_balance IS
    'Movements by ledger code, currency and booking date; add up the days to a date for the balance as of it; debits equal credits';

GRANT USAGE ON SCHEMA analysis TO daybook_analyst, daybook_query;
GRANT SELECT ON ALL TABLES IN SCHEMA analysis TO daybook_analyst, daybook_query;
