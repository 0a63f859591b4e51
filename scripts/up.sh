#!/usr/bin/env bash
# Everything below the roles: what is missing installed, the binary built, PostgreSQL and Kafka started, roles,
# databases, migrations and the topic set up, STATE/env written. Each step does nothing where it is done already.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

quiet=--quiet
if [ -t 2 ]; then quiet=; fi

"$ROOT/scripts/install.sh"

began=$EPOCHREALTIME
say "build      cargo build --release -p daybook (the first time some minutes)"
# shellcheck disable=SC2086 # an option or nothing
(cd "$ROOT" && cargo build --release --locked $quiet -p daybook)
say "build      done ($(seconds_since "$began"))"

"$ROOT/scripts/postgres.sh" start
"$ROOT/scripts/kafka.sh" start

began=$EPOCHREALTIME
KAFKA_BROKERS=$("$ROOT/scripts/kafka.sh" url) "$BINARY" setup \
  --admin-url "$("$ROOT/scripts/postgres.sh" url)" --env-file "$STATE/env" --environment development >"$LOG/setup.log" 2>&1 || {
  tail -n 15 "$LOG/setup.log" >&2
  die "daybook setup failed, see $LOG/setup.log"
}
say "setup      roles, databases, migrations and topic are there; $STATE/env ($(seconds_since "$began"))"
