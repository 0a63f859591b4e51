-- The keys of members' personal data, wrapped by the master key. Kept and backed up apart from the
-- log: destroying a key erases the person, and the log stays whole.

CREATE TABLE member_keys (
    member_id    uuid PRIMARY KEY,
    wrapped_key  bytea,
    created_at   timestamptz NOT NULL DEFAULT now(),
    destroyed_at timestamptz,
    CHECK ((wrapped_key IS NULL) = (destroyed_at IS NOT NULL))
);
