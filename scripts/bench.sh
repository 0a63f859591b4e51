#!/usr/bin/env bash
# The benchmark on servers of its own, which it starts and stops; docs/benchmarks/README.md says how to read it.
#   SCENARIO=name,name   only these (`daybook-bench list`)
#   SHORT=1              one round, short measurements, no large logs
#   FRESH=1              forget earlier results; else an interrupted run goes on
#   LOG_EVENTS, MANY_ACCOUNTS, CLIENTS, SECONDS_EACH, ROUNDS   other sizes than the usual ones
#   KEEP=1               leave the servers running
# DAYBOOK_HOME: another state folder than .daybook/bench.
export DAYBOOK_HOME=${DAYBOOK_HOME:-$(dirname "${BASH_SOURCE[0]}")/../.daybook/bench}
# These would be somebody else's servers.
unset DATABASE_URL KAFKA_BROKERS
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/install.sh"
make_state

began=$EPOCHREALTIME
say "build      cargo build --profile production -p daybook, --release -p bench (the first time a quarter of an hour)"
# One after the other: built together, what the baselines need of shared libraries would be in the binary as well.
(cd "$ROOT" && cargo build --profile production --locked --quiet -p daybook)
(cd "$ROOT" && cargo build --release --locked --quiet -p bench --features cala)
say "build      done ($(seconds_since "$began"))"

stop() {
  if [ -n "${KEEP:-}" ]; then return; fi
  "$ROOT/scripts/kafka.sh" stop
  "$ROOT/scripts/postgres.sh" stop
}
trap stop EXIT
"$ROOT/scripts/postgres.sh" start
"$ROOT/scripts/kafka.sh" start

args=()
[ -z "${SCENARIO:-}" ] || args+=(--scenario "$SCENARIO")
[ -z "${SHORT:-}" ] || args+=(--short)
[ -z "${FRESH:-}" ] || args+=(--fresh)
# Some of a run alone is no report of the whole.
[ -n "${SCENARIO:-}" ] || export BENCH_REPORT=$ROOT/docs/benchmarks
BENCH_ADMIN_URL=$("$ROOT/scripts/postgres.sh" url) KAFKA_BROKERS=$("$ROOT/scripts/kafka.sh" url) \
  BENCH_HOME=$STATE BENCH_DAYBOOK=$PRODUCTION_BINARY "$(dirname "$BINARY")/daybook-bench" run "${args[@]}"
