-- A member's account has entries, from which its balances as of any date come; sums of its days were two rows of
-- each transfer that no query reads. Those that are there are left: nobody reads them, and a rebuild takes them away.
COMMENT ON TABLE account_daily IS
    'Sums of posted legs by internal account, dates and writing partition; readers add up the partitions. Members'' accounts have entries instead';
