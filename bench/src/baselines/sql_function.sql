-- A double-entry ledger in one function, written by hand for Postgres: the strongest that we know of its kind.
-- Two accounts are locked in the order of their ids, so that no two transfers can wait for each other; the balance,
-- the funds check and the number of the entry come from the UPDATE that takes the lock, which is the last thing done
-- but for the entries, so that it is held as short as can be; the key is the transfer's primary key, so that
-- idempotency costs no index of its own; pages of accounts are half empty, so that balances change in place.

CREATE TABLE accounts (
    id            bigint PRIMARY KEY,
    balance_minor bigint NOT NULL CHECK (balance_minor >= 0),
    version       bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE transfers (
    key               uuid PRIMARY KEY,
    debit_account_id  bigint NOT NULL,
    credit_account_id bigint NOT NULL,
    amount_minor      bigint NOT NULL CHECK (amount_minor > 0),
    posted_at         timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE entries (
    account_id    bigint NOT NULL,
    version       bigint NOT NULL,
    transfer_key  uuid NOT NULL,
    amount_minor  bigint NOT NULL,
    balance_minor bigint NOT NULL,
    PRIMARY KEY (account_id, version)
);

-- Returns whether the transfer was made now; false says that it was made before under this key.
CREATE FUNCTION transfer(the_key uuid, debit bigint, credit bigint, amount bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    known          transfers;
    debit_balance  bigint;
    debit_version  bigint;
    credit_balance bigint;
    credit_version bigint;
BEGIN
    INSERT INTO transfers (key, debit_account_id, credit_account_id, amount_minor)
    VALUES (the_key, debit, credit, amount) ON CONFLICT (key) DO NOTHING;
    IF NOT FOUND THEN
        SELECT * INTO known FROM transfers WHERE key = the_key;
        IF (known.debit_account_id, known.credit_account_id, known.amount_minor) <> (debit, credit, amount) THEN
            RAISE EXCEPTION 'the key % was used for another transfer', the_key USING ERRCODE = 'unique_violation';
        END IF;
        RETURN false;
    END IF;
    IF debit < credit THEN
        UPDATE accounts SET balance_minor = balance_minor - amount, version = version + 1 WHERE id = debit
        RETURNING balance_minor, version INTO debit_balance, debit_version;
        UPDATE accounts SET balance_minor = balance_minor + amount, version = version + 1 WHERE id = credit
        RETURNING balance_minor, version INTO credit_balance, credit_version;
    ELSE
        UPDATE accounts SET balance_minor = balance_minor + amount, version = version + 1 WHERE id = credit
        RETURNING balance_minor, version INTO credit_balance, credit_version;
        UPDATE accounts SET balance_minor = balance_minor - amount, version = version + 1 WHERE id = debit
        RETURNING balance_minor, version INTO debit_balance, debit_version;
    END IF;
    IF debit = credit OR debit_version IS NULL OR credit_version IS NULL THEN
        RAISE EXCEPTION 'a transfer is between two accounts that exist' USING ERRCODE = 'foreign_key_violation';
    END IF;
    INSERT INTO entries (account_id, version, transfer_key, amount_minor, balance_minor)
    VALUES (debit, debit_version, the_key, -amount, debit_balance),
           (credit, credit_version, the_key, amount, credit_balance);
    RETURN true;
END $$;
