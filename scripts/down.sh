#!/usr/bin/env bash
# Stops the roles, Kafka and PostgreSQL of the demo and of the tests.
#   down.sh         stops; everything stays on the disk
#   down.sh forget  stops and removes the state folder with all data
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Each state folder by itself: the tests' lies inside of the demo's.
stop_all() {
  local verb=${1:-stop}
  [ -d "$DAYBOOK_HOME" ] || return 0
  "$ROOT/scripts/roles.sh" stop
  "$ROOT/scripts/kafka.sh" "$verb"
  "$ROOT/scripts/postgres.sh" "$verb"
}

for home in "$STATE/test" "$STATE"; do
  export DAYBOOK_HOME=$home
  case ${1:-} in
    '') stop_all ;;
    forget)
      stop_all forget
      STATE=$home forget_folder kafka
      rm -rf "$home"
      ;;
    *) die "usage: down.sh [forget]" ;;
  esac
done
if [ "${1:-}" = forget ]; then say "state      $STATE removed"; fi
